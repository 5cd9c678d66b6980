package web_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// A refusal tells the author of a client what to change: the parameter that is missing, how
// a client names itself, what a logout takes.
func TestRefusalsSayWhatToDo(t *testing.T) {
	s := newAppSystem(t)
	raw := s.login(t, byClient("shop")).RefreshToken()
	shop := basic("shop", shopSecret)
	bare := func(*http.Request) {}
	for name, x := range map[string]struct {
		endpoint string
		f        url.Values
		change   func(*http.Request)
		code     string
		says     string
	}{
		"no grant_type":            {"token", url.Values{"refresh_token": {raw}}, shop, "invalid_request", "parameter grant_type is missing"},
		"no refresh_token":         {"token", url.Values{"grant_type": {"refresh_token"}}, shop, "invalid_request", "parameter refresh_token is missing"},
		"no client":                {"token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {raw}}, bare, "invalid_client", "client_id"},
		"an unknown client":        {"token", refreshing(raw, "client_id", "nobody"), bare, "invalid_client", "unknown"},
		"JSON":                     {"token", nil, header("Content-Type", "application/json"), "invalid_request", "application/x-www-form-urlencoded"},
		"nothing to revoke":        {"revoke", url.Values{}, shop, "invalid_request", "parameter token is missing"},
		"logout without a token":   {"logout", url.Values{}, shop, "invalid_request", "parameter refresh_token is missing"},
		"logout without a request": {"logout", nil, func(r *http.Request) { r.Header.Del("Content-Type") }, "invalid_request", "Authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			w := s.do(post(x.endpoint, x.f, x.change))
			if code, description := refusalOf(t, w); code != x.code || !strings.Contains(description, x.says) {
				t.Errorf("%s: %q does not say %q", code, description, x.says)
			}
		})
	}
	if w := s.do(post("token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {raw}}, shop)); w.Code != 200 {
		t.Errorf("with nothing missing: %d %s", w.Code, w.Body)
	}
}

func refusalOf(t *testing.T, w *httptest.ResponseRecorder) (code, description string) {
	t.Helper()
	var body struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%d %q: %v", w.Code, w.Body, err)
	}
	return body.Code, body.Description
}
