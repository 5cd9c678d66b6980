package main

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
)

// A fault is what happens to the system once.
type fault struct {
	Kind, Target string
	From, Undone instant
	Healing      time.Duration // from Undone until all is well
	Err          string        // why it could not be done or did not heal
}

// An injury does one kind of fault, and undoes it, and says to whom.
type injury struct {
	kind string
	loss bool // the stream loses events
	// member says that it is done to processes that borrow names, while others go on.
	member bool
	do     func(ctx context.Context, c *cluster, rng *rand.Rand) (target string, err error)
}

// Faults of the servers, which come one after the other.
var serverInjuries = []injury{
	{kind: "outage", do: outage},
	{kind: "kill follower", do: killServer(false)},
	{kind: "kill leader", do: killServer(true)},
	{kind: "freeze follower", do: freezeServer(false)},
	{kind: "freeze leader", do: freezeServer(true)},
	{kind: "restart leader", do: restartLeader},
	{kind: "isolate follower", do: isolateServer(false)},
	{kind: "isolate leader", do: isolateServer(true)},
	{kind: "rolling upgrade", do: rollingUpgrade},
	{kind: "rollback of one", do: rollbackOne},
	{kind: "clock skew", do: clockSkew},
	{kind: "rollback of all", loss: true, do: rollbackAll},
	{kind: "recreation", loss: true, do: recreation},
	{kind: forkRestored, loss: true, do: forkByRestoration},
	{kind: forkRecreated, loss: true, do: forkByRecreation},
}

// Faults of the others, which go on meanwhile.
var memberInjuries = []injury{
	{kind: "isolate verifier", member: true, do: isolateVerifier},
	{kind: "kill verifier", member: true, do: killVerifier},
	{kind: "freeze verifier", member: true, do: freezeVerifier},
	{kind: "kill publisher", member: true, do: killPublisher},
	{kind: "skew verifier", member: true, do: skewVerifier},
}

// early are the faults that a run of all begins with: the outage takes the backup that
// others restore, and a mirror goes on once the stream is longer, which takes the less
// time the shorter both are.
var early = []string{"outage", forkRestored, forkRecreated}

// plan returns the order of one round of injuries. Those that lose events come once
// a run, since a publisher then republishes everything it knows.
func plan(all []injury, round int, rng *rand.Rand) []injury {
	list := slices.Clone(all)
	if round > 0 {
		list = slices.DeleteFunc(list, func(i injury) bool { return i.loss })
	}
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	if round == 0 {
		rank := func(i injury) int { return (slices.Index(early, i.kind) + len(early) + 1) % (len(early) + 1) }
		slices.SortStableFunc(list, func(a, b injury) int { return cmp.Compare(rank(a), rank(b)) })
	}
	return list
}

// named picks the injuries of that list of names, or all.
func named(all []injury, names string) []injury {
	if names == "" {
		return all
	}
	var list []injury
	for name := range strings.SplitSeq(names, ",") {
		for _, i := range all {
			if i.kind == strings.ReplaceAll(strings.TrimSpace(name), "-", " ") {
				list = append(list, i)
			}
		}
	}
	return list
}

func span(rng *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rng.Int64N(int64(to-from)))
}

// pick returns the stream's leader, or one of the others.
func pick(ctx context.Context, c *cluster, rng *rand.Rand, leader bool) (int, error) {
	l, err := c.leader(ctx)
	if err != nil || leader {
		return l, err
	}
	return (l + 1 + rng.IntN(servers-1)) % servers, nil
}

func killServer(leader bool) func(context.Context, *cluster, *rand.Rand) (string, error) {
	return func(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
		i, err := pick(ctx, c, rng, leader)
		if err != nil {
			return "", err
		}
		c.servers[i].kill()
		return serverName(i), c.restart(ctx, span(rng, 200*time.Millisecond, 8*time.Second), i)
	}
}

// restart starts servers that have ended, after a while, and waits until they listen.
func (c *cluster) restart(ctx context.Context, after time.Duration, list ...int) error {
	if err := sleep(ctx, after); err != nil {
		return err
	}
	for _, i := range list {
		if err := c.startServer(i); err != nil {
			return err
		}
	}
	for _, i := range list {
		for end := time.Now().Add(30 * time.Second); !c.servers[i].status().Ready; {
			if time.Now().After(end) || !c.servers[i].running() {
				return fmt.Errorf("%s does not start", serverName(i))
			}
			if err := sleep(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

func freezeServer(leader bool) func(context.Context, *cluster, *rand.Rand) (string, error) {
	return func(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
		i, err := pick(ctx, c, rng, leader)
		if err != nil {
			return "", err
		}
		if err := freeze(c.servers[i].cmd); err != nil {
			return "", err
		}
		err = sleep(ctx, span(rng, 2*time.Second, 14*time.Second))
		return serverName(i), errors.Join(err, thaw(c.servers[i].cmd))
	}
}

func restartLeader(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	i, err := pick(ctx, c, rng, true)
	if err != nil {
		return "", err
	}
	return serverName(i), c.replace(ctx, i, "stop")
}

// replace ends a server in order and starts it again.
func (c *cluster) replace(ctx context.Context, i int, how string) error {
	c.servers[i].command(how)
	if err := c.servers[i].ends(30 * time.Second); err != nil {
		return err
	}
	return c.restart(ctx, 0, i)
}

func rollingUpgrade(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	for i := range servers {
		if err := c.replace(ctx, i, "lame"); err != nil {
			return "", err
		}
		// As an operator does: the next when this one is well again.
		// The members beside the stream show it, within seconds.
		if err := c.healed(ctx, c.clock.now(), c.cfg.patience, c.beside()...); err != nil {
			return serverName(i), err
		}
	}
	return "all servers", nil
}

func isolateServer(leader bool) func(context.Context, *cluster, *rand.Rand) (string, error) {
	return func(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
		i, err := pick(ctx, c, rng, leader)
		if err != nil {
			return "", err
		}
		hang := rng.IntN(2) == 0
		for pair, p := range c.routes {
			if pair[0] == i || pair[1] == i {
				p.isolate(hang)
				defer p.heal()
			}
		}
		return serverName(i) + manner(hang), sleep(ctx, span(rng, 4*time.Second, c.cfg.maxStaleness+8*time.Second))
	}
}

func manner(hang bool) string {
	if hang {
		return ", links hang"
	}
	return ", links cut"
}

// outage kills all servers at once, and takes a copy of their disks.
func outage(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	group, err := c.raftGroup(ctx)
	if err != nil {
		return "all servers", err
	}
	at := c.clock.now()
	for _, p := range c.servers {
		p.kill()
	}
	for i := range servers {
		if err := copyDir(c.backup(i), c.store(i)); err != nil {
			return "", err
		}
	}
	c.mu.Lock()
	c.saved, c.savedGroup = at, group
	c.mu.Unlock()
	return "all servers", c.restart(ctx, span(rng, 100*time.Millisecond, 2*time.Second), 0, 1, 2)
}

func copyDir(to, from string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(from))
}

// rollbackOne gives one server a disk as it was at the last outage. The others must
// have everything, and give it back: acknowledged events stay.
func rollbackOne(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	i, err := pick(ctx, c, rng, false)
	if err != nil {
		return "", err
	}
	if c.saved == 0 {
		return "", fmt.Errorf("no backup")
	}
	c.servers[i].kill()
	if err := copyDir(c.store(i), c.backup(i)); err != nil {
		return "", err
	}
	return serverName(i), c.restart(ctx, 0, i)
}

// rollbackAll gives all servers their disks as they were at the last outage. What was
// acknowledged since is lost, until it is republished.
func rollbackAll(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	if c.saved == 0 {
		return "", fmt.Errorf("no backup")
	}
	begin := c.clock.now()
	for _, p := range c.servers {
		p.kill()
	}
	for i := range servers {
		if err := copyDir(c.store(i), c.backup(i)); err != nil {
			return "", err
		}
	}
	err := c.restart(ctx, 0, 0, 1, 2)
	c.lost("rollback of all", c.saved, begin)
	return "all servers", err
}

// lost takes note of a loss that began at begin: what was acknowledged from from until
// now may be gone.
func (c *cluster) lost(name string, from, begin instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.episodes = append(c.episodes, episode{name: name, from: from, begin: begin, to: c.clock.now()})
}

// recreation deletes the stream and makes it anew, and its mirror at once, as the runbook
// says.
func recreation(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	begin := c.clock.now()
	err := c.deleteStream(ctx)
	err = errors.Join(err, sleep(ctx, span(rng, 0, 3*time.Second)))
	err = errors.Join(err, c.createStream(ctx), c.remakeMirror(ctx))
	c.lost("recreation", 0, begin)
	return "the stream", err
}

// clockSkew lets a member beat whose clock is an hour off, at ten times the usual
// rate: its heartbeats must prove nothing and silence nobody.
func clockSkew(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	skew := time.Hour
	if rng.IntN(2) == 0 {
		skew = -skew
	}
	nc, err := nats.Connect(c.serverURL(rng.IntN(servers)), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.IgnoreDiscoveredServers(), as(originUser))
	if err != nil {
		return "", err
	}
	defer nc.Close()
	for end := time.Now().Add(span(rng, 3*time.Second, c.cfg.maxStaleness)); time.Now().Before(end); {
		var nonce [16]byte
		_, _ = crand.Read(nonce[:]) // never fails
		data, err := json.Marshal(map[string]any{"v": 1, "nonce": hex.EncodeToString(nonce[:]), "ts": time.Now().Add(skew).UnixMilli(), "name": "skewed"})
		if err != nil {
			return "", err
		}
		msg := nats.NewMsg(bus.HeartbeatSubject)
		msg.Data = data
		msg.Header.Set("Nats-TTL", "10m")
		if err := nc.PublishMsg(msg); err != nil {
			return "", err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("a member, %+.0f h", skew.Hours()), nil
}

// borrow returns one of the processes, which is busy until the fault has healed.
func (c *cluster) borrow(rng *rand.Rand, list []*process) (int, *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := 0
	if c.spared && list[0] == c.verifiers[0] {
		first = c.cfg.mirrored
	}
	i := first + rng.IntN(len(list)-first)
	c.busy[list[i].name] = true
	return i, list[i]
}

// beside names the processes beside the stream that are under no fault of their own.
func (c *cluster) beside() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, p := range slices.Concat(c.verifiers[c.cfg.mirrored:], c.publishers) {
		if !c.busy[p.name] {
			names = append(names, p.name)
		}
	}
	return names
}

// borrowed names what is busy.
func (c *cluster) borrowed() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.busy))
}

func (c *cluster) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.busy)
}

func isolateVerifier(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	_, p := c.borrow(rng, c.verifiers)
	hang := rng.IntN(2) == 0
	for _, l := range c.links[p.name] {
		l.isolate(hang)
		defer l.heal()
	}
	return p.name + manner(hang), sleep(ctx, span(rng, 3*time.Second, c.cfg.maxStaleness+8*time.Second))
}

func killVerifier(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	i, p := c.borrow(rng, c.verifiers)
	p.kill()
	return p.name, errors.Join(sleep(ctx, span(rng, 0, time.Second)), c.startVerifier(i))
}

func freezeVerifier(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	_, p := c.borrow(rng, c.verifiers)
	if err := freeze(p.cmd); err != nil {
		return "", err
	}
	err := sleep(ctx, span(rng, 3*time.Second, c.cfg.maxStaleness+5*time.Second))
	return p.name, errors.Join(err, thaw(p.cmd))
}

// skewVerifier puts the wall clock, as a verifier's checks read it, an hour off. Its
// follower's clock stays right: no hook of the SDK's sets that of a process.
func skewVerifier(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	_, p := c.borrow(rng, c.verifiers)
	skew := time.Hour
	if rng.IntN(2) == 0 {
		skew = -skew
	}
	p.command("skew %d", skew)
	err := sleep(ctx, span(rng, 3*time.Second, 10*time.Second))
	p.command("skew 0")
	return fmt.Sprintf("%s, %+.0f h", p.name, skew.Hours()), err
}

func killPublisher(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	i, p := c.borrow(rng, c.publishers)
	p.kill()
	return p.name, errors.Join(sleep(ctx, span(rng, 0, time.Second)), c.startPublisher(i))
}
