package web

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// answerWithin is how long a client waits for tokens before it is told to try again.
const answerWithin = 5 * time.Second

// token is the token endpoint for grant_type refresh_token (RFC 6749 section 6).
func (a *App) token(w http.ResponseWriter, r *http.Request) {
	f, bad := readForm(w, r)
	var c Credentials
	if bad == nil {
		a.offerNonce(w, r)
		c, bad = a.client(r, f)
	}
	switch {
	case bad != nil:
	case f["grant_type"] == "":
		bad = missing("grant_type")
	case f["grant_type"] != "refresh_token":
		bad = refusedGrantType
	case f["refresh_token"] == "":
		bad = missing("refresh_token")
	}
	if bad != nil {
		bad.write(w)
		return
	}
	g, err := a.refresh(r, c, f)
	if err != nil {
		a.refuseGrant(w, r, err)
		return
	}
	WriteGrant(w, g)
}

func (a *App) refresh(r *http.Request, c Credentials, f form) (*refresh.Grant, error) {
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	request := refresh.Request{Token: f["refresh_token"], Client: c.ClientID, Scope: f.scope(), Prove: func() (token.Binding, error) { return a.binding(r) }}
	if a.cfg.Device != nil {
		request.Device = a.cfg.Device(r)
	}
	return a.cfg.Sessions.Refresh(ctx, request)
}

// binding returns the keys whose possession r proves. It uses the proof up.
func (a *App) binding(r *http.Request) (b token.Binding, err error) {
	if a.cfg.ClientCertificate != nil {
		if cert := a.cfg.ClientCertificate(r); cert != nil {
			b.CertificateThumbprint = token.CertificateThumbprint(cert)
		}
	}
	if a.cfg.DPoP != nil && r.Header.Values("DPoP") != nil {
		b.KeyThumbprint, err = a.cfg.DPoP.Thumbprint(r)
	}
	return b, err
}

// offerNonce gives a client that makes proofs the nonce for its next one (RFC 9449 section
// 8.2), if nonces are required.
func (a *App) offerNonce(w http.ResponseWriter, r *http.Request) {
	if a.cfg.DPoP == nil || r.Header.Values("DPoP") == nil {
		return
	}
	if nonce := a.cfg.DPoP.Nonce(); nonce != "" {
		w.Header().Set("DPoP-Nonce", nonce)
	}
}

// Login begins a session, see [refresh.Manager.Login], and answers the request: with tokens,
// as [WriteGrant] does, or with an error of OAuth, as the token endpoint does. An
// application's handler calls it once its own check has passed, and adds nothing to the
// answer; the Grant or the error are for its log. If the request has a DPoP proof, or a
// certificate, the session is bound to its key, unless l says to which.
//
// The Client of l is the application's word: authenticate a confidential client first.
func (a *App) Login(w http.ResponseWriter, r *http.Request, l refresh.Login) (*refresh.Grant, error) {
	a.offerNonce(w, r)
	var err error
	if l.Binding.IsZero() {
		l.Binding, err = a.binding(r)
	}
	var g *refresh.Grant
	if err == nil {
		g, err = a.cfg.Sessions.Login(r.Context(), l)
	}
	if err != nil {
		a.refuseGrant(w, r, err)
		return nil, err
	}
	WriteGrant(w, g)
	return g, nil
}

// refuseGrant answers a request that gets no tokens for err. What may succeed later is never
// refused for good: a client that is told invalid_grant throws its token away.
func (a *App) refuseGrant(w http.ResponseWriter, r *http.Request, err error) {
	answer := cannotTell
	switch {
	case errors.Is(err, token.ErrNonce):
		answer = refusedNonce
	case errors.Is(err, token.ErrProof), errors.Is(err, refresh.ErrPossession) && a.cfg.DPoP != nil && r.Header.Values("DPoP") == nil:
		answer = refusedProof // nothing was changed: with a proof it may pass
	case errors.Is(err, refresh.ErrLoginAgain):
		answer = refusedGrant
	case errors.Is(err, refresh.ErrScope):
		answer = refusedScope
	case errors.Is(err, refresh.ErrRequest):
		answer = missing("client_id")
	case errors.Is(err, refresh.ErrLogin):
		answer = refusedLogin
	}
	if answer == cannotTell || answer == refusedLogin {
		a.unavailable(r.Context(), "a client gets no tokens", err)
	} else {
		a.log.DebugContext(r.Context(), "web: a client gets no tokens", "error", err)
	}
	answer.write(w)
}
