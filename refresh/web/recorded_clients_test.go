package web_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What clients of others send, as recorded from them (but for ports), is answered. REFRESH and
// ACCESS stand for the tokens.
func TestRecordedClients(t *testing.T) {
	s := newAppSystem(t)
	for name, x := range map[string]struct {
		client  string
		request string
		body    string
		says    string // in the answer
	}{
		// openid-client 6.9.0 escapes each byte of Basic credentials that is no letter or digit.
		"openid-client refreshes, Basic": {"shop", `POST /oauth/token HTTP/1.1
accept: application/json
authorization: Basic c2hvcDpwJTJCcyslMjUlMkYlM0ElQzMlQTQ=
content-type: application/x-www-form-urlencoded;charset=UTF-8
user-agent: openid-client/v6.9.0
sec-fetch-mode: cors`, "refresh_token=REFRESH&grant_type=refresh_token", `"token_type":"Bearer"`},
		"openid-client refreshes, form": {"shop", `POST /oauth/token HTTP/1.1
accept: application/json
content-type: application/x-www-form-urlencoded;charset=UTF-8`, "refresh_token=REFRESH&grant_type=refresh_token&client_id=shop&client_secret=p%2Bs+%25%2F%3A%C3%A4", `"token_type":"Bearer"`},
		"openid-client refreshes, public": {"phone", `POST /oauth/token HTTP/1.1
accept: application/json
content-type: application/x-www-form-urlencoded;charset=UTF-8`, "refresh_token=REFRESH&grant_type=refresh_token&client_id=phone", `"token_type":"Bearer"`},
		"openid-client revokes": {"shop", `POST /oauth/revoke HTTP/1.1
authorization: Basic c2hvcDpwJTJCcyslMjUlMkYlM0ElQzMlQTQ=
content-type: application/x-www-form-urlencoded;charset=UTF-8
accept: */*`, "token_type_hint=refresh_token&token=REFRESH", ""},
		"openid-client introspects": {"phone", `POST /oauth/introspect HTTP/1.1
accept: application/json
authorization: Basic b3JkZXJzOm9yZGVycyUyRHNlY3JldA==
content-type: application/x-www-form-urlencoded;charset=UTF-8`, "token=ACCESS", `"active":true`},
		// curl 7.88.1 with -u encodes nothing.
		"curl refreshes": {"shop", `POST /oauth/token HTTP/1.1
Authorization: Basic c2hvcDpwK3MgJS86w6Q=
User-Agent: curl/7.88.1
Accept: */*
Content-Type: application/x-www-form-urlencoded`, "grant_type=refresh_token&refresh_token=REFRESH", `"token_type":"Bearer"`},
		// golang.org/x/oauth2 0.38.0 escapes as a form does, and sends Basic for public clients too.
		"golang.org/x/oauth2 refreshes, public": {"phone", `POST /oauth/token HTTP/1.1
User-Agent: Go-http-client/1.1
Authorization: Basic cGhvbmU6
Content-Type: application/x-www-form-urlencoded
Accept-Encoding: gzip`, "grant_type=refresh_token&refresh_token=REFRESH", `"token_type":"Bearer"`},
	} {
		t.Run(name, func(t *testing.T) {
			g := s.login(t, byClient(x.client))
			body := strings.NewReplacer("REFRESH", g.RefreshToken(), "ACCESS", g.AccessToken()).Replace(x.body)
			head := strings.ReplaceAll(x.request, "\n", "\r\n") + "\r\nHost: auth.example.com\r\n\r\n"
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
			if err != nil {
				t.Fatal(err)
			}
			sent := httptest.NewRequest(r.Method, appIssuer+r.URL.Path, strings.NewReader(body))
			sent.Header = r.Header
			w := s.do(sent)
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), x.says) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			list, err := s.sessions.Sessions(t.Context(), "user-1")
			if err != nil {
				t.Fatal(err)
			}
			lives := false
			for _, other := range list {
				lives = lives || other.ID == g.SessionID
			}
			if revoked := strings.Contains(x.request, "/revoke"); lives == revoked {
				t.Errorf("the session goes on: %t", lives)
			}
		})
	}
}
