// Package rig is what the end-to-end tests stand on: NATS servers and clusters that can be
// stopped, cut off and rolled back, lines that lose messages, members that join them, and one
// way to wait. Its functions fail the test themselves.
package rig

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main runs a package's tests, and fails if a goroutine outlives them. Where a variable of
// the environment that roles holds is set, the process is one that a test has started: it
// plays that role instead.
func Main(m *testing.M, roles map[string]func()) {
	for variable, play := range roles {
		if os.Getenv(variable) != "" {
			play()
			return
		}
	}
	// What runs in parallel here waits for elections and timeouts, not for a processor.
	flag.Parse()
	if !isSet("test.parallel") {
		_ = flag.Set("test.parallel", "8")
	}
	// A server that has deleted a mirror asks the origin's account to clear up, by a right
	// that examples/nats does not give, and waits ten seconds for the answer.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*stream).tryDeleteSourcingConsumer.func1"))
}

func isSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}
