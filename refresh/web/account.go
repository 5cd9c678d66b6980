package web

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// The endpoints for a user's own sessions. What they may do an access token says, or, for
// a logout, the refresh token.

var (
	refusedNoSession = &refusal{http.StatusForbidden, "insufficient_scope", "The access token belongs to no session.", false}
	refusedUnknown   = &refusal{http.StatusNotFound, "not_found", "There is no such session, or it is over.", false}
	refusedPending   = &refusal{http.StatusConflict, "revocation_pending", "It is over, and not all services know it yet: ask again to have it done.", false}
)

// logout ends the session of the access token, or that of the refresh token in the form.
func (a *App) logout(w http.ResponseWriter, r *http.Request) {
	if bearsToken(r) {
		a.ofSession(w, r, func(c *token.Claims) error {
			return a.cfg.Sessions.Logout(r.Context(), c.SessionID())
		})
		return
	}
	f, bad := readForm(w, r)
	var c Credentials
	if bad == nil {
		c, bad = a.client(r, f)
	}
	if bad == refusedForm && r.Header.Get("Content-Type") == "" {
		bad = refusedLogout
	}
	if bad == nil && f["refresh_token"] == "" {
		bad = missing("refresh_token")
	}
	if bad != nil {
		bad.write(w)
		return
	}
	a.tellEnded(w, r, a.cfg.Sessions.LogoutToken(r.Context(), f["refresh_token"], c.ClientID))
}

// logoutAll ends all sessions of the access token's subject.
func (a *App) logoutAll(w http.ResponseWriter, r *http.Request) {
	a.ofSession(w, r, func(c *token.Claims) error {
		_, err := a.cfg.Sessions.LogoutAll(r.Context(), c.Subject())
		return err
	})
}

// logoutOne ends one session of the access token's subject.
func (a *App) logoutOne(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	a.ofSession(w, r, func(c *token.Claims) error {
		own, err := a.cfg.Sessions.Sessions(r.Context(), c.Subject())
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(own, func(s refresh.Session) bool { return s.ID == id }) {
			return errNotOwn
		}
		return a.cfg.Sessions.Logout(r.Context(), id)
	})
}

var errNotOwn = errors.New("no live session of the subject's")

// ofSession has end do its work for an access token that belongs to a session, and answers.
func (a *App) ofSession(w http.ResponseWriter, r *http.Request, end func(*token.Claims) error) {
	a.withToken(func(w http.ResponseWriter, r *http.Request, c *token.Claims) {
		a.tellEnded(w, r, end(c))
	}).ServeHTTP(w, r)
}

// tellEnded answers a request to end what is over if err is nil.
func (a *App) tellEnded(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		finish(w, http.StatusNoContent)
		return
	}
	answer := cannotTell
	switch {
	case errors.Is(err, refresh.ErrPending):
		answer = refusedPending
	case errors.Is(err, refresh.ErrClient):
		answer = refusedGrant
	case errors.Is(err, errNotOwn):
		answer = refusedUnknown
	}
	if answer == refusedPending || answer == cannotTell {
		a.unavailable(r.Context(), "a session could not be ended everywhere", err)
	}
	answer.write(w)
}

// withToken lets requests through whose access token belongs to a session.
func (a *App) withToken(handle func(w http.ResponseWriter, r *http.Request, c *token.Claims)) http.Handler {
	return a.cfg.Verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := token.FromContext(r.Context())
		if !ok || c.SessionID() == "" || c.Subject() == "" {
			refusedNoSession.write(w)
			return
		}
		handle(w, r, c)
	}))
}

// bearsToken reports whether r comes with an access token, good or bad.
func bearsToken(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")
}

// A sessionEntry is what is told of one session.
type sessionEntry struct {
	ID       string   `json:"id"`
	Current  bool     `json:"current"` // it is that of the request's access token
	Client   string   `json:"client_id"`
	Scope    string   `json:"scope,omitempty"`
	Device   string   `json:"device,omitempty"`
	Address  string   `json:"address,omitempty"`
	Created  string   `json:"created"`
	LastUsed string   `json:"last_used"`
	Expires  string   `json:"expires"`
	AuthTime string   `json:"auth_time"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
}

// sessions lists the sessions of the access token's subject.
func (a *App) sessions(w http.ResponseWriter, r *http.Request) {
	a.withToken(func(w http.ResponseWriter, r *http.Request, c *token.Claims) {
		own, err := a.cfg.Sessions.Sessions(r.Context(), c.Subject())
		if err != nil {
			a.unavailable(r.Context(), "sessions cannot be listed", err)
			cannotTell.write(w)
			return
		}
		list := make([]sessionEntry, len(own))
		for i, s := range own {
			list[i] = sessionEntry{
				ID: s.ID, Current: s.ID == c.SessionID(), Client: s.Client, Scope: joinScope(s.Scope),
				Device: s.Device.Label, Address: s.Device.Address,
				Created: rfc3339(s.Created), LastUsed: rfc3339(s.LastUsed), Expires: rfc3339(s.Expires), AuthTime: rfc3339(s.AuthTime),
				ACR: s.ACR, AMR: s.AMR,
			}
		}
		writeJSON(w, http.StatusOK, map[string]any{"sessions": list})
	}).ServeHTTP(w, r)
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }
