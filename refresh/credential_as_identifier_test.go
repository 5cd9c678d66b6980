package refresh_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// The tokens of a grant, given where an identifier or a text for people belongs, are
// refused as what they are, tell nothing of themselves, and change nothing. That refresh
// tokens are recognized holds package revoke to the form that they have here.
func TestTokensAreNoIdentifiers(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	published := len(s.events)
	for _, secret := range []string{g.RefreshToken(), g.AccessToken(), "Bearer " + g.AccessToken()} {
		login := func(l refresh.Login) error {
			l.Audience, l.AuthTime = []string{"api"}, time.Now()
			_, err := s.Login(t.Context(), l)
			return err
		}
		everywhere := func(sub string, o ...refresh.LogoutAllOption) error {
			_, err := s.LogoutAll(t.Context(), sub, o...)
			return err
		}
		for field, err := range map[string]error{
			"session id": s.Logout(t.Context(), secret),
			"value":      everywhere(secret),
			"keep":       everywhere("user-1", refresh.Keep(g.SessionID, secret)),
			"reason":     s.Revoke(t.Context(), g.SessionID, "leaked: "+secret, "admin"),
			"actor":      everywhere("user-1", refresh.By(secret)),
			"Subject":    login(refresh.Login{Subject: secret, Client: "web"}),
			"Client":     login(refresh.Login{Subject: "user-1", Client: secret}),
			"Tenant":     login(refresh.Login{Subject: "user-1", Client: "web", Tenant: secret}),
		} {
			if !errors.Is(err, revoke.ErrCredential) || !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), secret[20:40]) {
				t.Errorf("%s: %v", field, errors.Is(err, revoke.ErrCredential))
			}
		}
	}
	if len(s.events) != published {
		t.Errorf("%d events published", len(s.events)-published)
	}
	s.accepted(t, g)
	if err := s.Logout(t.Context(), g.SessionID); err != nil { // the good twin
		t.Fatal(err)
	}
	s.dead(t, g)
}
