package revoke_test

import (
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What the log's metadata says is judged again while a subscription lives, and what was
// bad heals when it is mended, without a subscription or a proof of its own.
func TestHorizonsAreJudgedAgain(t *testing.T) {
	r, l := ready(t)
	good := l.info().Horizons
	for _, c := range []struct {
		name string
		h    revoke.Horizons
		want revoke.Reason
	}{
		{"unreadable", revoke.Horizons{}, revoke.ReasonBadStream},
		{"shorter than tokens live", revoke.Horizons{TokenLifetime: time.Minute, SessionLifetime: good.SessionLifetime}, revoke.ReasonHorizon},
	} {
		r.feed.Judge(r.now, replica.LogInfo{Horizons: c.h})
		r.want(revoke.StateStale, c.want)
		r.feed.Judge(r.now, replica.LogInfo{Horizons: good})
		r.want(revoke.StateFresh, revoke.ReasonNone)
	}
	r.feed.Close(r.now)
	r.feed.Judge(r.now, replica.LogInfo{}) // too late to say anything
	if s := r.list.Status(r.now); s.State != revoke.StateFresh {
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
			r, l := newReplica(t, revoke.Config{}), &tape{}
			info := l.info()
			info.Horizons.SessionLifetime = 400 * 24 * time.Hour
			l.revoke(r.now.Time(), "before")
			r.feed.Broken(r.now, revoke.ReasonDisconnected)
			r.begin(l)
			r.feed.Judge(r.now, replica.LogInfo{Horizons: info.Horizons})
			r.feed.Judge(r.now, replica.LogInfo{Horizons: shrunk})
			l.append(r.now.Time(), message{event: &revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "long", Until: r.now.Time().Add(300 * 24 * time.Hour)}})
			r.must(r.read(l))
			r.pass(200 * 24 * time.Hour)
			if !r.refuses("long") {
				t.Error("the event was cut by the horizon that shrank")
			}
		})
	}
}
