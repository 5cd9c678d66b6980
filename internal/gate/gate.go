// Package gate is for tests that need what a machine may lack: a program, a feature of
// its file system, a service.
package gate

import (
	"os"
	"testing"
)

// Variable, set to 1, makes tests fail that would be skipped. .ci/run sets it: a gate
// that looks at less than it says would pass by saying nothing.
const Variable = "HYBRIDTOKEN_ALL"

// Skip skips a test because something is absent, named in one sentence. Where [Variable]
// is 1 the test fails instead.
func Skip(t testing.TB, absent string) {
	t.Helper()
	if os.Getenv(Variable) == "1" {
		t.Fatalf("%s; %s=1 has this test fail without it", absent, Variable)
	}
	t.Skip(absent)
}
