package natskv

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// FuzzLastSequence: of whatever a server says in refusing, a sequence is what stands at
// the end, and nothing else is one.
func FuzzLastSequence(f *testing.F) {
	for _, s := range []string{"wrong last sequence: 17", "", "17", "wrong last sequence: -1", "wrong last sequence: 99999999999999999999", "wrong last sequence:  ", "wrong last sequence: 1x"} {
		f.Add(s)
	}
	refusal := func(s string) error {
		return &jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamWrongLastSequence, Description: s}
	}
	if lastSequence(refusal("wrong last sequence: 17")) != 17 {
		f.Fatal("the good seed is not read")
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := lastSequence(refusal(s))
		if n != 0 && (s == "" || s[len(s)-1] < '0' || s[len(s)-1] > '9') {
			t.Fatalf("%q is read as %d", s, n)
		}
		if lastSequence(&jetstream.APIError{Description: s}) != 0 {
			t.Fatalf("%q: an error of another code has a sequence", s)
		}
	})
}
