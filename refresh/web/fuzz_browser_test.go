package web

import (
	"net/http"
	"strings"
	"testing"
)

// What is read from a Cookie header is what it holds: one cookie of each name, as it stands
// there, and no larger than browsers take them.
func FuzzCookies(f *testing.F) {
	for _, s := range []string{
		"", "__Host-Http-session=a.b.c; __Host-Http-session-refresh=htr1_x", "__Host-Http-session=a; __Host-Http-session=a", "=__Host-Http-session=a", "__host-http-session=a",
		"\u2000__Host-Http-session=a", `__Host-Http-session="a"`, "a=b;;; =;__Host-Http-session=a ; c", "__Host-Http-session", "\t__Host-Http-session=a\t", "__Host-Http-session=a,b=c",
		"__Host-Http-session=" + strings.Repeat("a", 5000), "__Host-Http-session=a; __Host-Http-session",
	} {
		f.Add(s, s)
		f.Add(s, "a=b")
	}
	b := &Browser{names: newCookieNames(Passing, "session", "/session/", false)}
	f.Fuzz(func(t *testing.T, one, two string) {
		header := http.Header{"Cookie": {one, two}}
		got := b.cookies(&http.Request{Header: header})
		for name, value := range map[string]string{b.names.access: got.access, b.names.refresh: got.refresh} {
			if strings.Contains(value, ";") || len(name)+len(value) > maxCookieBytes {
				t.Fatalf("a cookie of %d bytes", len(value))
			}
			if value != "" && strings.Count(one+";"+two, name+"="+value) == 0 {
				t.Fatal("a cookie that did not come")
			}
		}
		if got.twice && (got.access != "" || got.refresh != "") {
			t.Fatal("two cookies of one name are a session")
		}
		// The standard library, which takes a cookie without a name for one without a value, sees no
		// other session than this.
		r := &http.Request{Header: header}
		for _, c := range r.CookiesNamed(b.names.access) {
			if got.access != "" && !strings.Contains(got.access, c.Value) { // which may be quoted
				t.Fatal("net/http finds another session")
			}
		}
	})
}

// A token that is taken is one that was made, spelt as it was.
func FuzzCSRFToken(f *testing.F) {
	k, err := newCSRFKey([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		f.Fatal(err)
	}
	good := k.make("sid")
	for _, s := range []string{good, good + "=", good[1:], good + "\n", "", strings.Repeat("A", 64), strings.Repeat("_", 64), strings.ToLower(good)} {
		f.Add("sid", s)
		f.Add("", s)
	}
	f.Fuzz(func(t *testing.T, sid, token string) {
		if k.check(sid, token) != (sid == "sid" && token == good) {
			b, err := csrfEncoding.DecodeString(token)
			if err != nil || len(b) < csrfSaltBytes || csrfEncoding.EncodeToString(append(b[:csrfSaltBytes:csrfSaltBytes], k.mac(sid, b[:csrfSaltBytes])...)) != token {
				t.Fatalf("token %q of session %q", token, sid)
			}
		}
		if sid != "" && !k.check(sid, k.make(sid)) {
			t.Fatal("a token of the session is refused")
		}
	})
}
