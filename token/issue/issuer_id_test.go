package issue

import (
	"slices"
	"strings"
	"testing"
)

// A jti has 128 random bits or more, and none comes twice.
func TestIDsAreUnique(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = newID()
		if len(ids[i]) < 26 || strings.Trim(ids[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
			t.Fatalf("jti %q: fewer than 26 characters of 5 bits", ids[i])
		}
	}
	slices.Sort(ids)
	if distinct := len(slices.Compact(ids)); distinct != n {
		t.Errorf("%d distinct jti among %d", distinct, n)
	}
}
