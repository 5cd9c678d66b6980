package follow_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// An anchored is a follower on a server whose log is about to be tampered with.
type anchored struct {
	*rig.Broker
	list     *revoke.List
	follower *bus.Member
	log      rig.Journal
	known    []revoke.Identity // revoked and applied before
}

func newAnchored(t *testing.T) *anchored {
	a := &anchored{Broker: rig.NewBroker(t, nil)}
	rig.CreateStream(t, rig.Dial(t, a.URL()), bus.StreamConfig{})
	a.known = append(a.known, rig.RevokeSession(t, a.URL(), "known-1"))
	cfg := rig.Quick
	cfg.Logger = a.log.Logger()
	a.list = rig.NewList(t, cfg)
	a.follower = rig.Join(t, rig.Dial(t, a.URL()), bus.Config{Logger: cfg.Logger}, a.list)
	rig.WaitFresh(t, a.follower)
	return a
}

// settle waits until the follower has proven something newer than now, and says how
// it got there.
func (a *anchored) settle(t *testing.T) revoke.Stats {
	t.Helper()
	now := revoke.Now()
	rig.Eventually(t, "proven again", func() bool { return a.list.Status(revoke.Now()).Proven.Mono > now.Mono })
	rig.Barrier(t, a.follower)
	rig.MustRefuse(t, a.list, a.known...) // invariant 3: whatever the broker did
	rig.MustPass(t, a.list, rig.Session("never revoked"))
	return a.list.Stats(revoke.Now())
}

// watch checks invariant 1 without a pause until stop is called: whenever the list is
// proven up to an instant after since, it refuses all of the ids, which were
// acknowledged before. It counts how often it looked in time.
func (a *anchored) watch(t *testing.T, since revoke.Instant, ids ...revoke.Identity) (stop func()) {
	t.Helper()
	quit := make(chan struct{})
	var wg sync.WaitGroup
	looks := 0
	wg.Go(func() {
		for {
			proven := a.list.Status(revoke.Now()).Proven // before the check
			if proven.Mono > since.Mono {
				for _, id := range ids {
					if !rig.Refused(a.list, id) {
						t.Errorf("proven %v after, yet session %s passes", proven.Time().Sub(since.Time()), id.Session)
						return
					}
				}
			} else {
				looks++
			}
			select {
			case <-quit:
				return
			default:
			}
		}
	})
	return sync.OnceFunc(func() {
		close(quit)
		wg.Wait()
		if looks == 0 {
			t.Error("watched too late to see anything")
		}
	})
}

// The first of the judged: a plain restart. The cursor is still there, nothing is
// read again, nobody becomes stale.
func TestAnchorPlainRestart(t *testing.T) {
	t.Parallel()
	a := newAnchored(t)
	for i := range 3 {
		a.Stop()
		a.Start()
		a.known = append(a.known, rig.RevokeSession(t, a.URL(), fmt.Sprint("after-restart-", i)))
		s := a.settle(t)
		if s.Replays != 1 || s.AnchorsLost != 0 || s.Gaps != 0 {
			t.Errorf("restart %d: %d replays, %d anchors lost, %d gaps", i, s.Replays, s.AnchorsLost, s.Gaps)
		}
	}
	if n := a.log.Count("state changed", "to=stale"); n != 0 {
		t.Errorf("%d times stale:\n%s", n, &a.log)
	}
}

// The second: the disk rolled back to an earlier state and written past the
// follower's position, while the follower is away. LastSequence, timestamps and a
// consumer at the next sequence all look healthy. Invariants 1 and 3.
func TestAnchorRolledBackAndWrittenPast(t *testing.T) {
	t.Parallel()
	a := newAnchored(t)
	a.Stop()
	backup := a.CopyDisk()
	a.Start()
	a.settle(t)
	a.known = append(a.known, rig.RevokeSession(t, a.URL(), "lost-by-the-disk"))
	rig.Barrier(t, a.follower)
	a.Stop()
	cursor := a.follower.Status().Sequence

	a.Dir = backup
	var lost []revoke.Identity
	a.Elsewhere(func(url string) {
		if last := rig.LastSequence(t, url); last >= cursor {
			t.Fatalf("the backup ends at %d, not before the cursor %d", last, cursor)
		}
		// The events that a follower resuming after its cursor would never see.
		for i := range 5 {
			lost = append(lost, rig.RevokeSession(t, url, fmt.Sprint("lost-stretch-", i)))
		}
		_, js := rig.Client(t, url)
		for range cursor + 10 - rig.LastSequence(t, url) {
			if _, err := js.Publish(rig.Within(t), bus.Subject(rig.Issuer, revoke.KindToken), fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"token","value":"filler"}`, rig.Issuer)); err != nil {
				t.Fatal(err)
			}
		}
	})
	since := revoke.Now()
	stop := a.watch(t, since, lost...)
	a.Start()
	s := a.settle(t)
	stop()
	rig.MustRefuse(t, a.list, lost...)
	if s.AnchorsLost != 1 || s.Replays != 2 {
		t.Errorf("%d anchors lost, %d replays", s.AnchorsLost, s.Replays)
	}
}

// The same, but the log ends before the follower's position.
func TestAnchorRolledBack(t *testing.T) {
	t.Parallel()
	a := newAnchored(t)
	a.Stop()
	backup := a.CopyDisk()
	a.Start()
	a.settle(t)
	a.known = append(a.known, rig.RevokeSession(t, a.URL(), "lost-by-the-disk"))
	for range 10 {
		rig.Barrier(t, a.follower)
	}
	a.Stop()
	a.Dir = backup
	var lost revoke.Identity
	a.Elsewhere(func(url string) { lost = rig.RevokeSession(t, url, "lost-stretch") })
	stop := a.watch(t, revoke.Now(), lost)
	a.Start()
	s := a.settle(t)
	stop()
	rig.MustRefuse(t, a.list, lost)
	if s.Replays != 2 || s.AnchorsLost != 1 {
		t.Errorf("%d replays, %d anchors lost", s.Replays, s.AnchorsLost)
	}
}

// The third: the stream deleted and made anew, under the follower's eyes.
func TestAnchorStreamRecreated(t *testing.T) {
	a := newAnchored(t)
	_, js := rig.Client(t, a.URL())
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, "no stream", func() bool {
		r := a.follower.Status().Err
		return r != nil && strings.Contains(r.Error(), bus.ErrNoStream.Error())
	})
	rig.MustRefuse(t, a.list, a.known...)
	rig.CreateStream(t, rig.Dial(t, a.URL()), bus.StreamConfig{})
	fresh := rig.RevokeSession(t, a.URL(), "in-the-new-stream")
	stop := a.watch(t, revoke.Now(), fresh)
	s := a.settle(t)
	stop()
	rig.MustRefuse(t, a.list, fresh)
	if s.Replays != 2 {
		t.Errorf("%d replays", s.Replays)
	}
}

// The same while the follower is away, and written past its position.
func TestAnchorStreamRecreatedUnseen(t *testing.T) {
	a := newAnchored(t)
	a.Stop()
	cursor := a.follower.Status().Sequence
	a.Dir = t.TempDir()
	var lost []revoke.Identity
	a.Elsewhere(func(url string) {
		rig.CreateStream(t, rig.Dial(t, url), bus.StreamConfig{})
		for i := range int(cursor) + 10 {
			lost = append(lost, rig.RevokeSession(t, url, fmt.Sprint("lost-stretch-", i)))
		}
	})
	stop := a.watch(t, revoke.Now(), lost...)
	a.Start()
	s := a.settle(t)
	stop()
	rig.MustRefuse(t, a.list, lost...)
	if s.AnchorsLost != 1 || s.Replays != 2 {
		t.Errorf("%d anchors lost, %d replays", s.AnchorsLost, s.Replays)
	}
}

// A stream whose disk is gone altogether: what is known stays known, and heals.
func TestAnchorEmptied(t *testing.T) {
	a := newAnchored(t)
	a.Stop()
	if err := os.RemoveAll(a.Dir + "/jetstream"); err != nil {
		t.Fatal(err)
	}
	a.Start()
	rig.Eventually(t, "no stream", func() bool {
		e := a.follower.Status().Err
		return e != nil && strings.Contains(e.Error(), bus.ErrNoStream.Error())
	})
	rig.MustRefuse(t, a.list, a.known...)
	rig.CreateStream(t, rig.Dial(t, a.URL()), bus.StreamConfig{})
	a.settle(t)
}

// An anchor that never comes: begun again twice, then read from the start.
func TestAnchorNeverComes(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	p := rig.NewProxy(t, br.URL())
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, p.URL()), bus.Config{NoHeartbeats: true}, l)
	a := &anchored{Broker: br, list: l, follower: f}
	beater := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, rig.Quick))
	rig.WaitFresh(t, f)
	beater.Close() // in a log where nothing happens the server says that it is idle
	p.Lose(func(s string) bool { return strings.HasPrefix(s, "revocations.") })
	p.Cut()
	since := revoke.Now()
	a.known = append(a.known, rig.RevokeSession(t, br.URL(), "meanwhile"))
	rig.Eventually(t, "the anchor is missed", func() bool {
		err := f.Status().Err
		return err != nil && strings.Contains(err.Error(), "anchor")
	})
	rig.Eventually(t, "read from the start", func() bool { return l.Stats(revoke.Now()).Replays == 2 })
	if s := f.Status(); s.Proven.Mono > since.Mono {
		t.Errorf("proven by nothing: %+v", s)
	}
	p.Lose(nil)
	rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, rig.Quick))
	if s := a.settle(t); s.AnchorsLost != 0 {
		t.Errorf("%d anchors lost", s.AnchorsLost)
	}
}

// The fourth: messages lost in flight, and no end of the connection tells of it.
// The next delivery does; what was lost is read again. Invariant 1.
func TestLostInFlight(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	p := rig.NewProxy(t, br.URL())
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, p.URL()), bus.Config{}, l)
	a := &anchored{Broker: br, list: l, follower: f}
	rig.WaitFresh(t, f)
	pub := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, nil)
	subject := bus.Subject(rig.Issuer, revoke.KindSession)
	gaps := uint64(0)
	for i, n := range []int{1, 2, 7} { // messages in a row
		left := n
		p.Lose(func(s string) bool {
			if s == subject && left > 0 {
				left--
				return true
			}
			return false
		})
		var lost []revoke.Identity
		for j := range n {
			id := rig.Session(fmt.Sprintf("lost-%d-%d", i, j))
			rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: id.Session})
			lost = append(lost, id)
		}
		since := revoke.Now() // all are acknowledged
		rig.Eventually(t, "all of them refused", func() bool {
			proven := l.Status(revoke.Now()).Proven
			for _, id := range lost {
				if !rig.Refused(l, id) {
					if proven.Mono > since.Mono {
						t.Fatalf("proven past the acknowledgement, yet session %s passes", id.Session)
					}
					return false
				}
			}
			return true
		})
		a.known = append(a.known, lost...)
		s := a.settle(t)
		// A heartbeat that passes between two of them shows the first gap by itself.
		if more := s.Gaps - gaps; more < 1 || more > uint64(n) || s.Replays != 1 || s.AnchorsLost != 0 {
			t.Errorf("%d lost: %d gaps, %d replays, %d anchors lost", n, more, s.Replays, s.AnchorsLost)
		}
		gaps = s.Gaps
	}
}

// followingOver starts a server, and a replica that follows it over a line and is fresh.
func followingOver(t *testing.T, staleness time.Duration, opts ...nats.Option) (*rig.Broker, *rig.Proxy, *revoke.List, *bus.Member) {
	t.Helper()
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	p := rig.NewProxy(t, br.URL())
	cfg := rig.Quick
	cfg.MaxStaleness = staleness
	l := rig.NewList(t, cfg)
	f := rig.Join(t, rig.Dial(t, p.URL(), opts...), bus.Config{}, l)
	rig.WaitFresh(t, f)
	return br, p, l, f
}

// Heartbeats lost in flight are gaps like any other: none of them is proof.
func TestHeartbeatsLostInFlight(t *testing.T) {
	_, p, _, f := followingOver(t, 400*time.Millisecond)
	p.Lose(func(s string) bool { return s == bus.HeartbeatSubject })
	since := revoke.Now()
	rig.Eventually(t, "stale", func() bool { return f.Status().State == revoke.StateStale })
	if s := f.Status(); s.Proven.Mono > since.Mono {
		t.Errorf("proven moved without heartbeats: %+v", s)
	}
	p.Lose(nil)
	rig.WaitFresh(t, f)
}

// A server that answers requests but sends nothing of the subscription, not even
// that it is idle, is not waited for.
func TestSilentSubscription(t *testing.T) {
	_, p, _, f := followingOver(t, 500*time.Millisecond)
	before := f.Status().Subscriptions
	// Answers to requests go to a subject below the inbox.
	p.Lose(func(s string) bool { return !strings.HasPrefix(s, "_INBOX.") || strings.Count(s, ".") == 1 })
	rig.Eventually(t, "begun again", func() bool { return f.Status().Subscriptions > before })
	if err := f.Status().Err; err == nil || !strings.Contains(err.Error(), "idle heartbeats") {
		t.Errorf("ended by %v", err)
	}
	p.Lose(nil)
	rig.WaitFresh(t, f)
}

// A connection that hangs, with both ends believing in it, makes the replica stale
// and no fresher than it is; it heals when the connection does.
func TestHangingConnection(t *testing.T) {
	br, p, l, f := followingOver(t, 400*time.Millisecond, nats.PingInterval(200*time.Millisecond))
	p.Hang()
	id := rig.RevokeSession(t, br.URL(), "meanwhile")
	rig.Eventually(t, "stale", func() bool { return f.Status().State == revoke.StateStale })
	if rig.Refused(l, id) {
		t.Error("the proxy does not hang")
	}
	p.Resume()
	rig.Barrier(t, f)
	rig.MustRefuse(t, l, id)
	rig.WaitFresh(t, f)
}
