package accounts_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// refusedPublish publishes and returns whether the server refused it for want of a right.
func refusedPublish(t *testing.T, url, as, subject string, data []byte) bool {
	t.Helper()
	refusal := make(chan error, 16)
	nc, err := nats.Connect(url, append(rig.ExampleUser(as), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusal <- err }))...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish(subject, data); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(rig.Within(t)); err != nil { // the refusal comes before the pong
		t.Fatal(err)
	}
	return nc.LastError() != nil && strings.Contains(strings.ToLower(nc.LastError().Error()), "permissions violation")
}

// A right is what a user may, or may not, publish on.
type right struct {
	user, subject string
	allowed       bool
}

// checkRights tries each. The payload is no event and no request, so that what is
// allowed has no effect that matters.
func checkRights(t *testing.T, url string, rights []right) {
	t.Helper()
	for _, r := range rights {
		if got := !refusedPublish(t, url, r.user, r.subject, []byte("?")); got != r.allowed {
			t.Errorf("%s publishes on %s: %t, want %t", r.user, r.subject, got, r.allowed)
		}
	}
}

// publisherRights are the same in both files: nobody revokes for another issuer, and who
// is to end tokens and sessions ends no more than those.
func publisherRights() []right {
	const other = "https://other.example.com"
	var list []right
	for _, k := range []revoke.Kind{revoke.KindToken, revoke.KindSession, revoke.KindSubject, revoke.KindClient, revoke.KindTenant, revoke.KindKey, revoke.KindIssuer} {
		list = append(list,
			right{"auth", bus.Subject(rig.Issuer, k), true}, right{"auth", bus.Subject(other, k), false},
			right{"publisher", bus.Subject(rig.Issuer, k), k == revoke.KindToken || k == revoke.KindSession}, right{"publisher", bus.Subject(other, k), false},
			right{"verifier", bus.Subject(rig.Issuer, k), false}, right{"operator", bus.Subject(other, k), true})
	}
	for _, user := range []string{"auth", "publisher", "verifier"} {
		for _, stream := range []string{bus.DefaultStream, rig.MirrorStream} {
			for _, call := range []string{"CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN", "PEER.REMOVE"} {
				list = append(list, right{user, "$JS.API.STREAM." + call + "." + stream, false})
			}
			list = append(list, right{user, "$JS.API.CONSUMER.DURABLE.CREATE." + stream + ".d", false}, right{user, "$JS.API.DIRECT.GET." + stream, false})
		}
		list = append(list, right{user, "_INBOX_auth.guess", false}, right{user, "mirror.verifiers.guess", false})
	}
	return append(list, right{"auth", bus.HeartbeatSubject, true}, right{"publisher", bus.HeartbeatSubject, false})
}
