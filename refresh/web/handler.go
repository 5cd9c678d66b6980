package web

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// Handler returns the handler of the sessions' own URLs. Mount it at [BrowserConfig].Path, here
// the usual /session/, for all methods:
//
//	POST /session/refresh            new tokens
//	GET  /session/access             whether the access token is good: 204 or 401
//	POST /session/logout             ends the session
//	POST /session/logout-everywhere  ends all sessions of the user
//	POST /session/logout-others      ends all but this one
//	GET  /session/sessions           the user's sessions: "your devices"
//	POST /session/sessions/end       ends one of them; the field id of the form says which
//	GET  /session/session.js         a script for pages that fetch, see below
//	/session/return                  where [Separate] sends navigations through
//	/session/bound/…                 what browsers send for [DeviceBinding]
//
// A form that a person sends is answered by 303 to its field return_to, a path as
// [ReturnPath] takes it, or to "/". A script is answered in JSON: a refresh with
//
//	{"expires_in": 900, "session_expires_in": 86400}
//
// in seconds, which hold no token; the list of sessions with
//
//	{"csrf_token": "…", "sessions": [{"id": "…", "current": true, "client_id": "shop",
//	  "device": {"label": "Firefox on Linux", "address": "192.0.2.7"}, "created": "2026-11-29T12:00:00Z",
//	  "last_used": "…", "expires": "…", "auth_time": "…"}]}
//
// the newest login first; the others with 204. csrf_token is missing without
// [BrowserConfig].CSRFKey. Errors are as [Error] has them; the path, the method, or the id of a
// session that is none of the user's: 404, 405, 404. A logout whose answer is 409 has ended the session
// here and takes the cookies, too; one that is answered 503 leaves them, so that it can be
// tried again.
//
// The script defines sessionFetch, to be called as fetch is. If the answer is 401, and the
// access token is not good, it refreshes the session, once for all tabs that have come to that
// (Web Locks API); then it tries again.
// In [Passing] pages need it only where nothing is rotated in passing, before a WebSocket for example.
//
//	<script src="/session/session.js"></script>
//	<script src="/app.js"></script>  <!-- sessionFetch("/api/orders", {method: "POST", body}) -->
func (b *Browser) Handler() http.Handler {
	own := &page{b.plain, b}
	mux := http.NewServeMux()
	at := func(method, name string, h http.HandlerFunc) { mux.HandleFunc(method+" "+b.cfg.Path+name, h) }
	inside := func(h func(w http.ResponseWriter, r *http.Request, claims *token.Claims)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w, a := b.enter(w, r, own, true) // the refresh token comes along here in every layout
			if a == nil {
				return
			}
			defer a.Stop()
			own.Accepted()
			claims, _ := token.FromContext(a)
			h(w, r.WithContext(a), claims)
		}
	}
	at("POST", "refresh", b.refresh)
	at("GET", "access", func(w http.ResponseWriter, r *http.Request) { b.access(w, r, own) })
	at("POST", "logout", b.logout)
	at("POST", "logout-everywhere", inside(b.logoutEverywhere))
	at("POST", "logout-others", inside(b.logoutTheOthers))
	at("GET", "sessions", inside(b.sessions))
	at("POST", "sessions/end", inside(b.endSession))
	at("GET", "session.js", b.script())
	if b.cfg.DeviceBinding != nil {
		at("POST", pathRegister, b.register)
		at("POST", pathRefreshBound, b.refreshBound)
	}
	if b.cfg.Layout == Separate {
		at("GET", "return", b.passThrough)
		at("POST", "return", b.passThrough)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store") // also of what mux answers by itself
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
		mux.ServeHTTP(w, r)
	})
}

// maxFormBytes is more than any form that the handler takes.
const maxFormBytes = 64 << 10

// own returns the cookies of a request that acts on the session alone, whose access token may
// have run out; it answers a request that may come from another site and returns false.
func (b *Browser) own(w http.ResponseWriter, r *http.Request) (c presented, ok bool) {
	silent, err := b.fromHere(r)
	c = b.cookies(r)
	if err == nil && silent {
		sid := sessionID(b, r, &c)
		if sid == "" {
			err = errNoSession
		} else {
			err = b.carries(r, sid)
		}
	}
	if err != nil {
		b.refuse(w, r, err)
	}
	return c, err == nil
}

// access says whether the access token is good, and refreshes nothing. By it a script knows
// that another tab has refreshed, without a second try of what may take long.
func (b *Browser) access(w http.ResponseWriter, r *http.Request, own *page) {
	c := b.cookies(r)
	a, err := own.admit(r, c.access)
	if err != nil {
		own.refuse(w, r, err)
		return
	}
	a.Stop()
	finish(w, http.StatusNoContent)
}

// refresh exchanges the refresh token.
func (b *Browser) refresh(w http.ResponseWriter, r *http.Request) {
	c, ok := b.own(w, r)
	if !ok {
		return
	}
	if c.refresh == "" {
		b.refuse(w, r, errNoSession)
		return
	}
	one := b.rotate(r.Context(), c.refresh)
	if one.err != nil {
		b.refuse(w, r, b.fallenBack(r, one.err))
		return
	}
	b.set(w, one.lines)
	b.done(w, r, struct {
		ExpiresIn        int64 `json:"expires_in"`
		SessionExpiresIn int64 `json:"session_expires_in"`
	}{int64(one.grant.AccessTimeout / time.Second), int64(one.grant.SessionTimeout / time.Second)})
}

// logout ends the session of the cookies, if they are of one.
func (b *Browser) logout(w http.ResponseWriter, r *http.Request) {
	if c, ok := b.own(w, r); ok {
		b.loggedOut(w, r, b.end(r.Context(), &c), c.twice)
	}
}

func (b *Browser) logoutEverywhere(w http.ResponseWriter, r *http.Request, claims *token.Claims) {
	_, err := b.cfg.Sessions.LogoutAll(r.Context(), claims.Subject(), refresh.By(claims.Subject()))
	b.loggedOut(w, r, err, false)
}

func (b *Browser) logoutTheOthers(w http.ResponseWriter, r *http.Request, claims *token.Claims) {
	if _, err := b.LogoutOthers(w, r, refresh.By(claims.Subject())); err != nil {
		b.refuse(w, r, err)
		return
	}
	b.done(w, r, nil)
}

// loggedOut answers when the session of the browser has ended, or could not be ended.
func (b *Browser) loggedOut(w http.ResponseWriter, r *http.Request, err error, twice bool) {
	if err != nil && !endedHere(err) {
		b.refuse(w, r, err)
		return
	}
	b.clear(w)
	if twice {
		b.clearPartitioned(w)
	}
	// Pages that the application lets be cached. Not "cookies", which would take those of all
	// subdomains, and nothing that is stored, which is the application's.
	w.Header().Set("Clear-Site-Data", `"cache"`)
	if err != nil {
		b.refuse(w, r, err)
		return
	}
	b.done(w, r, nil)
}

func (b *Browser) sessions(w http.ResponseWriter, r *http.Request, claims *token.Claims) {
	list, err := b.cfg.Sessions.Sessions(r.Context(), claims.Subject())
	if err != nil {
		b.refuse(w, r, err)
		return
	}
	type device struct {
		Label   string `json:"label,omitempty"`
		Address string `json:"address,omitempty"`
	}
	type session struct {
		ID       string    `json:"id"`
		Current  bool      `json:"current"`
		Client   string    `json:"client_id"`
		Device   device    `json:"device"`
		Created  time.Time `json:"created"`
		LastUsed time.Time `json:"last_used"`
		Expires  time.Time `json:"expires"`
		AuthTime time.Time `json:"auth_time"`
	}
	body := struct {
		CSRFToken string    `json:"csrf_token,omitempty"`
		Sessions  []session `json:"sessions"`
	}{b.CSRFToken(r), []session{}}
	for _, s := range list {
		body.Sessions = append(body.Sessions, session{
			s.ID, s.ID == claims.SessionID(), s.Client, device{s.Device.Label, s.Device.Address},
			s.Created.UTC(), s.LastUsed.UTC(), s.Expires.UTC(), s.AuthTime.UTC(),
		})
	}
	writeJSON(w, http.StatusOK, body)
}

// errNoID: the form does not say which session is to end.
var errNoID = errors.New("the field id is missing")

// errNoSuchSession: a user may end his own sessions.
var errNoSuchSession = errors.New("no such session of this user")

func (b *Browser) endSession(w http.ResponseWriter, r *http.Request, claims *token.Claims) {
	id := r.PostFormValue("id")
	if id == "" {
		b.refuse(w, r, errNoID)
		return
	}
	list, err := b.cfg.Sessions.Sessions(r.Context(), claims.Subject())
	if err == nil && !slices.ContainsFunc(list, func(s refresh.Session) bool { return s.ID == id }) {
		err = errNoSuchSession
	}
	if err == nil {
		err = b.cfg.Sessions.Revoke(r.Context(), id, "ended by its user", claims.Subject())
	}
	switch {
	case id == claims.SessionID() && err != errNoSuchSession:
		b.loggedOut(w, r, err, false)
	case err != nil:
		b.refuse(w, r, err)
	default:
		b.done(w, r, nil)
	}
}

// done answers what has been done: a person is sent on, a script gets body.
func (b *Browser) done(w http.ResponseWriter, r *http.Request, body any) {
	switch {
	case isNavigation(r):
		redirect(w, http.StatusSeeOther, b.returnPath(r.FormValue(fieldReturn)))
	case body == nil:
		finish(w, http.StatusNoContent)
	default:
		writeJSON(w, http.StatusOK, body)
	}
}
