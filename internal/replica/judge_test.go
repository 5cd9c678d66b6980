package replica_test

import (
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What the log's metadata says is judged again while a subscription lives, and what was
// bad heals when it is mended, without a subscription or a proof of its own.
func TestHorizonsAreJudgedAgain(t *testing.T) {
	r, l := tape.Ready(t)
	good := l.Info().Horizons
	for _, c := range []struct {
		name string
		h    revoke.Horizons
		want revoke.Reason
	}{
		{"unreadable", revoke.Horizons{}, revoke.ReasonBadStream},
		{"shorter than tokens live", revoke.Horizons{TokenLifetime: time.Minute, SessionLifetime: good.SessionLifetime}, revoke.ReasonHorizon},
	} {
		r.Feed.Judge(r.Now, replica.LogInfo{Horizons: c.h})
		r.Want(revoke.StateStale, c.want)
		r.Feed.Judge(r.Now, replica.LogInfo{Horizons: good})
		r.Want(revoke.StateFresh, revoke.ReasonNone)
	}
	r.Feed.Close(r.Now)
	r.Feed.Judge(r.Now, replica.LogInfo{}) // too late to say anything
	if s := r.List.Status(r.Now); s.State != revoke.StateFresh {
		t.Errorf("judged after Close: %+v", s)
	}
}

// Horizons that shrink, or vanish, cut short no life that the longer ones allowed
// (invariant 3).
func TestShrunkHorizonsForgetNothing(t *testing.T) {
	for name, shrunk := range map[string]revoke.Horizons{
		"gone":    {},
		"shorter": {TokenLifetime: time.Hour, SessionLifetime: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			r, l := tape.NewReader(t, revoke.Config{}), &tape.Log{}
			info := l.Info()
			info.Horizons.SessionLifetime = 400 * 24 * time.Hour
			l.Revoke(r.Now.Time(), "before")
			r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
			r.Begin(l)
			r.Feed.Judge(r.Now, replica.LogInfo{Horizons: info.Horizons})
			r.Feed.Judge(r.Now, replica.LogInfo{Horizons: shrunk})
			l.Append(r.Now.Time(), tape.Message{Event: &revoke.Event{Issuer: tape.Issuer, Kind: revoke.KindToken, Value: "long", Until: r.Now.Time().Add(300 * 24 * time.Hour)}})
			r.Must(r.Read(l))
			r.Pass(200 * 24 * time.Hour)
			if !r.Refuses("long") {
				t.Error("the event was cut by the horizon that shrank")
			}
		})
	}
}
