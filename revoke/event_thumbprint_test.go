package revoke

import (
	"strings"
	"testing"
)

// A thumbprint is 43 characters of base64url for 32 bytes (RFC 7638 section 3): no line break, no
// padding, no other alphabet, and no bits that are none of the digest's.
func TestThumbprints(t *testing.T) {
	const good = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	for s, want := range map[string]bool{
		good: true, strings.Repeat("A", 43): true,
		"": false, good[1:]: false, good + "A": false, good[:42] + "=": false, good[:42] + "t": false, good[:42] + "+": false, good[:42] + "/": false, "ü" + good[:41]: false,
		"\n" + good[:42]: false, "\r" + good[:42]: false, good[:20] + "\n" + good[21:]: false, good[:20] + "\r" + good[21:]: false, good[:42] + "\n": false, good[:42] + "\r": false,
		good[:39] + "\n\n\n\n": false, good[:40] + "\r\n\n": false, good[:20] + "\r\n" + good[22:]: false,
	} {
		if got := isThumbprint(s); got != want {
			t.Errorf("%q: %t", s, got)
		}
	}
}
