package rig

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
)

// ExampleVerifier is how a verifier of accounts.conf follows.
var ExampleVerifier = bus.Config{Name: "verifier", Stream: MirrorStream, NoHeartbeats: true}

// MirrorStream is the mirror of mirror.json.
const MirrorStream = "REVOCATIONS_MIRROR"

var exampleDir = filepath.Join("..", "..", "..", "examples", "nats")

// exampleUsers are those of the examples; their passwords are in variables of that name.
var exampleUsers = []string{"operator", "auth", "publisher", "mirror", "verifier", "sessions", "sessions_operator"}

// environment is held while one test needs the process's environment to be its own.
var environment sync.Mutex

// ExampleConfig reads a configuration of examples/nats, with passwords that are the users'
// names, and with vars for the other variables that the file names.
func ExampleConfig(t *testing.T, name string, vars map[string]string) *server.Options {
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

// ExampleBroker runs a broker with the accounts and users of that file, and nothing else
// of its own making.
func ExampleBroker(t *testing.T, name string) *Broker {
	t.Helper()
	return newBrokerOf(t, filepath.Join(exampleDir, name), func(o *server.Options) {
		parsed := ExampleConfig(t, name, nil)
		o.Accounts, o.Users = parsed.Accounts, parsed.Users
		if len(o.Users) == 0 {
			t.Fatal("the file has no users")
		}
	})
}

// ExampleUser is how a user of the examples connects.
func ExampleUser(name string) []nats.Option {
	return []nats.Option{nats.UserInfo(name, name), nats.CustomInboxPrefix("_INBOX_" + name)}
}

// ExampleMirror reads mirror.json for that many servers.
func ExampleMirror(t *testing.T, replicas int) jetstream.StreamConfig {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(exampleDir, "mirror.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c jetstream.StreamConfig
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	if c.Replicas != 3 || c.Name != MirrorStream {
		t.Fatalf("mirror.json: %+v", c)
	}
	c.Replicas = replicas
	if replicas == 1 {
		c.Metadata["hybridtoken.max_skew_ms"] = "100" // of a stream of CreateStream's
	}
	return c
}
