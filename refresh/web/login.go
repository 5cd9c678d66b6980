package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/admit"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// GuardLogin protects a handler that checks a password, before it does: a POST that
// another site sends, to log the user in as somebody else, is refused with 403, and so is one
// that shows neither by Sec-Fetch-Site nor by Origin where it comes from; and
// [BrowserConfig].ThrottleLogin is asked, whose wait is answered with 429 and Retry-After. GET and
// HEAD, which show the form, pass.
func (b *Browser) GuardLogin(next http.Handler) http.Handler {
	if next == nil {
		panic("web: GuardLogin: nil handler")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		if err := b.changes(r); err != nil {
			b.refuse(w, r, err)
			return
		}
		if b.cfg.ThrottleLogin != nil {
			if wait := b.cfg.ThrottleLogin(r); wait > 0 {
				w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
				writeAnswer(w, r, answer{http.StatusTooManyRequests, "too_many_requests", "Too many attempts to log in. Try again later."})
				return
			}
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), guardedKey{}, b)))
	})
}

type guardedKey struct{}

var errUnguarded = errors.New("BrowserConfig.ThrottleLogin was not asked: wrap the handler that calls Login in Browser.GuardLogin")

// changes returns an error unless r may change something by what it says of where it comes
// from.
func (b *Browser) changes(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return fmt.Errorf("%w: by %s, which a link anywhere makes", ErrCrossSite, r.Method)
	}
	silent, err := b.fromHere(r)
	if err == nil && silent {
		err = fmt.Errorf("%w: neither Sec-Fetch-Site nor Origin", ErrCrossSite)
	}
	return err
}

// Login begins a session for the browser that sent r, after the application has checked who its
// user is, and gives it the cookies: call it before the answer is written. l is as
// [refresh.Manager.Login] has it; its Client is filled in, and a Device.Label, from what the browser
// calls itself ("Firefox on Linux"), where there is none. Its Binding must be empty: no browser can prove a key. The session of the cookies that came along is ended first, also if it is another user's.
//
// The error is one of [refresh.Manager.Login]; [ErrCrossSite] for a request that another site
// may have sent; or [ErrTooLarge] where the access token does not fit into a
// cookie, which names the claims that take the most room. The browser is given no cookie then. [Error]
// answers with it.
func (b *Browser) Login(w http.ResponseWriter, r *http.Request, l refresh.Login) (*refresh.Grant, error) {
	grant, err := b.login(w, r, l)
	if err != nil {
		return nil, fmt.Errorf("web: login: %w", err)
	}
	return grant, nil
}

func (b *Browser) login(w http.ResponseWriter, r *http.Request, l refresh.Login) (*refresh.Grant, error) {
	if err := b.changes(r); err != nil {
		return nil, err
	}
	if b.cfg.ThrottleLogin != nil && r.Context().Value(guardedKey{}) != b {
		return nil, errUnguarded
	}
	if err := b.complete(&l); err != nil {
		return nil, err
	}
	if l.Device.Label == "" {
		l.Device.Label = deviceLabel(r.UserAgent())
	}
	c := b.cookies(r)
	if err := b.end(r.Context(), &c); err != nil && !endedHere(err) {
		return nil, fmt.Errorf("ending the session that came along: %w", err)
	}
	grant, err := b.cfg.Sessions.Login(r.Context(), l)
	if err != nil {
		return nil, err
	}
	return b.begin(w, r, grant, c.twice)
}

// complete fills in what this application's logins have in common.
func (b *Browser) complete(l *refresh.Login) error {
	switch {
	case l.Client != "" && l.Client != b.cfg.Client:
		return fmt.Errorf("%w: field Client is not that of BrowserConfig", refresh.ErrLogin)
	case l.BindDevice && b.cfg.DeviceBinding == nil:
		return fmt.Errorf("%w: field BindDevice is set, and BrowserConfig.DeviceBinding is not", refresh.ErrLogin)
	case !l.Binding.IsZero():
		return fmt.Errorf("%w: field Binding is set, and a browser with cookies cannot prove that it holds a key", refresh.ErrLogin)
	}
	l.Client = b.cfg.Client
	l.BindDevice = b.cfg.DeviceBinding != nil
	return nil
}

// begin gives a browser the cookies of a new session, once it is sure that they will do.
func (b *Browser) begin(w http.ResponseWriter, r *http.Request, grant *refresh.Grant, twice bool) (*refresh.Grant, error) {
	lines, err := b.pairOf(grant)
	if err == nil {
		err = b.usable(r.Context(), grant)
	}
	if err != nil {
		if failed := b.cfg.Sessions.Logout(r.Context(), grant.SessionID); failed != nil {
			b.warn(r.Context(), "web: a session that cannot be used was not ended", failed)
		}
		return nil, err
	}
	b.set(w, lines)
	if twice { // those replace but one of the two
		b.clearPartitioned(w)
	}
	b.offer(w, grant)
	w.Header().Set("Cache-Control", "no-store") // also lest the offer come again from a cache
	return grant, nil
}

// usable returns an error if this application would refuse the session's tokens, all of them:
// it is configured wrongly, and no login would help.
func (b *Browser) usable(ctx context.Context, grant *refresh.Grant) error {
	_, err := b.cfg.Verifier.Verify(ctx, grant.AccessToken())
	switch {
	case errors.Is(err, revoke.ErrRevoked):
		return fmt.Errorf("%w: %w", refresh.ErrLoginAgain, err)
	case errors.Is(err, token.ErrInvalidToken):
		return fmt.Errorf("%w: the Verifier refuses what Sessions has issued: %v", refresh.ErrLogin, err)
	}
	return nil // good, or nobody knows now
}

// Reauthenticate replaces the browser's session by a new one, after its user was authenticated
// again or got more rights, and gives it the new cookies, as [refresh.Manager.Reauthenticate]
// says; the old session is dead. Call it inside of [Browser.Middleware], for a
// request that is no GET. An error is as [Browser.Login] has it; where it is of
// [refresh.ErrLoginAgain] the old session may have ended, too.
func (b *Browser) Reauthenticate(w http.ResponseWriter, r *http.Request, l refresh.Login) (*refresh.Grant, error) {
	grant, err := b.reauthenticate(w, r, l)
	if err != nil {
		return nil, fmt.Errorf("web: reauthenticate: %w", err)
	}
	return grant, nil
}

func (b *Browser) reauthenticate(w http.ResponseWriter, r *http.Request, l refresh.Login) (*refresh.Grant, error) {
	claims, err := b.session(r)
	if err != nil {
		return nil, err
	}
	if err := b.complete(&l); err != nil {
		return nil, err
	}
	grant, err := b.cfg.Sessions.Reauthenticate(r.Context(), claims.SessionID(), l)
	if err != nil {
		return nil, err
	}
	return b.begin(w, r, grant, false)
}

// LogoutOthers ends all sessions of the user but this browser's, which gets new secrets and new
// cookies: after a password change, which comes first. It is [refresh.Manager.LogoutAll] with
// [refresh.Keep] of this session, and options beside it. Call it inside of [Browser.Middleware], for a
// request that is no GET. After [refresh.ErrPending] call it again.
func (b *Browser) LogoutOthers(w http.ResponseWriter, r *http.Request, options ...refresh.LogoutAllOption) (*refresh.Grant, error) {
	grant, err := b.logoutOthers(w, r, options)
	if err != nil {
		return nil, fmt.Errorf("web: logout of other sessions: %w", err)
	}
	return grant, nil
}

func (b *Browser) logoutOthers(w http.ResponseWriter, r *http.Request, options []refresh.LogoutAllOption) (*refresh.Grant, error) {
	claims, err := b.session(r)
	if err != nil {
		return nil, err
	}
	// The first that is kept is the one that gets a grant.
	options = append([]refresh.LogoutAllOption{refresh.Keep(claims.SessionID())}, options...)
	grant, err := b.cfg.Sessions.LogoutAll(r.Context(), claims.Subject(), options...)
	switch {
	case err != nil:
		return nil, err
	case grant == nil: // it has ended meanwhile
		b.clear(w)
		return nil, errNoSession
	}
	return b.begin(w, r, grant, false)
}

// session returns the claims of the session that r was let in with, if r may change something.
func (b *Browser) session(r *http.Request) (*token.Claims, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil, fmt.Errorf("%w: by %s, which a link anywhere makes", ErrCrossSite, r.Method)
	}
	a, inside, err := b.plain.Again(r)
	switch {
	case err != nil:
		return nil, err
	case !inside:
		return nil, fmt.Errorf("%w: the request has not passed Browser.Middleware: wrap the handler in it", errNoSession)
	}
	a.Stop()
	claims, _ := token.FromContext(r.Context())
	return claims, nil
}

// end ends the session of the cookies that a request came with, if there is one. Who holds a
// token, even one that has run out, holds the session, or has held it.
func (b *Browser) end(ctx context.Context, c *presented) error {
	if c.twice {
		var errs []error
		for i := range c.each {
			errs = append(errs, b.end(ctx, &c.each[i]))
		}
		return errors.Join(errs...)
	}
	if c.access != "" {
		claims, err := b.cfg.Verifier.Verify(ctx, c.access)
		if errors.Is(err, token.ErrExpired) && c.refresh == "" {
			claims = admit.Expired(ctx, b.cfg.Verifier, c.access).(*token.Claims)
		}
		if claims != nil && b.owns(claims) && claims.SessionID() != "" {
			err := b.cfg.Sessions.Logout(ctx, claims.SessionID())
			if other := admit.SessionOf(c.refresh); other == "" || other == claims.SessionID() || err != nil && !endedHere(err) {
				return err
			}
			// Of two answers that crossed, one cookie each: the other session would go on.
			return errors.Join(err, b.endByToken(ctx, c))
		}
	}
	if c.refresh == "" {
		return nil
	}
	return b.endByToken(ctx, c)
}

func (b *Browser) endByToken(ctx context.Context, c *presented) error {
	err := b.cfg.Sessions.LogoutToken(ctx, c.refresh, b.cfg.Client)
	if errors.Is(err, refresh.ErrClient) {
		return nil // another application's, which nobody here may end
	}
	return err
}
