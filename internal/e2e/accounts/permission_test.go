package accounts_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A verifier that may not send heartbeats lives on those of others, whether it
// knows that it may not or tries.
func TestVerifierOnly(t *testing.T) {
	t.Parallel() // it waits
	br := rig.NewBroker(t, rig.Guarded)
	admin := rig.Dial(t, br.URL(), rig.As("admin")...)
	rig.CreateStream(t, admin, bus.StreamConfig{})
	pub := rig.Join(t, admin, bus.Config{}, nil)
	cfg := rig.Quick
	cfg.MaxStaleness = 4 * time.Second // half of which they wait before they subscribe anew

	var log rig.Journal
	knows := rig.NewList(t, cfg)
	silent := rig.Join(t, rig.Dial(t, br.URL(), rig.As("verifier")...), bus.Config{NoHeartbeats: true}, knows)
	tries := rig.NewList(t, cfg)
	denied := rig.Join(t, rig.Dial(t, br.URL(), rig.As("verifier")...), bus.Config{Logger: log.Logger()}, tries)

	began := time.Now()
	// Alone they follow, and are not fresh.
	rig.Eventually(t, "the missing heartbeats are reported", func() bool {
		return log.Count("own heartbeats do not come back", bus.HeartbeatSubject) == 1
	})
	for name, f := range map[string]*bus.Member{"silent": silent, "denied": denied} {
		if s := f.Status(); s.State != revoke.StateSyncing || s.Returned != 0 || s.Subscriptions != 1 {
			t.Errorf("%s, alone: %+v", name, s)
		}
	}

	// Who was told so does not try every time again.
	sent := denied.Status().Sent
	rig.Eventually(t, "fifty intervals", func() bool { return time.Since(began) > 50*cfg.HeartbeatInterval })
	if more := denied.Status().Sent - sent; more > 2 {
		t.Errorf("%d more heartbeats that are not permitted", more)
	}

	member := rig.Join(t, rig.Dial(t, br.URL(), rig.As("member")...), bus.Config{}, rig.NewList(t, cfg))
	rig.WaitFresh(t, member, silent, denied)
	rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "s"})
	rig.Barrier(t, silent) // by the member's heartbeats, somewhat later
	rig.MustRefuse(t, knows, rig.Session("s"))
	rig.Barrier(t, denied)
	rig.MustRefuse(t, tries, rig.Session("s"))

	member.Close()
	for _, f := range []*bus.Member{silent, denied} {
		rig.Eventually(t, "stale without the member", func() bool {
			s := f.Status()
			return s.State == revoke.StateStale && s.Reason == revoke.ReasonNoHeartbeat
		})
	}
	if s := silent.Status(); s.Sent != 0 {
		t.Errorf("%d heartbeats sent all the same", s.Sent)
	}
}

// Who may not follow hears so, and heals when the right is granted.
func TestNotPermitted(t *testing.T) {
	t.Parallel() // it waits, mostly
	allowed := false
	br := rig.NewBroker(t, func(o *server.Options) {
		rig.Guarded(o)
		if allowed {
			o.Users[3].Permissions.Publish.Allow = o.Users[2].Permissions.Publish.Allow
		}
	})
	rig.CreateStream(t, rig.Dial(t, br.URL(), rig.As("admin")...), bus.StreamConfig{})
	f := rig.Join(t, rig.Dial(t, br.URL(), rig.As("stranger")...), bus.Config{}, rig.NewList(t, rig.Quick))
	rig.Eventually(t, "not permitted", func() bool { return f.Status().Reason == revoke.ReasonNotPermitted })
	br.Stop()
	allowed = true
	br.Start()
	rig.WaitFresh(t, f)
}
