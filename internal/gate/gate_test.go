package gate

import (
	"strings"
	"testing"
)

// A recorder is a test that is ended by nothing.
type recorder struct {
	testing.TB
	failed, skipped string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = format
	panic(r)
}

func (r *recorder) Skip(args ...any) {
	r.skipped, _ = args[0].(string)
	panic(r)
}

// What is absent skips a test by itself, and fails it at the gate; no other value of the
// variable does.
func TestSkip(t *testing.T) {
	for value, fails := range map[string]bool{"1": true, "": false, "0": false} {
		t.Setenv(Variable, value)
		r := &recorder{TB: t}
		func() {
			defer func() {
				if recover() != r {
					t.Fatal("it goes on")
				}
			}()
			Skip(r, "no such program")
		}()
		if (r.failed != "") != fails || strings.Contains(r.skipped, "no such program") == fails {
			t.Errorf("%s=%q: failed %q, skipped %q", Variable, value, r.failed, r.skipped)
		}
	}
}
