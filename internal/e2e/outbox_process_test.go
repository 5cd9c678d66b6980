package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// authorEnv has a process of this test publish over an outbox: to the server of that URL,
// with the file and under the name that follow, each after a space.
const authorEnv = "HYBRIDTOKEN_E2E_AUTHOR"

// author publishes sessions and, one in ten, cutoffs of subjects, several at a time, until
// it is killed. Of each that Publish has answered for it prints a line: acked or kept, the
// kind, what is revoked, and the cutoff's Before.
func author() {
	words := strings.Fields(os.Getenv(authorEnv))
	url, file, name := words[0], words[1], words[2]
	b, err := bus.Join(context.Background(), bus.Config{
		Servers: url, Options: []nats.Option{nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(time.Millisecond, time.Millisecond)},
		Issuers: []string{issuer}, OutboxFile: file,
	})
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	var n atomic.Int64
	var out sync.Mutex
	for range 8 {
		go func() {
			for {
				i := n.Add(1)
				e := revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint(name, "-", i), Before: time.Time{}}
				if i%10 == 0 {
					e.Kind, e.Before = revoke.KindSubject, time.Now().Truncate(time.Millisecond)
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(20+rand.IntN(200))*time.Millisecond)
				_, err := b.Publish(ctx, e)
				cancel()
				word := "acked"
				switch {
				case errors.Is(err, bus.ErrKept):
					word = "kept"
				case err != nil:
					continue // nobody has promised anything
				}
				out.Lock()
				fmt.Println(word, e.Kind, e.Value, e.Before.UnixMilli()) // one write
				out.Unlock()
			}
		}()
	}
	select {}
}

// A promise is an event that a publisher has answered for.
type promise struct {
	kind   string
	value  string
	before time.Time
}

// identities returns tokens that the event must refuse, and one that it must let pass.
func (p promise) identities() (refused, passes revoke.Identity) {
	refused, passes = session(p.value), session(p.value+"-other")
	if p.kind == revoke.KindSubject.String() {
		refused, passes = session("of "+p.value), session("after "+p.value)
		refused.Subject, refused.IssuedAt = p.value, p.before
		passes.Subject, passes.IssuedAt = p.value, p.before.Add(time.Millisecond)
	}
	return refused, passes
}

// A publisher that is killed again and again, beside a server that comes and goes, loses
// nothing that it has answered for, be it acknowledged or merely kept (invariants 1 and
// 9), and what it publishes twice is no more than what it published: no cutoff moves
// (invariants 4 and 5).
func TestOutboxKilled(t *testing.T) {
	t.Parallel() // it waits, mostly
	const rounds = 30
	rng := rand.New(rand.NewPCG(20261123, 1))
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	l := newList(t, quick)
	f := join(t, dial(t, br.url()), bus.Config{}, l)
	waitFresh(t, f)
	file := filepath.Join(t.TempDir(), "outbox")

	var promises []promise
	acked, kept := 0, 0
	for round := range rounds {
		down := br.srv == nil
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s r%d", authorEnv, br.url(), file, round))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := make(chan string, 1<<16)
		go func() {
			defer close(lines)
			for s := bufio.NewScanner(out); s.Scan(); {
				lines <- s.Text()
			}
		}()
		// Every third starts without a server, works when there is one, mostly loses it
		// again, and is killed after a while that has nothing to do with what it does.
		if down {
			pause(t, time.Duration(rng.IntN(200))*time.Millisecond)
			br.start()
		}
		take := func(line string) {
			words := strings.Fields(line)
			if len(words) != 4 {
				t.Fatalf("round %d: %q", round, line)
			}
			ms, err := strconv.ParseInt(words[3], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			promises = append(promises, promise{words[1], words[2], time.UnixMilli(ms)})
			if words[0] == "kept" {
				kept++
			} else {
				acked++
			}
		}
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("round %d: the publisher has ended", round)
			}
			take(line)
		case <-within(t).Done():
			t.Fatalf("round %d: nothing was published", round)
		}
		pause(t, time.Duration(rng.IntN(150))*time.Millisecond)
		if round%3 != 0 {
			br.stop()
			pause(t, time.Duration(rng.IntN(300))*time.Millisecond)
		}
		if round%3 == 1 {
			br.start()
			pause(t, time.Duration(rng.IntN(100))*time.Millisecond)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for line := range lines { // until the pipe is empty
			take(line)
		}
		_ = cmd.Wait() // it was killed
	}
	if br.srv == nil {
		br.start()
	}
	waiting := 0
	for _, p := range promises {
		if id, _ := p.identities(); !refused(l, id) {
			waiting++
		}
	}
	last := join(t, dial(t, br.url()), bus.Config{OutboxFile: file}, nil)
	eventually(t, "all that was kept is published", func() bool { return last.Status().Publishing.Pending == 0 })
	waitFresh(t, f)
	barrier(t, f)
	for _, p := range promises {
		id, other := p.identities()
		mustRefuse(t, l, id)
		mustPass(t, l, other)
	}
	s, stats := l.Stats(revoke.Now()), last.Status().Publishing
	t.Logf("%d rounds: %d acknowledged, %d kept, %d of them not applied at the last kill; %d sessions and %d cutoffs applied, %d of them again",
		rounds, acked, kept, waiting, s.Applied[revoke.KindSession], s.Applied[revoke.KindSubject], int(s.Applied[revoke.KindSession]+s.Applied[revoke.KindSubject])-len(promises))
	if acked < rounds/3 || kept == 0 || stats.OutboxDamaged > 0 || s.Replays != 1 {
		t.Errorf("%d acknowledged, %d kept, publisher %+v, replica %+v", acked, kept, stats, s)
	}
}

// pause lets the time pass in which others do what they do: a fault's, never a condition's.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
