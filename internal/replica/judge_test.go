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
func TestRetentionAreJudgedAgain(t *testing.T) {
	r, l := tape.Ready(t)
	good := l.Info().Retention
	for _, c := range []struct {
		name string
		h    revoke.Retention
		want revoke.Reason
	}{
		{"unreadable", revoke.Retention{}, revoke.ReasonBadStream},
		{"shorter than tokens live", revoke.Retention{TokenLifetime: time.Minute, SessionLifetime: good.SessionLifetime}, revoke.ReasonRetention},
	} {
		r.Feed.Judge(r.Now, replica.LogInfo{Retention: c.h})
		r.Want(revoke.StateStale, c.want)
		r.Feed.Judge(r.Now, replica.LogInfo{Retention: good})
		r.Want(revoke.StateFresh, revoke.ReasonNone)
	}
	r.Feed.Close(r.Now)
	r.Feed.Judge(r.Now, replica.LogInfo{}) // too late to say anything
	if s := r.List.Status(r.Now); s.State != revoke.StateFresh {
		t.Errorf("judged after Close: %+v", s)
	}
}

// Retention that shrinks, or vanishes, cuts short no life that the longer one allowed
// (invariant 3).
func TestShrunkRetentionForgetNothing(t *testing.T) {
	for name, shrunk := range map[string]revoke.Retention{
		"gone":    {},
		"shorter": {TokenLifetime: time.Hour, SessionLifetime: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			r, l := tape.NewReader(t, revoke.Config{}), &tape.Log{}
			info := l.Info()
			info.Retention.SessionLifetime = 400 * 24 * time.Hour
			l.Revoke(r.Now.Time(), "before")
			r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
			r.Begin(l)
			r.Feed.Judge(r.Now, replica.LogInfo{Retention: info.Retention})
			r.Feed.Judge(r.Now, replica.LogInfo{Retention: shrunk})
			l.Append(r.Now.Time(), tape.Message{Event: &revoke.Event{Issuer: tape.Issuer, Kind: revoke.KindToken, Value: "long", Until: r.Now.Time().Add(300 * 24 * time.Hour)}})
			r.Must(r.Read(l))
			r.Pass(200 * 24 * time.Hour)
			if !r.Refuses("long") {
				t.Error("the event was cut by the retention that shrank")
			}
		})
	}
}
