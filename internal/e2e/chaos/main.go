// Command chaos shows on a real cluster that invariant 1 of CONTRIBUTING.md holds while
// everything around it fails.
//
//	go run ./internal/e2e/chaos -minutes 10
//
// It runs itself again as three NATS servers (one stream of three replicas on disk, sync
// always, and a mirror of it in an account of its own), two publishers and six verifiers,
// of which two follow the mirror, a process each, with proxies between them. While the
// publishers revoke and the verifiers check, on a schedule that follows from -seed, servers
// are killed, frozen, restarted, cut off and rolled back, members too, and the stream is
// restored from a backup and made anew. Each process writes down what it saw; see judge for
// what is then held against what. An instant is a reading of CLOCK_MONOTONIC, which is one
// clock for all processes of a machine (elsewhere than on Linux it is the wall clock).
//
// A stream that is made anew or restored while its mirror is left as it is makes a fork:
// what is acknowledged at or below the mirror's last sequence never reaches it. The
// verifiers behind it, and one that starts then, must say so, and be fresh again once the
// mirror is made anew. Each fork has to show events and checks of exactly that kind, by
// verifiers that were fresh before.
//
// The program ends with 1 if an answer violated an invariant, if a fault did not heal,
// if a fork did not put to the test what it is for, if less than a quarter of the rate was
// reached, or if the account could not be made.
//
// What is demanded where the stream itself loses what it had acknowledged, because all
// its disks are restored from a backup or it is made anew: replicas that had applied an
// event go on refusing, and the others refuse again once its publisher, if it lives, has
// republished it. Until then, or for ever if the publisher was killed, the others are
// excused, and that is counted. One server's restored disk loses nothing, because the
// other two have everything and give it back; that is demanded, too.
//
// Not covered: a process whose wall clock is wrong throughout, for which the SDK has no
// hook; revoketest's members have one. Here a member with a wrong clock beats, and
// checks are made by a clock that is wrong. Nor the loss of power: what kill -9 takes
// is a process, and the operating system keeps what was written.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if os.Getenv(roleVariable) != "" {
		os.Exit(child())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		stop()
		os.Exit(1)
	}
}

// A config is what the flags say.
type config struct {
	length       time.Duration
	rate         int
	verifiers    int
	mirrored     int // of the verifiers, how many follow the mirror
	seed         uint64
	maxStaleness time.Duration
	patience     time.Duration // with a fault's healing
	dir, out     string
	keep         bool
	servers      string // names of faults, in order; empty: all, by the seed
	members      string
}

// forks are the kinds of forks that the run has to have: those named, or in a run that is
// long enough for every fault, all.
func (cfg *config) forks() []string {
	var kinds []string
	for _, kind := range []string{forkRestored, forkRecreated} {
		if cfg.mirrored > 0 && cfg.servers == "" && cfg.length >= 5*time.Minute ||
			slices.ContainsFunc(named(serverInjuries, cfg.servers), func(i injury) bool { return cfg.servers != "" && i.kind == kind }) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func parse(args []string, out io.Writer) (config, error) {
	var cfg config
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	fs.SetOutput(out)
	minutes := fs.Float64("minutes", 1, "how long faults go on")
	fs.IntVar(&cfg.rate, "rate", 1100, "revocations published a second")
	fs.IntVar(&cfg.verifiers, "verifiers", 6, "verifying processes")
	fs.IntVar(&cfg.mirrored, "mirrored", 2, "of the verifying processes, how many follow a mirror in an account of their own")
	fs.Uint64Var(&cfg.seed, "seed", 0, "of the schedule; 0 means a random one, which is printed")
	fs.DurationVar(&cfg.maxStaleness, "max-staleness", 15*time.Second, "of the verifiers")
	fs.DurationVar(&cfg.patience, "patience", 3*time.Minute, "how long a fault may take to heal; four times that where a stream's content is republished")
	fs.StringVar(&cfg.dir, "dir", "", "directory for stores, logs and histories, on the disk to be tested (default a temporary one)")
	fs.BoolVar(&cfg.keep, "keep", false, "keep the directory")
	fs.StringVar(&cfg.out, "out", "", "file for the account, in Markdown")
	fs.StringVar(&cfg.servers, "faults", "", "names of faults of the servers, as in kill-leader,outage, instead of all in random order; each is done at least once, however long that takes")
	fs.StringVar(&cfg.members, "member-faults", "", "the same for publishers and verifiers")
	if err := fs.Parse(args); err != nil {
		return cfg, err
	}
	cfg.length = time.Duration(*minutes * float64(time.Minute))
	if cfg.seed == 0 {
		cfg.seed = rand.Uint64()
	}
	switch {
	case fs.NArg() > 0:
		return cfg, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case cfg.length <= 0 || cfg.length > 12*time.Hour/10:
		return cfg, errors.New("-minutes must be positive and at most 72, within which no revocation ends")
	case cfg.mirrored < 0 || cfg.mirrored >= cfg.verifiers:
		return cfg, errors.New("-mirrored must be below -verifiers: those behind a mirror live on heartbeats of others")
	case cfg.rate < 1 || cfg.verifiers < 1 || cfg.verifiers > 99:
		return cfg, errors.New("-rate and -verifiers must be positive, and the latter below 100")
	}
	for _, l := range []struct {
		all   []injury
		names string
	}{{serverInjuries, cfg.servers}, {memberInjuries, cfg.members}} {
		if l.names != "" && len(named(l.all, l.names)) != len(strings.Split(l.names, ",")) {
			return cfg, fmt.Errorf("unknown fault in %q", l.names)
		}
	}
	return cfg, nil
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	cfg, err := parse(args, out)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(cfg.dir, "chaos-")
	if err != nil {
		return err
	}
	defer func() {
		if cfg.keep {
			fmt.Fprintln(out, "kept:", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	fmt.Fprintf(out, "seed %d, %s, %d revocations a second, %d verifiers, MaxStaleness %s\n", cfg.seed, cfg.length, cfg.rate, cfg.verifiers, cfg.maxStaleness)
	c, err := newCluster(cfg, dir)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.up(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	a := &account{cfg: cfg, began: c.clock.now()}
	var lines sync.Mutex
	a.print = func(format string, v ...any) {
		lines.Lock()
		defer lines.Unlock()
		fmt.Fprintf(out, "%7.1f s  "+format+"\n", append([]any{c.clock.now().sub(a.began).Seconds()}, v...)...)
	}
	a.print("all verifiers are fresh")

	var lanes sync.WaitGroup
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	lane := func(number uint64, all []injury, names string) {
		rng := rand.New(rand.NewPCG(cfg.seed, number))
		for round := 0; ; round++ {
			list := named(all, names)
			if names == "" {
				list = plan(all, round, rng)
			}
			for _, i := range list {
				over := c.clock.now().sub(a.began) > cfg.length-cfg.length/5
				if runCtx.Err() != nil || over && (round > 0 || names == "") {
					return
				}
				if !a.injure(runCtx, c, i, rng) {
					cancel()
					return
				}
				_ = sleep(runCtx, span(rng, 500*time.Millisecond, 2*time.Second))
			}
		}
	}
	lanes.Go(func() { lane(1, serverInjuries, cfg.servers) })
	lanes.Go(func() { lane(2, memberInjuries, cfg.members) })
	lanes.Go(func() { a.progress(runCtx, c) })
	lanes.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	a.ended = c.clock.now()
	a.finished = c.finish(ctx)
	a.print("stopped; judging")
	c.close()
	if a.judged, a.gaps, err = judgeDir(c.history(), cfg.maxStaleness, c.episodes, c.forks, cfg.behind); err != nil {
		return err
	}
	fmt.Fprintln(out)
	text := a.markdown()
	fmt.Fprint(out, text)
	if cfg.out != "" {
		if err := os.WriteFile(cfg.out, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return a.verdict()
}
