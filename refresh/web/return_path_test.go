package web_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh/web"
)

// A return address stays on this site, however it is spelt.
func TestReturnPath(t *testing.T) {
	for _, s := range []string{"/", "/page", "/a/b/", "/a?b=c&d=%2F%2Fe", "/a?to=https://other.example/", "/a?b=//c", "/a#b", "/%E2%82%AC", "/a.b/..c/d..", "/a:b", "/@user", "/a?b=%0d%0a"} {
		if got := web.ReturnPath(s); got != s {
			t.Errorf("%q: %q", s, got)
		}
	}
	for _, s := range []string{
		"", "page", "?a", "#a", ".", "..", " /page", "/page ", "https://evil.example/", "HTTPS://evil.example", "http:evil.example", "https:/evil.example", "https:///evil.example",
		"javascript:alert(1)", "data:text/html,x", "//evil.example", "///evil.example", "////evil.example/..", `/\evil.example`, `\/evil.example`, `\\evil.example`, `/\/evil.example`,
		"/a//evil.example", "/\t/evil.example", "/\n/evil.example", "/\r\nLocation: https://evil.example", "\t//evil.example", "/\x00/evil.example", "/\x7f", "/é", "/\u2028",
		"/%2fevil.example", "/%2Fevil.example", "/%5cevil.example", "/%5Cevil.example", "/%09/evil.example", "/%0a/evil.example", "/%0d%0aSet-Cookie:a=b", "/%00",
		"/%252fevil.example", "/%255cevil.example", "/./evil.example", "/.//evil.example", "/..//evil.example", "/a/..//evil.example", "/%2e/evil.example", "/%2e%2e//evil.example", "/a/../..",
		"/%zz", "/%", "//user@evil.example", "/" + strings.Repeat("a", 2048),
	} {
		if got := web.ReturnPath(s); got != "/" {
			t.Errorf("%q: %q", s, got)
		}
	}
}

// Whatever it takes, a browser resolves it to this site.
func FuzzReturnPath(f *testing.F) {
	for _, s := range []string{"/", "/page?a=b", "//evil.example", `/\evil.example`, "/%2fevil.example", "/\t/evil.example", "https://evil.example", "/..//evil.example", "/%2e%2e//evil"} {
		f.Add(s)
	}
	base, err := url.Parse("https://shop.example/session/return")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := web.ReturnPath(s)
		if got != s && got != "/" || web.ReturnPath(got) != got {
			t.Fatalf("%q became %q", s, got)
		}
		// As the URL standard has it: tabs and line breaks are left out, backslashes are slashes.
		seen := strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(strings.TrimFunc(got, func(r rune) bool { return r <= ' ' }))
		u, err := base.Parse(seen)
		if err != nil || u.Scheme != "https" || u.Host != "shop.example" || u.User != nil || strings.HasPrefix(seen, "//") {
			t.Fatalf("%q leads to %v, error %v", s, u, err)
		}
	})
}
