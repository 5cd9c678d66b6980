package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A fork is what happened once to a stream with a mirror: the stream was made anew or
// restored, so that the mirror, which was longer, holds other messages under the numbers
// that the stream gives out again.
type fork struct {
	Kind   string
	Begin  instant // before the stream was lost
	To     instant // when there was one again
	Last   uint64  // sequence of the mirror's last message when the stream was lost, or a little less
	Remade instant // when the mirror had been made anew; 0: never
}

// hides reports whether the mirror never takes that event, because of its number.
func (f *fork) hides(e *fact) bool {
	return e.acked > f.To && e.sequence > 0 && e.sequence <= f.Last && (f.Remade == 0 || e.acked < f.Remade)
}

// The kinds of forks.
const (
	forkRecreated = "fork recreated"
	forkRestored  = "fork restored"
)

// forkByRecreation deletes the stream and makes it anew, and leaves its mirror as it is.
func forkByRecreation(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	const target = "the stream, not its mirror"
	release, err := c.spareMirrored(ctx)
	if err != nil {
		return target, err
	}
	defer release()
	f := fork{Kind: forkRecreated, Begin: c.clock.now()}
	if err := c.deleteStream(ctx); err != nil {
		return target, err
	}
	f.Last, err = c.mirrorLast(ctx)
	err = errors.Join(err, sleep(ctx, span(rng, 0, 3*time.Second)), c.createStream(ctx))
	c.lost(f.Kind, 0, f.Begin)
	if err != nil {
		return target, err
	}
	return target, c.forked(ctx, rng, f)
}

// forkByRestoration gives all servers the stream as it was at the last outage, and leaves
// its mirror as it is.
func forkByRestoration(ctx context.Context, c *cluster, rng *rand.Rand) (string, error) {
	const target = "the stream on all servers, not its mirror"
	release, err := c.spareMirrored(ctx)
	if err != nil {
		return target, err
	}
	defer release()
	group, err := c.raftGroup(ctx)
	if err != nil {
		return target, err
	}
	if c.savedGroup != group {
		return target, errors.New("no backup of this stream")
	}
	f := fork{Kind: forkRestored, Begin: c.clock.now()}
	if f.Last, err = c.mirrorLast(ctx); err != nil {
		return target, err
	}
	for _, p := range c.servers {
		p.kill()
	}
	for i := range servers {
		// The account's streams, of which there is one, and what its servers agreed on.
		for _, part := range []string{originAccount, filepath.Join("$SYS", "_js_", group)} {
			if err := copyDir(filepath.Join(c.store(i), "jetstream", part), filepath.Join(c.backup(i), "jetstream", part)); err != nil {
				return target, err
			}
		}
	}
	err = c.restart(ctx, 0, 0, 1, 2)
	c.lost(f.Kind, c.saved, f.Begin)
	if err != nil {
		return target, err
	}
	return target, c.forked(ctx, rng, f)
}

// forked waits until the mirror has gone on behind its last message and every verifier
// that follows it tells of a fork, has one of them start anew, and then makes the mirror
// anew, as an operator does.
func (c *cluster) forked(ctx context.Context, rng *rand.Rand, f fork) error {
	f.To = c.clock.now()
	err := patiently(ctx, 2*c.cfg.patience, func() string {
		if last, err := c.mirrorLast(ctx); err != nil || last <= f.Last {
			return fmt.Sprintf("the mirror is at %d and has not gone on (%v)", last, err)
		}
		return c.unaware()
	})
	if err == nil {
		// Who knows nothing but the mirror must see it, too.
		i := rng.IntN(c.cfg.mirrored)
		c.verifiers[i].kill()
		err = c.startVerifier(i)
	}
	if err == nil {
		err = patiently(ctx, c.cfg.patience, c.unaware)
	}
	if err == nil {
		err = sleep(ctx, span(rng, 2*time.Second, 5*time.Second))
	}
	if again := c.remakeMirror(ctx); again == nil {
		f.Remade = c.clock.now()
	} else {
		err = errors.Join(err, again)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forks = append(c.forks, f)
	return err
}

// unaware names a verifier behind the mirror that does not tell of a fork.
func (c *cluster) unaware() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.verifiers[:c.cfg.mirrored] {
		if s := p.status(); s.State == revoke.StateFresh.String() || s.Reason != revoke.ReasonFork.String() {
			return fmt.Sprintf("%s behind the mirror of another log is %s (%s)", p.name, s.State, s.Reason)
		}
	}
	return ""
}

// spareMirrored keeps other faults from the verifiers behind the mirror until release is
// called, and waits until they are under none and fresh.
func (c *cluster) spareMirrored(ctx context.Context) (release func(), err error) {
	set := func(spared bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.spared = spared
	}
	set(true)
	err = patiently(ctx, c.cfg.patience, func() string {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.cfg.mirrored == 0 {
			return "no verifier is behind a mirror"
		}
		for _, p := range c.verifiers[:c.cfg.mirrored] {
			if s := p.status(); c.busy[p.name] || s.State != revoke.StateFresh.String() {
				return fmt.Sprintf("%s, which is to be fresh before a fork, is %s (%s)", p.name, s.State, s.Reason)
			}
		}
		return ""
	})
	if err != nil {
		set(false)
	}
	return func() { set(false) }, err
}

// patiently asks until nothing is wrong.
func patiently(ctx context.Context, within time.Duration, wrong func() string) error {
	end := time.Now().Add(within)
	for {
		what := wrong()
		if what == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %s: %s", within, what)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func (c *cluster) deleteStream(ctx context.Context) error {
	i, err := c.leader(ctx)
	if err != nil {
		return err
	}
	return c.admin(ctx, i, originUser, func(ctx context.Context, _ *nats.Conn, js jetstream.JetStream) error {
		return js.DeleteStream(ctx, bus.DefaultStream)
	})
}
