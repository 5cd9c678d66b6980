package e2e_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const mirrorStream = "REVOCATIONS_MIRROR"

var exampleDir = filepath.Join("..", "..", "examples", "nats")

// exampleUsers are those of the examples; their passwords are in variables of that name.
var exampleUsers = []string{"operator", "auth", "publisher", "mirror", "verifier", "sessions", "sessions_operator"}

// environment is held while one test needs the process's environment to be its own.
var environment sync.Mutex

// example reads a configuration of examples/nats, with passwords that are the users'
// names, and with vars for the other variables that the file names.
func example(t *testing.T, name string, vars map[string]string) *server.Options {
	t.Helper()
	environment.Lock()
	defer environment.Unlock()
	vars = maps.Clone(vars)
	if vars == nil {
		vars = map[string]string{}
	}
	for _, user := range exampleUsers {
		vars[strings.ToUpper(user)+"_PASSWORD"] = user
	}
	for name, value := range vars {
		if err := os.Setenv(name, value); err != nil {
			t.Fatal(err)
		}
		defer os.Unsetenv(name)
	}
	o, err := server.ProcessConfigFile(filepath.Join(exampleDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// withAccounts runs a broker with the accounts and users of that file, and nothing else
// of its own making.
func withAccounts(t *testing.T, name string) *broker {
	t.Helper()
	return newBrokerOf(t, filepath.Join(exampleDir, name), func(o *server.Options) {
		parsed := example(t, name, nil)
		o.Accounts, o.Users = parsed.Accounts, parsed.Users
		if len(o.Users) == 0 {
			t.Fatal("the file has no users")
		}
	})
}

// user is how a user of the examples connects.
func user(name string) []nats.Option {
	return []nats.Option{nats.UserInfo(name, name), nats.CustomInboxPrefix("_INBOX_" + name)}
}

// exampleMirror reads mirror.json for that many servers.
func exampleMirror(t *testing.T, replicas int) jetstream.StreamConfig {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(exampleDir, "mirror.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c jetstream.StreamConfig
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	if c.Replicas != 3 || c.Name != mirrorStream {
		t.Fatalf("mirror.json: %+v", c)
	}
	c.Replicas = replicas
	if replicas == 1 {
		c.Metadata["hybridtoken.max_skew_ms"] = "100" // of a stream of createStream's
	}
	return c
}

// refusedPublish publishes and returns whether the server refused it for want of a right.
func refusedPublish(t *testing.T, url, as, subject string, data []byte) bool {
	t.Helper()
	refusal := make(chan error, 16)
	nc, err := nats.Connect(url, append(user(as), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusal <- err }))...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish(subject, data); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(within(t)); err != nil { // the refusal comes before the pong
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
			right{"auth", bus.Subject(issuer, k), true}, right{"auth", bus.Subject(other, k), false},
			right{"publisher", bus.Subject(issuer, k), k == revoke.KindToken || k == revoke.KindSession}, right{"publisher", bus.Subject(other, k), false},
			right{"verifier", bus.Subject(issuer, k), false}, right{"operator", bus.Subject(other, k), true})
	}
	for _, user := range []string{"auth", "publisher", "verifier"} {
		for _, stream := range []string{bus.DefaultStream, mirrorStream} {
			for _, call := range []string{"CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN", "PEER.REMOVE"} {
				list = append(list, right{user, "$JS.API.STREAM." + call + "." + stream, false})
			}
			list = append(list, right{user, "$JS.API.CONSUMER.DURABLE.CREATE." + stream + ".d", false}, right{user, "$JS.API.DIRECT.GET." + stream, false})
		}
		list = append(list, right{user, "_INBOX_auth.guess", false}, right{user, "mirror.verifiers.guess", false})
	}
	return append(list, right{"auth", bus.HeartbeatSubject, true}, right{"publisher", bus.HeartbeatSubject, false})
}
