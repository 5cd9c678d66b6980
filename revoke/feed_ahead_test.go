package revoke_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Invariant 1: a member whose clock is ahead, or one that lies about its clock, leaves
// heartbeats in the log that come of age there. Who reads them later, because it has just
// started or was cut off meanwhile, must not take them for new: what stands behind them
// in the log is not applied yet.
func TestHeartbeatsComeOfAgeInTheLog(t *testing.T) {
	const away = 5 * time.Minute
	for _, c := range []struct {
		name     string
		anchored bool
		ahead    time.Duration // of the member's clock
		reading  time.Duration // from the subscription to the heartbeat's delivery
	}{
		{"replay, sent now as it says", false, away + 3*time.Second, 3 * time.Second},
		{"replay, sent a little ago", false, away, 3 * time.Second},
		{"reconnect, sent now as it says", true, away, 0},
		{"reconnect, sent a little ago", true, away - 8*time.Second, 0},
		{"reconnect, read slowly", true, away + 2*time.Second, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, l := ready(t)
			if !c.anchored {
				r = newReplica(t, revoke.Config{})
			}
			r.otherBeat(l, c.ahead)
			l.revoke(r.now.Time(), "stolen")
			r.pass(away)
			r.feed.Broken(r.now, revoke.ReasonDisconnected)
			before := r.list.Status(r.now)
			r.begin(l)
			if r.sub.Anchored != c.anchored {
				t.Fatalf("anchored: %t", r.sub.Anchored)
			}
			r.pass(c.reading)
			for i := range l.messages { // up to the heartbeat
				m := &l.messages[i]
				if m.seq < r.sub.Start {
					continue
				}
				r.n, r.pos = r.n+1, m.seq
				r.must(r.deliver(m, r.n))
				if m.beat != nil && m.beat.Name == "other" {
					break
				}
			}
			id := revoke.Identity{Issuer: iss, Token: "stolen", IssuedAt: r.now.Time()}
			if err := r.list.Check(r.now, &id, revoke.Deny()); !errors.Is(err, revoke.ErrStale) {
				t.Errorf("a token revoked five minutes ago: %v", err)
			}
			if s := r.list.Status(r.now); s.Proven != before.Proven {
				t.Errorf("P moved: %+v", s)
			}
			if n := r.list.Stats(r.now).SkewedHeartbeats; n == 0 {
				t.Error("nobody is told of the clock")
			}
			// What is sent from now on proves as ever.
			r.must(r.read(l))
			r.pass(5 * time.Second)
			r.otherBeat(l, 0)
			r.must(r.read(l))
			r.want(revoke.StateFresh, revoke.ReasonNone)
			if err := r.list.Check(r.now, &id, revoke.Deny()); !errors.Is(err, revoke.ErrRevoked) {
				t.Errorf("the log is read: %v", err)
			}
		})
	}
}
