package web

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/hybridtoken/hybridtoken/internal/admit"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// asIssuer has Verify look at a token as the service that issued it: its audience is
// another, and so is the one who proved possession of its key.
var asIssuer = admit.AsIssuer.(token.VerifyOption)

// knownAll has Verify look at a token whose revocation is asked for: a replica that is
// behind stops nobody from revoking.
var knownAll = token.WithStalePolicy(revoke.InsecureAllow())

var refusedTokenType = &refusal{http.StatusBadRequest, "unsupported_token_type", "Access tokens of no session are not revoked here.", false}

// revocation is the revocation endpoint (RFC 7009). What it cannot do it says: only a nil
// error is a success.
func (a *App) revocation(w http.ResponseWriter, r *http.Request) {
	f, bad := readForm(w, r)
	var c Credentials
	if bad == nil {
		c, bad = a.client(r, f)
	}
	if bad == nil && f["token"] == "" {
		bad = missing("token")
	}
	if bad != nil {
		bad.write(w)
		return
	}
	switch err := a.revoke(r.Context(), f["token"], c.ClientID); {
	case err == nil:
		finish(w, http.StatusOK)
	case errors.Is(err, refresh.ErrClient): // "was issued to another client", RFC 6749 section 5.2
		refusedGrant.write(w)
	case errors.Is(err, errTokenType):
		refusedTokenType.write(w)
	default:
		a.unavailable(r.Context(), "a token could not be revoked", err)
		cannotTell.write(w)
	}
}

var errTokenType = errors.New("an access token of no session, and AppConfig.Publisher is nil")

// revoke revokes a token of that client. Its error is nil if the token is revoked for certain
// or is good no more. The hint of the request is not looked at: a token says what it is.
func (a *App) revoke(ctx context.Context, raw, client string) error {
	if !strings.Contains(raw, ".") { // a JWT has two, a refresh token none
		return a.cfg.Sessions.LogoutToken(ctx, raw, client)
	}
	c, err := a.cfg.Verifier.Verify(ctx, raw, asIssuer, knownAll)
	switch {
	case errors.Is(err, token.ErrNotYetValid): // it is not good yet, and will be
		return err
	case errors.Is(err, token.ErrInvalidToken):
		return nil
	case err != nil:
		return err
	case c.ClientID() != client:
		return refresh.ErrClient
	case c.SessionID() != "":
		return a.cfg.Sessions.Logout(ctx, c.SessionID())
	case a.cfg.Publisher == nil:
		return errTokenType
	}
	id := c.Identity()
	e, err := revoke.TokenOf(id)
	if err != nil {
		return err
	}
	e.Reason = "revoked by its client"
	_, err = a.cfg.Publisher.Publish(ctx, e)
	return err
}
