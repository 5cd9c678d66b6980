package normalday_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A surveillance checks, without a pause, what a list answers about sessions revoked
// one after the other: whenever it is proven past the acknowledgement of one, it
// refuses it (invariant 1).
type surveillance struct {
	mu      sync.Mutex
	revoked []revokedSession // guarded by mu
	quit    chan struct{}
	wg      sync.WaitGroup
}

type revokedSession struct {
	id    revoke.Identity
	since revoke.Instant // acknowledged by then
}

func survey(t *testing.T, lists ...*revoke.List) *surveillance {
	w := &surveillance{quit: make(chan struct{})}
	for n, l := range lists {
		w.wg.Go(func() {
			for tick := time.NewTicker(time.Millisecond); ; {
				w.mu.Lock()
				all := slices.Clip(w.revoked)
				w.mu.Unlock()
				now := revoke.Now()
				proven := l.Status(now).Proven
				for _, r := range all {
					if proven.Mono >= r.since.Mono && !rig.Refused(l, r.id) {
						t.Errorf("replica %d is proven %v past the revocation of %s, and accepts it", n, proven.Since(r.since), r.id.Session)
						return
					}
					// Deny, and the guarantee in the user's terms.
					if err := l.Check(now, &r.id, revoke.Deny()); err == nil && now.Since(r.since) > l.Config().MaxStaleness {
						t.Errorf("replica %d accepts %s %v after its revocation", n, r.id.Session, now.Since(r.since))
						return
					}
				}
				select {
				case <-tick.C:
				case <-w.quit:
					tick.Stop()
					return
				}
			}
		})
	}
	t.Cleanup(w.stop)
	return w
}

func (w *surveillance) add(id revoke.Identity) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revoked = append(w.revoked, revokedSession{id, revoke.Now()})
}

func (w *surveillance) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.quit:
	default:
		close(w.quit)
	}
	w.mu.Unlock()
	w.wg.Wait()
	w.mu.Lock()
}

// "NATS rolling upgrade, unclean leader loss → inside 15 s": every server of
// three restarts in turn, then the stream's leader dies without a word. Whatever time
// that takes on this machine, no replica accepts what was revoked more than
// MaxStaleness ago, none takes the log for another, and all are fresh at the end.
func TestNormalDayClusterMaintenance(t *testing.T) {
	t.Parallel() // it waits, mostly
	c := rig.NewCluster(t, 3, nil)
	c.CreateStream(bus.StreamConfig{})
	var log rig.Journal
	var lists []*revoke.List
	var fs []*bus.Member
	for i := range 3 {
		l := rig.NewList(t, revoke.Config{Logger: log.Logger()})
		lists = append(lists, l)
		fs = append(fs, rig.Join(t, rig.AtNode(t, c, i), bus.Config{Name: fmt.Sprint("service-", i)}, l))
	}
	pub := rig.Join(t, rig.Dial(t, c.URLs()), bus.Config{Name: "auth"}, nil)
	rig.WaitFresh(t, fs...)
	watch := survey(t, lists...)
	n := 0
	kill := func() {
		t.Helper()
		n++
		id := rig.Session(fmt.Sprint("s-", n))
		rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: id.Session})
		watch.add(id)
	}
	kill()
	for i := range 3 {
		c.Stop(i)
		kill()
		c.Start(i)
		c.Settled(bus.DefaultStream)
		kill()
	}
	leader := c.Leader(bus.DefaultStream)
	c.Crash(leader)
	kill()
	rig.WaitFresh(t, fs...)
	for i, f := range fs {
		rig.Barrier(t, f)
		for k := range n {
			rig.MustRefuse(t, lists[i], rig.Session(fmt.Sprint("s-", k+1)))
		}
		s := lists[i].Stats(revoke.Now())
		t.Logf("replica %d: %d subscriptions, %d replays", i, f.Status().Subscriptions, s.Replays)
		if s.AnchorsLost != 0 {
			t.Errorf("replica %d: %d anchors lost", i, s.AnchorsLost)
		}
	}
	watch.stop()
	t.Logf("%d times stale", log.Count("to=stale"))
}
