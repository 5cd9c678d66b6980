package replica_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
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
			r, l := tape.Ready(t)
			if !c.anchored {
				r = tape.NewReader(t, revoke.Config{})
			}
			r.OtherBeat(l, c.ahead)
			l.Revoke(r.Now.Time(), "stolen")
			r.Pass(away)
			r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
			before := r.List.Status(r.Now)
			r.Begin(l)
			if r.Sub.Anchored != c.anchored {
				t.Fatalf("anchored: %t", r.Sub.Anchored)
			}
			r.Pass(c.reading)
			for i := range l.Messages { // up to the heartbeat
				m := &l.Messages[i]
				if m.Seq < r.Sub.Start {
					continue
				}
				r.N, r.Pos = r.N+1, m.Seq
				r.Must(r.Deliver(m, r.N))
				if m.Beat != nil && m.Beat.Name == "other" {
					break
				}
			}
			id := revoke.Identity{Issuer: tape.Issuer, Token: "stolen", IssuedAt: r.Now.Time()}
			if err := r.List.Check(r.Now, &id, revoke.Deny()); !errors.Is(err, revoke.ErrStale) {
				t.Errorf("a token revoked five minutes ago: %v", err)
			}
			if s := r.List.Status(r.Now); s.Proven != before.Proven {
				t.Errorf("P moved: %+v", s)
			}
			if n := r.List.Stats(r.Now).SkewedHeartbeats; n == 0 {
				t.Error("nobody is told of the clock")
			}
			// What is sent from now on proves as ever.
			r.Must(r.Read(l))
			r.Pass(5 * time.Second)
			r.OtherBeat(l, 0)
			r.Must(r.Read(l))
			r.Want(revoke.StateFresh, revoke.ReasonNone)
			if err := r.List.Check(r.Now, &id, revoke.Deny()); !errors.Is(err, revoke.ErrRevoked) {
				t.Errorf("the log is read: %v", err)
			}
		})
	}
}
