package e2e_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(suspendedEnv) != "" {
		suspended() // a process of TestNormalDaySuspended
		return
	}
	if os.Getenv(serverEnv) != "" {
		serve() // a process of TestSessionsOnCluster
		return
	}
	if os.Getenv(podEnv) != "" {
		pod() // a process of TestRollCallFrozen
		return
	}
	if os.Getenv(authorEnv) != "" {
		author() // a process of TestOutboxKilled
		return
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
