package e2e_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// guarded is a server where verifiers may publish nothing but what following takes,
// members may send heartbeats besides, and strangers may not even follow. These
// rights are the fewest that work, not a wall: see
// TestFollowersCanWriteThroughReplies.
func guarded(o *server.Options) {
	follow := []string{
		"$JS.API.STREAM.INFO." + bus.DefaultStream,
		"$JS.API.CONSUMER.CREATE." + bus.DefaultStream + ".*",
		"$JS.API.CONSUMER.MSG.NEXT." + bus.DefaultStream + ".*",
		"$JS.API.CONSUMER.DELETE." + bus.DefaultStream + ".*",
	}
	inbox := func(name string) *server.SubjectPermission {
		return &server.SubjectPermission{Allow: []string{"_INBOX_" + name + ".>"}}
	}
	member := append([]string{bus.HeartbeatSubject}, follow...)
	o.Users = []*server.User{
		{Username: "admin", Password: "x"},
		{Username: "verifier", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: follow}, Subscribe: inbox("verifier")}},
		{Username: "member", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: member}, Subscribe: inbox("member")}},
		{Username: "stranger", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"nothing"}}, Subscribe: inbox("stranger")}},
	}
}

func as(user string) []nats.Option {
	opts := []nats.Option{nats.UserInfo(user, "x")}
	if user != "admin" {
		opts = append(opts, nats.CustomInboxPrefix("_INBOX_"+user))
	}
	return opts
}

// A verifier that may not send heartbeats lives on those of others, whether it
// knows that it may not or tries.
func TestVerifierOnly(t *testing.T) {
	t.Parallel() // it waits
	br := newBroker(t, guarded)
	admin := dial(t, br.url(), as("admin")...)
	createStream(t, admin, bus.StreamConfig{})
	pub := join(t, admin, bus.Config{}, nil)
	cfg := quick
	cfg.MaxStaleness = 4 * time.Second // half of which they wait before they subscribe anew

	var log journal
	knows := newList(t, cfg)
	silent := join(t, dial(t, br.url(), as("verifier")...), bus.Config{NoHeartbeats: true}, knows)
	tries := newList(t, cfg)
	denied := join(t, dial(t, br.url(), as("verifier")...), bus.Config{Logger: log.logger()}, tries)

	began := time.Now()
	// Alone they follow, and are not fresh.
	eventually(t, "the missing heartbeats are reported", func() bool {
		return log.count("own heartbeats do not come back", bus.HeartbeatSubject) == 1
	})
	for name, f := range map[string]*bus.Member{"silent": silent, "denied": denied} {
		if s := f.Status(); s.State != revoke.StateSyncing || s.Returned != 0 || s.Subscriptions != 1 {
			t.Errorf("%s, alone: %+v", name, s)
		}
	}

	// Who was told so does not try every time again.
	sent := denied.Status().Sent
	eventually(t, "fifty intervals", func() bool { return time.Since(began) > 50*cfg.HeartbeatInterval })
	if more := denied.Status().Sent - sent; more > 2 {
		t.Errorf("%d more heartbeats that are not permitted", more)
	}

	member := join(t, dial(t, br.url(), as("member")...), bus.Config{}, newList(t, cfg))
	waitFresh(t, member, silent, denied)
	publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "s"})
	barrier(t, silent) // by the member's heartbeats, somewhat later
	mustRefuse(t, knows, session("s"))
	barrier(t, denied)
	mustRefuse(t, tries, session("s"))

	member.Close()
	for _, f := range []*bus.Member{silent, denied} {
		eventually(t, "stale without the member", func() bool {
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
	br := newBroker(t, func(o *server.Options) {
		guarded(o)
		if allowed {
			o.Users[3].Permissions.Publish.Allow = o.Users[2].Permissions.Publish.Allow
		}
	})
	createStream(t, dial(t, br.url(), as("admin")...), bus.StreamConfig{})
	f := join(t, dial(t, br.url(), as("stranger")...), bus.Config{}, newList(t, quick))
	eventually(t, "not permitted", func() bool { return f.Status().Reason == revoke.ReasonNotPermitted })
	br.stop()
	allowed = true
	br.start()
	waitFresh(t, f)
}
