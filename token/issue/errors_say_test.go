package issue_test

import (
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token/issue"
)

// What a first configuration does wrong is named in the error, once, with what was
// configured and without anything of the store.
func TestErrorsSay(t *testing.T) {
	store := new(issue.MemoryStore)
	open := func(keys ...*issue.SealKey) error {
		ring, err := issue.OpenKeyring(t.Context(), store, kept(issue.KeyringConfig{SealKeys: keys}))
		if err == nil {
			ring.Close()
		}
		return err
	}
	if err := open(sealKey(t, "2026-10")); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[string]error{
		"KeyringConfig.SealKeys is empty":                       open([]*issue.SealKey{}...),
		`sealed with another key than the SealKeys ["2026-11"]`: open(sealKey(t, "2026-11")),
	} {
		if err == nil || strings.Count(err.Error(), want) != 1 {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if err := open(sealKey(t, "2026-10")); err != nil { // the good twin
		t.Error(err)
	}
}
