// Package web speaks HTTP for the sessions of package refresh, for any net/http router. There are
// two doors, which may stand side by side.
//
// To browsers a [Browser] gives cookies, the protection against requests from other sites
// (CSRF), a middleware for the application's pages, and handlers for refresh, logout and the
// list of a user's sessions.
//
// To apps, and to other people's services, an [App] answers in JSON, as OAuth has it: the token
// endpoint for refreshes, logout, the list of a user's sessions, revocation, introspection and
// metadata. Begin with [NewApp]; what follows is about browsers.
//
// Begin with [NewBrowser]. The application keeps its login form: its handler checks the
// password and calls [Browser.Login], which does the rest.
//
//	browser, err := web.NewBrowser(web.BrowserConfig{Sessions: sessions, Verifier: verifier, Client: "shop"})
//	mux.Handle("/session/", browser.Handler())             // refresh, logout, sessions, the script
//	mux.Handle("POST /login", browser.GuardLogin(login))   // calls browser.Login
//	mux.Handle("/", browser.Middleware(pages))             // token.FromContext(r.Context())
//
// # Two layouts
//
// In [Passing], the default, the access token and the refresh token come with every request,
// in two cookies, and the middleware refreshes in passing: a page never sees a 401 because its
// token has run out. In [Separate] the refresh token comes to the handler's URLs alone; the
// middleware sends a navigation through one of them and back, and a page's script refreshes
// before it tries again ([Browser.Handler] serves one that does).
//
// # What it promises
//
// Cookies are Secure, HttpOnly, SameSite=Lax, host-only, and have a name with a prefix by which
// the browser enforces that (RFC 6265bis section 4.1.3). Two cookies of one name are no
// session. A new login is always a new session; an id that a browser brings along is never
// taken over (OWASP ASVS 5.0, 7.2.4). Nothing that a GET does changes the application's data or
// begins or ends a session; a prefetch or prerender does not even refresh.
//
// # When things fail
//
// 401 says log in again, 403 that the request comes from another site or that more proof is
// needed, 409 that a session has ended and not every service knows it yet
// ([refresh.ErrPending]), 503 with Retry-After that nobody can tell now: the cookies may be
// good, and stay. Every answer of this package has Cache-Control: no-store, but the script and the metadata, which hold nothing of anybody.
//
// # What it does not do
//
// It checks no password. It does not say that the user is at the machine: an access token,
// refreshed or not, is no proof of presence; ask for the password again before what matters
// ([token.RequireFresh], [Browser.Reauthenticate]).
package web
