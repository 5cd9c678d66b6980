package web_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

func revoking(raw string, more ...string) url.Values {
	f := url.Values{"token": {raw}, "client_id": {"phone"}}
	for i := 0; i < len(more); i += 2 {
		f.Set(more[i], more[i+1])
	}
	return f
}

// Either token ends the session with all its tokens, whatever the hint says; a token that
// is unknown or over is revoked already (RFC 7009 section 2.2).
func TestRevocation(t *testing.T) {
	s := newAppSystem(t)
	for _, hint := range []string{"", "refresh_token", "access_token", "made_up"} {
		for name, of := range map[string]func(*refresh.Grant) string{"refresh": (*refresh.Grant).RefreshToken, "access": (*refresh.Grant).AccessToken} {
			g, other := s.login(t), s.login(t)
			done(t, s.do(post("revoke", revoking(of(g), "token_type_hint", hint))), 200)
			if s.alive(t, g) {
				t.Errorf("%s token, hint %q: goes on", name, hint)
			}
			if !s.alive(t, other) {
				t.Errorf("%s token, hint %q: another session was ended", name, hint)
			}
			done(t, s.do(post("revoke", revoking(of(g), "token_type_hint", hint))), 200)
		}
	}
	for _, raw := range []string{"htr1_unknown", "x", "a.b.c", "..", s.login(t).AccessToken() + "x"} {
		done(t, s.do(post("revoke", revoking(raw))), 200)
	}
}

// A token that was issued for another service, or to a holder of a key, is revoked by its
// client all the same.
func TestRevocationOfAnyAccessToken(t *testing.T) {
	s := newAppSystem(t)
	for name, change := range map[string]func(*refresh.Login){
		"another audience": func(l *refresh.Login) { l.Audience = []string{"orders"} },
		"bound to a key":   boundTo(thumbprint(tokentest.NewClient(t))),
	} {
		g := s.login(t, change)
		done(t, s.do(post("revoke", revoking(g.AccessToken()))), 200)
		list, err := s.sessions.Sessions(t.Context(), "user-1")
		if err != nil || slices.ContainsFunc(list, func(x refresh.Session) bool { return x.ID == g.SessionID }) {
			t.Errorf("%s: the session goes on (%v)", name, err)
		}
	}
}

func TestRevocationRefused(t *testing.T) {
	s := newAppSystem(t)
	g := s.login(t)
	shop := []string{"client_id", "shop", "client_secret", shopSecret}
	for name, x := range map[string]struct {
		r      *http.Request
		status int
		code   string
	}{
		"another client's refresh token": {post("revoke", revoking(g.RefreshToken(), shop...)), 400, "invalid_grant"},
		"another client's access token":  {post("revoke", revoking(g.AccessToken(), shop...)), 400, "invalid_grant"},
		"no client":                      {post("revoke", url.Values{"token": {g.RefreshToken()}}), 400, "invalid_client"},
		"a wrong secret":                 {post("revoke", url.Values{"token": {g.RefreshToken()}}, basic("shop", "wrong")), 401, "invalid_client"},
		"a client nobody can tell of":    {post("revoke", revoking(g.RefreshToken(), "client_id", "broken")), 503, "temporarily_unavailable"},
		"no token":                       {post("revoke", url.Values{"client_id": {"phone"}}), 400, "invalid_request"},
		"two tokens":                     {post("revoke", url.Values{"client_id": {"phone"}, "token": {g.RefreshToken(), "x"}}), 400, "invalid_request"},
		"in the query":                   {post("revoke?token="+g.RefreshToken(), url.Values{"client_id": {"phone"}}), 400, "invalid_request"},
		"JSON":                           {post("revoke", revoking(g.RefreshToken()), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }), 400, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, s.do(x.r), x.status, x.code)
		})
	}
	r := post("revoke", revoking(g.RefreshToken()))
	r.Method = http.MethodGet
	if w := s.do(r); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
	if !s.alive(t, g) {
		t.Error("the session was ended")
	}
	done(t, s.do(post("revoke", revoking(g.RefreshToken()))), 200)
}

// What could not be made certain is 503, by half too, and done when it is asked for again.
func TestRevocationThatFails(t *testing.T) {
	s := newAppSystem(t)
	for name, of := range map[string]func(*refresh.Grant) string{"refresh": (*refresh.Grant).RefreshToken, "access": (*refresh.Grant).AccessToken} {
		t.Run(name, func(t *testing.T) {
			g := s.login(t)
			s.cutOff(errors.New("down"))
			refused(t, s.do(post("revoke", revoking(of(g)))), 503, "temporarily_unavailable")
			s.cutOff(nil)
			done(t, s.do(post("revoke", revoking(of(g)))), 200)
			if s.alive(t, g) {
				t.Error("goes on")
			}
			g = s.login(t)
			s.store.failing(errors.New("down"))
			refused(t, s.do(post("revoke", revoking(of(g)))), 503, "temporarily_unavailable")
			s.store.failing(nil)
			done(t, s.do(post("revoke", revoking(of(g)))), 200)
			if s.alive(t, g) {
				t.Error("goes on")
			}
		})
	}
	g := s.login(t)
	if err := s.sessions.Close(); err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{g.RefreshToken(), g.AccessToken()} {
		refused(t, s.do(post("revoke", revoking(raw))), 503, "temporarily_unavailable")
	}
}

// A replica that is behind keeps nobody from revoking.
func TestRevocationWithStaleDenylist(t *testing.T) {
	s := newAppSystemOf(t, revoke.Config{}, token.DPoPConfig{})
	raw := s.issued(t, issue.Request{Subject: "user-1", Client: "phone", Session: "AAAAAAAAAAAAAAAAAAAAAA", Audience: []string{"orders"}})
	done(t, s.do(post("revoke", revoking(raw))), 200)
	if kinds := s.kinds(); !slices.Equal(kinds, []revoke.Kind{revoke.KindSession}) {
		t.Errorf("published %v", kinds)
	}
}

// An access token of no session is revoked by itself where there is a publisher for it.
func TestRevocationOfTokenWithoutSession(t *testing.T) {
	for _, has := range []bool{true, false} {
		var s *appSystem
		s = newAppSystem(t, func(cfg *web.AppConfig) {
			if has {
				cfg.Publisher = publisher{func() refresh.Publisher { return s }}
			}
		})
		r := issue.Request{Subject: "phone", Client: "phone", Audience: []string{"auth"}}
		raw, other := s.issued(t, r), s.issued(t, r)
		if !has {
			refused(t, s.do(post("revoke", revoking(raw))), 400, "unsupported_token_type")
			continue
		}
		s.cutOff(errors.New("down"))
		refused(t, s.do(post("revoke", revoking(raw))), 503, "temporarily_unavailable")
		s.cutOff(nil)
		done(t, s.do(post("revoke", revoking(raw))), 200)
		if _, err := s.verifier.Verify(t.Context(), raw); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("the token: %v", err)
		}
		if _, err := s.verifier.Verify(t.Context(), other); err != nil {
			t.Errorf("another: %v", err)
		}
	}
}

// A publisher is one that is there only when it is used.
type publisher struct{ of func() refresh.Publisher }

func (p publisher) Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error) {
	return p.of().Publish(ctx, e)
}

// A token that is yet to become good is not said to be revoked.
func TestRevocationOfTokenToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAppSystem(t)
		raw := s.issued(t, issue.Request{Subject: "user-1", Client: "phone", Session: "AAAAAAAAAAAAAAAAAAAAAA", Audience: []string{"auth"}, NotBefore: time.Now().Add(5 * time.Minute)})
		refused(t, s.do(post("revoke", revoking(raw))), 503, "temporarily_unavailable")
		time.Sleep(5 * time.Minute)
		done(t, s.do(post("revoke", revoking(raw))), 200)
		time.Sleep(time.Hour)
		expired := s.issued(t, issue.Request{Subject: "user-1", Client: "phone", Audience: []string{"auth"}})
		time.Sleep(time.Hour)
		done(t, s.do(post("revoke", revoking(expired))), 200)
	})
}
