package token_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// What a Verifier accepts can be revoked by each name that the token has: an identifier
// that no event takes, because it looks like a credential or like a line of a file, is
// refused where it arrives.
func TestAcceptedIsRevocable(t *testing.T) {
	own := tokentest.New(t)
	profile := tokentest.New(t, func(c *token.VerifierConfig) {
		c.OwnIssuer = false
		c.Profile = token.Profile{Types: []string{"at+jwt"}, ClientClaim: "azp", IDClaim: "uti", SessionClaim: "origin_jti", Optional: []string{"client_id", "jti"}}
	})
	names := map[*tokentest.Auth]map[string]revoke.Kind{
		own:     {"jti": revoke.KindToken, "sid": revoke.KindSession, "sub": revoke.KindSubject, "client_id": revoke.KindClient, "tenant": revoke.KindTenant},
		profile: {"jti": revoke.KindToken, "sid": revoke.KindSession, "sub": revoke.KindSubject, "azp": revoke.KindClient, "uti": revoke.KindToken, "origin_jti": revoke.KindSession},
	}
	good := []string{"user-1", "auth0|5f7c8ec7c33c6c004bbafe82", "CN=Jürgen Müller, OU=People, O=Example", "a b", "https://example.com/users/1?x=y#z", "+49 30 1234567", "dGVzdA==", "日本"}
	bad := []string{
		" user", "user ", "user\n", "us\x00er", "\x1b[2Juser", "\u00a0", "user\u200b", strings.Repeat("x", revoke.MaxValueBytes+1),
		own.Token(), "Bearer " + own.Token(), "password=correct-horse-battery", "https://user:secret@example.com/", "htr1_" + strings.Repeat("A", 60),
	}
	for a, kinds := range names {
		for name, kind := range kinds {
			for i, value := range append(append([]string{}, good...), bad...) {
				now := time.Now()
				claims := map[string]any{
					"iss": tokentest.Issuer, "aud": tokentest.Audience, "sub": "user-1", "jti": "token-1", "client_id": "client-1",
					"iat": now.Unix() - 5, "exp": now.Unix() + 60, "hyt_at": now.UnixMilli() - 4000,
				}
				switch name {
				case "azp":
					delete(claims, "client_id")
				case "uti":
					delete(claims, "jti")
				}
				claims[name] = value
				c, err := a.Verifier.Verify(context.Background(), a.Sign(claims))
				e := revoke.Event{Issuer: tokentest.Issuer, Kind: kind, Value: value}
				switch refused := e.Validate(); {
				case i < len(good) && err != nil:
					t.Errorf("%s %q: %v", name, value, err)
				case i < len(good) && refused != nil:
					t.Errorf("%s %q: %v", name, value, refused)
				case i >= len(good) && (refused == nil || !errors.Is(err, token.ErrClaims) || c != nil):
					t.Errorf("%s %.40q: Verify: %v, where no event names it: %v", name, value, err, refused)
				case i >= len(good) && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "correct-horse")):
					t.Errorf("%s: the error tells the value: %v", name, err)
				}
			}
		}
	}
}
