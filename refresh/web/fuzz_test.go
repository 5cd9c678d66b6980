package web

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever is sent as Basic credentials gives at most two readings, each with a name that a
// log can show, and a reading that is decoded is what a client encoded.
func FuzzBasic(f *testing.F) {
	for _, text := range []string{"shop:secret", "shop:", ":secret", "shop", "", "a%2Bb:c+d", "a%zz:b", "\xff:x", "a:b:c", "sh%00op:s"} {
		f.Add("Basic " + base64.StdEncoding.EncodeToString([]byte(text)))
	}
	f.Add("Basic")
	f.Add("basic  c2hvcDpzZWNyZXQ=")
	f.Add("Bearer abc")
	f.Add("Basic c2hv\r\ncDpw")
	f.Fuzz(func(t *testing.T, header string) {
		readings := parseBasic(header)
		if len(readings) > 2 {
			t.Fatalf("%d readings", len(readings))
		}
		for _, c := range readings {
			if !isClientID(c.ClientID) || !utf8.ValidString(c.Secret()) || (c.Method == methodNone) != (c.Secret() == "") {
				t.Errorf("reading %v", c)
			}
			again := parseBasic("Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(c.ClientID)+":"+url.QueryEscape(c.Secret()))))
			if len(again) == 0 || again[0].ClientID != c.ClientID || again[0].Secret() != c.Secret() {
				t.Errorf("encoded, %v is read as %v", c, again)
			}
		}
	})
}

// Whatever is sent as a form, each parameter has one value, of text, and encodes to what is read
// the same.
func FuzzForm(f *testing.F) {
	for _, body := range []string{"", "a=b", "a=b&a=c", "a=&b=c", "resource=a&resource=b", "a=%zz", "a;b", "grant_type=refresh_token&refresh_token=htr1_x&client_id=phone", "x=%ff", "%ff=x", strings.Repeat("&", 70)} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		parsed, ok := parseForm(body)
		if !ok {
			return
		}
		if len(parsed) > maxFormParameters {
			t.Fatalf("%d parameters", len(parsed))
		}
		values := url.Values{}
		for name, v := range parsed {
			if v == "" || !utf8.ValidString(name) || !utf8.ValidString(v) {
				t.Errorf("parameter %q is %q", name, v)
			}
			values.Set(name, v)
		}
		again, ok := parseForm(values.Encode())
		if !ok || len(again) != len(parsed) {
			t.Errorf("read again: %v", again)
		}
		parsed.scope()
	})
}
