package follow

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A beatingFollower has a beater over a scripted server.
func beatingFollower(t *testing.T, cfg config) (*scripted.Server, *followed) {
	t.Helper()
	s, b := newScripted(t, cfg)
	f, _ := newTestFollower(t)
	f.t, f.cfg = b.Transport, b.followConfig()
	f.beater.t, f.beater.interval, f.beater.wanted = f.t, time.Second, make(chan struct{}, 1)
	f.beater.behind = false
	return s, &followed{f, b}
}

// beat lets the beater beat for d, as the follower's goroutine does.
func (f *Follower) beat(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(max(f.beater.in(revoke.Now()), time.Millisecond))
	}
	synctest.Wait()
}

// A member whose heartbeats are denied tries again twice a minute, and says why once; one
// that may send them goes on as if nothing were.
func TestHeartbeatsDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, f := beatingFollower(t, config{Logger: log.Logger()})
		defer f.b.end()
		f.beat(10 * time.Minute) // none comes back
		before := f.beater.sent.Load()
		if before < 250 || before > 1300 {
			t.Errorf("%d heartbeats in ten minutes", before)
		}
		if n := log.Count("own heartbeats do not come back"); n != 1 {
			t.Errorf("logged %d times: %s", n, &log)
		}
		s.Do(func() { s.Deny = wire.HeartbeatSubject })
		f.beater.lost, f.beater.reported = 0, false
		f.beat(10 * time.Minute)
		if n := f.beater.sent.Load() - before; n < 15 || n > 40 {
			t.Errorf("%d heartbeats in ten minutes, though denied", n)
		}
		if n := log.Count("Permissions Violation for Publish to"); n == 0 || log.Count("do not come back") != 2 {
			t.Errorf("logged %s", &log)
		}
		if !f.beater.denied {
			t.Fatal("not denied")
		}
		f.beater.heard(revoke.Now(), replica.Heartbeat{Nonce: f.beater.nonce})
		if f.beater.denied || f.beater.reported || f.beater.lost != 0 {
			t.Error("one came back, and they count as denied")
		}
		for i := range lostBeats + 1 { // the server's word may be of long ago: some have to be lost
			f.beater.beat()
			time.Sleep(time.Second)
			synctest.Wait()
			if f.beater.denied != (i == lostBeats) {
				t.Errorf("denied after %d: %t", i+1, f.beater.denied)
			}
		}
		f.beater.heard(revoke.Now(), replica.Heartbeat{Nonce: f.beater.nonce})
		s.Do(func() { s.Deny = "" })
		before = f.beater.sent.Load()
		f.beat(time.Minute)
		if n := f.beater.sent.Load() - before; n < 25 {
			t.Errorf("%d heartbeats in a minute after they were let again", n)
		}
	})
}

// Only the heartbeat that was sent last, come back, is one's own: another member's proves
// nothing of the way from here, and ends no search for what was lost.
func TestOwnHeartbeatsAreOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		_, f := beatingFollower(t, config{Logger: log.Logger()})
		defer f.b.end()
		h := &f.beater
		h.heard(revoke.Now(), replica.Heartbeat{}) // before any was sent
		if h.returned.Load() != 0 {
			t.Fatal("the first of others is taken for one's own")
		}
		h.beat()
		first := h.nonce
		time.Sleep(40 * time.Millisecond)
		h.beat()
		for _, nonce := range [][16]byte{{1}, first, {}} {
			h.heard(revoke.Now(), replica.Heartbeat{Nonce: nonce})
		}
		if h.returned.Load() != 0 || h.lost != 2 || h.first.IsZero() || h.round != 0 {
			t.Errorf("%d returned, %d lost, round %s", h.returned.Load(), h.lost, h.round)
		}
		time.Sleep(70 * time.Millisecond)
		h.heard(revoke.Now(), replica.Heartbeat{Nonce: h.nonce})
		if h.returned.Load() != 1 || h.lost != 0 || !h.first.IsZero() || h.round != 70*time.Millisecond || h.sent.Load() != 2 {
			t.Errorf("%d returned of %d, %d lost, round %s", h.returned.Load(), h.sent.Load(), h.lost, h.round)
		}
		for range lostBeats {
			h.beat()
		}
		time.Sleep(10 * time.Second) // in which the cause is looked for
		synctest.Wait()
		if log.Count("do not come back") != 0 {
			t.Errorf("too soon: %s", &log)
		}
		for range 5 {
			h.beat()
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if log.Count("do not come back") != 1 {
			t.Errorf("logged %s", &log)
		}
		h.heard(revoke.Now(), replica.Heartbeat{Nonce: h.nonce})
		for range lostBeats + 1 {
			h.beat()
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if log.Count("do not come back") != 2 {
			t.Errorf("the next loss is not logged: %s", &log)
		}
	})
}

// Every heartbeat of a member that can sign is signed, one after the other; none where no
// key is.
func TestHeartbeatsAreSigned(t *testing.T) {
	for _, cfg := range []config{{Signer: vectorKey()}, {}} {
		synctest.Test(t, func(t *testing.T) {
			s, f := beatingFollower(t, cfg)
			defer f.b.end()
			for range lostBeats {
				f.beater.beat()
				time.Sleep(time.Second)
			}
			synctest.Wait()
			want := 0
			if cfg.Signer != nil {
				want = lostBeats
			}
			s.Do(func() {
				if len(s.Beats) != lostBeats || s.Signed != want {
					t.Errorf("%d heartbeats, %d signed, want %d", len(s.Beats), s.Signed, want)
				}
			})
		})
	}
}

// A barrier's heartbeat goes at once, at most one in 10 ms; in place of one that was lost
// there is another after an interval; without barriers the feed's schedule counts.
func TestBarrierHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, f := beatingFollower(t, config{})
		defer f.b.end()
		h := &f.beater
		if d := h.in(revoke.Now()); d < h.interval || h.sent.Load() != 1 { // the first is due
			t.Fatalf("the next after %s, %d sent", d, h.sent.Load())
		}
		h.asked = true
		if d := h.in(revoke.Now()); d != barrierSpacing || h.sent.Load() != 1 || !h.asked {
			t.Fatalf("after %s, %d sent", d, h.sent.Load())
		}
		time.Sleep(barrierSpacing)
		h.barriers.Add(1)
		if d := h.in(revoke.Now()); d > h.interval || h.sent.Load() != 2 || h.asked {
			t.Fatalf("after %s, %d sent", d, h.sent.Load())
		}
		time.Sleep(h.interval / 2)
		if h.in(revoke.Now()); h.sent.Load() != 2 {
			t.Fatal("a barrier that waits has a heartbeat sent at every look")
		}
		time.Sleep(h.interval / 2)
		if h.in(revoke.Now()); h.sent.Load() != 3 {
			t.Fatal("nothing in place of a heartbeat that was lost")
		}
		h.barriers.Add(-1)
		h.cfg.NoHeartbeats = true
		h.asked = true
		if d := h.in(revoke.Now()); d != h.interval || h.asked || h.sent.Load() != 3 {
			t.Errorf("after %s, %d sent, though it is to send none", d, h.sent.Load())
		}
		h.beat()
		if h.sent.Load() != 3 {
			t.Error("sent one, though it is to send none")
		}
	})
}
