package follow

import (
	"fmt"
	"testing"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestHeedsExpectedIssuers: critical marks count on the subjects of issuers that verifiers
// name, for as long as they do, and on all while nobody names any. With thousands of
// issuers, asking again costs no hash of each, which the allocations of hashing would show.
func TestHeedsExpectedIssuers(t *testing.T) {
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	f := &Follower{list: list}
	subject := func(iss string) string { return wire.IssuerPrefix(iss) + "device" }
	ask := func(iss string, want bool) {
		t.Helper()
		if f.heeds(subject(iss)) != want {
			t.Errorf("heeds %s: %v", iss, !want)
		}
	}
	ask("https://a", true)
	list.ExpectIssuer("https://a")
	ask("https://a", true)
	ask("https://b", false)
	if f.heeds("revocations.v1.short") || f.heeds("") {
		t.Error("heeds a subject that is none")
	}
	list.ExpectIssuer("https://b")
	ask("https://b", true)
	list.ForgetIssuer("https://a")
	ask("https://a", false)
	ask("https://b", true)
	for i := range 5000 {
		list.ExpectIssuer(fmt.Sprint("https://tenant/", i))
	}
	ask("https://tenant/4999", true)
	one := subject("https://tenant/17")
	if n := testing.AllocsPerRun(10, func() { f.heeds(one) }); n > 2 {
		t.Errorf("asking allocates %v times", n)
	}
}
