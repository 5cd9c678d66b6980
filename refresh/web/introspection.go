package web

import (
	"errors"
	"net/http"
	"slices"

	"github.com/hybridtoken/hybridtoken/token"
)

// introspection is the introspection endpoint (RFC 7662), for access tokens. It does not say
// that a token is inactive unless it knows.
func (a *App) introspection(w http.ResponseWriter, r *http.Request) {
	f, bad := readForm(w, r)
	var audiences []string
	if bad == nil {
		audiences, bad = a.resource(r, f)
	}
	if bad == nil && f["token"] == "" {
		bad = missing("token")
	}
	if bad != nil {
		bad.write(w)
		return
	}
	c, err := a.cfg.Verifier.Verify(r.Context(), f["token"], asIssuer)
	switch {
	case errors.Is(err, token.ErrInvalidToken):
		a.log.DebugContext(r.Context(), "web: introspection: inactive", "error", err)
		writeJSON(w, http.StatusOK, inactiveToken)
	case err != nil:
		a.unavailable(r.Context(), "a token cannot be introspected", err)
		cannotTell.write(w)
	case !slices.ContainsFunc(c.Audience(), func(aud string) bool { return slices.Contains(audiences, aud) }):
		a.log.DebugContext(r.Context(), "web: introspection: not for the caller")
		writeJSON(w, http.StatusOK, inactiveToken)
	default:
		writeJSON(w, http.StatusOK, activeToken(c))
	}
}

// resource returns the audiences of the resource server that asks.
func (a *App) resource(r *http.Request, f form) ([]string, *refusal) {
	readings, bad := credentials(r, f)
	if bad == refusedClient || bad == refusedNoClient {
		bad = refusedBasic
	}
	if bad != nil {
		return nil, bad
	}
	for _, c := range readings {
		// A caller that merely names itself could try tokens here (RFC 7662 section 2.1).
		if c.Method == methodNone && (a.cfg.ClientCertificate == nil || a.cfg.ClientCertificate(r) == nil) {
			continue
		}
		audiences, err := a.cfg.Resource(r, c)
		switch {
		case err != nil:
			a.unavailable(r.Context(), "the application could not say whether a resource server is authenticated", err)
			return nil, cannotTell
		case len(audiences) > 0:
			return audiences, nil
		}
	}
	return nil, refusedBasic
}

// An introspected is what is told of a token (RFC 7662 section 2.2).
type introspected struct {
	Active    bool          `json:"active"`
	Scope     string        `json:"scope,omitempty"`
	ClientID  string        `json:"client_id,omitempty"`
	TokenType string        `json:"token_type,omitempty"`
	Expires   int64         `json:"exp,omitempty"`
	Issued    int64         `json:"iat,omitempty"`
	NotBefore int64         `json:"nbf,omitempty"`
	Subject   string        `json:"sub,omitempty"`
	Audience  any           `json:"aud,omitempty"`
	Issuer    string        `json:"iss,omitempty"`
	ID        string        `json:"jti,omitempty"`
	Session   string        `json:"sid,omitempty"`
	AuthTime  int64         `json:"auth_time,omitempty"`
	ACR       string        `json:"acr,omitempty"`
	Binding   *confirmation `json:"cnf,omitempty"`
}

// A confirmation names the key that the sender of the token has to prove: the caller checks
// it (RFC 9449 section 6.2, RFC 8705 section 3.2).
type confirmation struct {
	Key         string `json:"jkt,omitempty"`
	Certificate string `json:"x5t#S256,omitempty"`
}

var inactiveToken = introspected{}

func activeToken(c *token.Claims) introspected {
	t := introspected{
		Active: true, Scope: joinScope(c.Scopes()), ClientID: c.ClientID(), TokenType: "Bearer",
		Expires: c.ExpiresAt().Unix(), Issued: c.IssuedAt().Unix(), Subject: c.Subject(), Issuer: c.Issuer(),
		ID: c.ID(), Session: c.SessionID(), ACR: c.ACR(),
	}
	if at := c.NotBefore(); !at.IsZero() {
		t.NotBefore = at.Unix()
	}
	if at := c.AuthTime(); !at.IsZero() {
		t.AuthTime = at.Unix()
	}
	switch aud := c.Audience(); len(aud) {
	case 1:
		t.Audience = aud[0]
	default:
		t.Audience = aud
	}
	if b := c.Binding(); !b.IsZero() {
		t.Binding = &confirmation{b.KeyThumbprint, b.CertificateThumbprint}
		if b.KeyThumbprint != "" {
			t.TokenType = "DPoP"
		}
	}
	return t
}
