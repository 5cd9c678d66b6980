package web_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/printtest"
	"github.com/hybridtoken/hybridtoken/refresh/web"
)

// Clients send Basic credentials encoded like a form, as RFC 6749 section 2.3.1 says and
// oauth4webapi does, or as they are, as many do. Both are known.
func TestBasicCredentials(t *testing.T) {
	s := newAppSystem(t)
	raw := s.login(t, byClient("shop")).RefreshToken()
	f := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {raw}}
	named := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {raw}, "client_id": {"shop"}}
	encoded := basic("shop", url.QueryEscape(shopSecret))
	inBase64 := func(text string) func(*http.Request) {
		return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(text)))
	}
	for name, x := range map[string]struct {
		f      url.Values
		change func(*http.Request)
		status int
		code   string // none: tokens
		asked  int
	}{
		"encoded":                      {f, encoded, 200, "", 1},
		"as it is, which decodes too":  {f, basic("shop", "p+s%20x"), 401, "invalid_client", 2},
		"as it is":                     {f, basic("shop", shopSecret), 200, "", 1}, // "% " is no escape
		"scheme in lower case":         {f, header("Authorization", "basic "+base64.StdEncoding.EncodeToString([]byte("shop:"+shopSecret))), 200, "", 1},
		"named in the form too":        {named, encoded, 200, "", 1},
		"another in the form":          {refreshing(raw), encoded, 400, "invalid_request", 0},
		"a wrong secret":               {f, basic("shop", "wrong"), 401, "invalid_client", 1},
		"an unknown client":            {f, basic("nobody", shopSecret), 401, "invalid_client", 1},
		"no secret":                    {f, basic("shop", ""), 401, "invalid_client", 1},
		"no name":                      {f, basic("", shopSecret), 401, "invalid_client", 0},
		"no colon":                     {f, inBase64("shop"), 401, "invalid_client", 0},
		"no base64":                    {f, header("Authorization", "Basic shop"), 401, "invalid_client", 0},
		"a line break in the base64":   {f, header("Authorization", "Basic c2hv\ncDpw"), 401, "invalid_client", 0},
		"a control character":          {f, inBase64("sh\x00op:secret"), 401, "invalid_client", 0},
		"an encoded control character": {f, inBase64("sh%00op:secret"), 401, "invalid_client", 1}, // but for how it came
		"no UTF-8":                     {f, inBase64("sh\xffop:secret"), 401, "invalid_client", 0},
		"a name too long":              {f, basic(strings.Repeat("x", 513), "secret"), 401, "invalid_client", 0},
		"another scheme":               {f, header("Authorization", "Bearer abc"), 401, "invalid_client", 0},
		"a secret in the form too":     {refreshing(raw, "client_id", "shop", "client_secret", shopSecret), encoded, 400, "invalid_request", 0},
		"an assertion too":             {refreshing(raw, "client_id", "shop", "client_assertion", "x.y.z"), encoded, 400, "invalid_request", 0},
		"twice":                        {f, func(r *http.Request) { encoded(r); r.Header.Add("Authorization", r.Header.Get("Authorization")) }, 400, "invalid_request", 0},
		"the secret in the form":       {refreshing(raw, "client_id", "shop", "client_secret", shopSecret), func(*http.Request) {}, 200, "", 1},
		"a wrong one in the form":      {refreshing(raw, "client_id", "shop", "client_secret", "wrong"), func(*http.Request) {}, 400, "invalid_client", 1},
		"an assertion":                 {refreshing(raw, "client_id", "shop", "client_assertion", "x.y.z"), func(*http.Request) {}, 400, "invalid_client", 0},
		"secret and assertion":         {refreshing(raw, "client_id", "shop", "client_secret", shopSecret, "client_assertion", "x"), func(*http.Request) {}, 400, "invalid_request", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s.asked = nil
			w := s.do(post("token", x.f, x.change))
			if x.code == "" {
				tokensIn(t, w)
			} else {
				refused(t, w, x.status, x.code)
			}
			if len(s.asked) != x.asked {
				t.Errorf("the application was asked %d times, want %d", len(s.asked), x.asked)
			}
			if got := w.Header().Get("WWW-Authenticate"); (got != "") != (x.status == 401) {
				t.Errorf("status %d with the challenge %q", w.Code, got)
			}
		})
	}
}

// The decoded reading comes first, and the one as it came only where they differ.
func TestBasicReadings(t *testing.T) {
	s := newAppSystem(t)
	s.do(post("token", url.Values{}, basic("a%2Bb", "c+d")))
	s.do(post("token", url.Values{}, basic("plain", "plain")))
	want := []struct{ id, secret string }{{"a+b", "c d"}, {"a%2Bb", "c+d"}, {"plain", "plain"}}
	if len(s.asked) != len(want) {
		t.Fatalf("asked about %v", s.asked)
	}
	for i, c := range s.asked {
		if c.ClientID != want[i].id || c.Secret() != want[i].secret || c.Method != "client_secret_basic" || !c.HasSecret(want[i].secret) {
			t.Errorf("reading %d: %v", i, c)
		}
	}
}

// Nobody's secret is the empty one.
func TestHasSecret(t *testing.T) {
	s := newAppSystem(t)
	s.do(post("token", url.Values{"client_id": {"phone"}}))
	s.do(post("token", url.Values{"client_id": {"phone"}, "client_secret": {"s"}}))
	none, one := s.asked[0], s.asked[1]
	if none.Method != "none" || none.HasSecret("") || none.HasSecret("s") || none.Secret() != "" {
		t.Error("without a secret")
	}
	if one.Method != "client_secret_post" || one.HasSecret("") || one.HasSecret("t") || !one.HasSecret("s") {
		t.Error("with one")
	}
	if (web.Credentials{}).HasSecret("") {
		t.Error("of no client")
	}
}

func TestCredentialsPrintNoSecret(t *testing.T) {
	s := newAppSystem(t)
	const secret = "a-very-secret-secret"
	s.do(post("token", url.Values{"client_id": {"phone"}, "client_secret": {secret}}))
	for _, printed := range []string{printtest.Prints(s.asked[0]), printtest.Hidden(s.asked[0]), s.log.String()} {
		if strings.Contains(printed, secret) {
			t.Error("the secret is printed")
		}
	}
}
