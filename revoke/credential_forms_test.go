package revoke

import (
	"strings"
	"testing"
)

// The forms of credentials, each beside what only looks like it: a name or a remark that is taken
// for a credential could not be revoked.
func TestFormsOfCredentials(t *testing.T) {
	secret := strings.Repeat("x7Q", 20)
	for _, c := range []struct {
		name string
		is   func(string) bool
		text string
		want bool
	}{
		{"a header", isObjectWithAlg, "eyJhbGciOiJub25lIn0", true},
		{"a header in no base64", isObjectWithAlg, "eyJhbGciOiJub25lIn0*", false},
		{"a header without alg", isObjectWithAlg, "eyJ0eXAiOiJub25lIn0", false},
		{"a header cut short", isObjectWithAlg, "eyJhbGciOiJub25l", false},
		{"a cookie", holdsCookie, "Cookie: sid=" + secret, true},
		{"a cookie, no blank", holdsCookie, "Cookie:sid=" + secret, true},
		{"a cookie without a name", holdsCookie, "Cookie:=" + secret, true},
		{"a cookie of one letter", holdsCookie, "set-cookie:s=" + secret, true},
		{"another header", holdsCookie, "Subject: sid=" + secret, false},
		{"a cookie without a value", holdsCookie, "Cookie: sid=", false},
		{"a password in a URL", holdsUserinfo, "https://me:secret@example.com/", true},
		{"in the second URL", holdsUserinfo, "see https://example.com and https://me:secret@example.com", true},
		{"a user without one", holdsUserinfo, "https://me@example.com/", false},
		{"an empty one", holdsUserinfo, "https://me:@example.com/", false},
		{"a path like it", holdsUserinfo, "https://example.com/a:b@c", false},
		{"a query like it", holdsUserinfo, "https://example.com?a:b@c", false},
		{"a fragment like it", holdsUserinfo, "https://example.com#a:b@c", false},
	} {
		if got := c.is(c.text); got != c.want {
			t.Errorf("%s, %q: %t", c.name, c.text, got)
		}
	}
}
