package follow

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A server does not answer what it refuses. The reason is the refusal, as soon as it comes, and
// not the silence; the twin that may ask follows.
func TestNotPermittedIsSaidAtOnce(t *testing.T) {
	for deny, want := range map[string]revoke.Reason{
		"$JS.API.STREAM.INFO":     revoke.ReasonNotPermitted,
		"$JS.API.CONSUMER.CREATE": revoke.ReasonNotPermitted,
		"":                        revoke.ReasonNone,
	} {
		synctest.Test(t, func(t *testing.T) {
			s, b := newScripted(t, config{})
			s.Do(func() { s.Deny, s.Carries = deny, true })
			list, err := revoke.NewList(revoke.Config{})
			if err != nil {
				t.Fatal(err)
			}
			f, err := b.follow(list)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(refusalLook + time.Millisecond)
			if st := f.Status(); st.Reason != want {
				t.Errorf("denied %q: %v, %v", deny, st.Reason, st.Err)
			}
			b.end()
		})
	}
}
