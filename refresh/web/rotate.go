package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/admit"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// rotateTimeout bounds a refresh. It goes on when the browser hangs up: what the store has
// rotated is waited for by others, or by the browser's next request.
const rotateTimeout = 5 * time.Second

// rotations has one refresh under way for all requests that come with one refresh token.
// Instances beside this one, and requests that come when it is done, are given the same
// successor by the Manager, within its grace window.
type rotations struct {
	mu      sync.Mutex
	running map[string]*rotation
}

type rotation struct {
	done  chan struct{}
	grant *refresh.Grant
	lines pair
	err   error
}

var errAbandoned = fmt.Errorf("%w: the refresh was abandoned", refresh.ErrTryAgain)

// rotate exchanges the refresh token of a cookie.
func (b *Browser) rotate(ctx context.Context, raw string) *rotation {
	rs := &b.rotations
	rs.mu.Lock()
	if running, ok := rs.running[raw]; ok {
		rs.mu.Unlock()
		select {
		case <-running.done:
			return running
		case <-ctx.Done():
			return &rotation{err: fmt.Errorf("%w: %w", refresh.ErrTryAgain, context.Cause(ctx))}
		}
	}
	one := &rotation{done: make(chan struct{}), err: errAbandoned}
	if rs.running == nil {
		rs.running = make(map[string]*rotation)
	}
	rs.running[raw] = one
	rs.mu.Unlock()
	defer func() { // also where the application's hook panics: that is this request's, and its own
		rs.mu.Lock()
		delete(rs.running, raw)
		rs.mu.Unlock()
		close(one.done)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rotateTimeout)
	defer cancel()
	grant, err := b.cfg.Sessions.Refresh(ctx, refresh.Request{
		Token: raw, Client: b.cfg.Client, InsecureUnbound: b.cfg.DeviceBinding != nil && b.cfg.DeviceBinding.Fallback == InsecureNote,
	})
	if err != nil {
		one.err = err
		if !errors.Is(err, refresh.ErrLoginAgain) {
			b.warn(ctx, "web: sessions cannot be refreshed", err)
		}
		return one
	}
	if one.lines, one.err = b.pairOf(grant); one.err != nil {
		one.err = b.tooLarge(ctx, grant, one.err)
		return one
	}
	one.grant = grant
	return one
}

// tooLarge ends a session whose access token does not fit into a cookie. Neither cookie is given
// out, and without the new refresh token the next use of the old one would be taken for a theft.
func (b *Browser) tooLarge(ctx context.Context, g *refresh.Grant, err error) error {
	b.log.ErrorContext(ctx, "web: a session is ended, because its claims no longer fit into a cookie", "sid", g.SessionID, "error", err)
	if err := b.cfg.Sessions.Revoke(ctx, g.SessionID, "access token too large for a cookie", ""); err != nil {
		b.warn(ctx, "web: the session could not be ended", err)
	}
	return fmt.Errorf("%w: %w", refresh.ErrLoginAgain, err)
}

// enter lets a request of a session in, or answers it and returns nil. The ResponseWriter that
// it returns is the one to answer with. passing says that the refresh token may be used where
// the access token has run out.
func (b *Browser) enter(w http.ResponseWriter, r *http.Request, p *page, passing bool) (http.ResponseWriter, admission) {
	w.Header().Set("Cache-Control", "no-store")
	silent, err := b.fromHere(r)
	if err != nil {
		b.refuse(w, r, err)
		return w, nil
	}
	c := b.cookies(r)
	a, err := p.admit(r, c.access)
	if err != nil {
		return b.enterAnew(w, r, p, passing, &c, silent, err)
	}
	if silent {
		claims, _ := token.FromContext(a)
		if err := b.carries(r, claims.SessionID()); err != nil {
			a.Stop()
			b.refuse(w, r, err)
			return w, nil
		}
	}
	return w, a
}

// enterAnew is enter for a request whose access token was not accepted, with that error.
func (b *Browser) enterAnew(w http.ResponseWriter, r *http.Request, p *page, passing bool, c *presented, silent bool, err error) (http.ResponseWriter, admission) {
	anew := errors.Is(err, errNoToken) || errors.Is(err, token.ErrInvalidToken) // otherwise another token would be no better, or nobody knows
	away := b.cfg.Layout == Separate && (c.access != "" || b.cfg.DeviceBinding != nil && skipped(r)) && isNavigation(r)
	switch {
	case !anew, c.refresh == "" && !away:
		b.loginOr(w, r, p, err)
		return w, nil
	case isSpeculative(r):
		b.refuse(w, r, errSpeculative)
		return w, nil
	case isHandshake(r):
		// Its answer is written by the code that takes the connection over, and may lose the cookies.
		b.loginOr(w, r, p, err)
		return w, nil
	case !passing && away:
		b.sendAway(w, r)
		return w, nil
	case !passing || c.refresh == "":
		b.loginOr(w, r, p, err)
		return w, nil
	}
	if silent {
		if err := b.carries(r, admit.SessionOf(c.refresh)); err != nil {
			b.refuse(w, r, err)
			return w, nil
		}
	}
	one := b.rotate(r.Context(), c.refresh)
	switch failed := b.fallenBack(r, one.err); {
	case errors.Is(failed, refresh.ErrPossession) && (b.cfg.LoginPath == "" || !isNavigation(r)):
		b.refuse(w, r, failed)
		return w, nil
	case errors.Is(failed, refresh.ErrLoginAgain):
		b.loginOr(w, r, p, err)
		return w, nil
	case failed != nil:
		b.refuse(w, r, failed)
		return w, nil
	}
	b.set(w, one.lines)
	a, err := p.admit(r, one.grant.AccessToken())
	if err != nil {
		b.loginOr(w, r, p, err)
		return w, nil
	}
	return &privateWriter{ResponseWriter: w}, a
}

// loginOr sends a navigation without a session to the login page, and has the rest refused.
func (b *Browser) loginOr(w http.ResponseWriter, r *http.Request, p *page, err error) {
	lacks := errors.Is(err, errNoToken) || errors.Is(err, token.ErrInvalidToken)
	if lacks && b.cfg.LoginPath != "" && isNavigation(r) && !isSpeculative(r) && !isHandshake(r) {
		b.toLogin(w, r, requested(r))
		return
	}
	p.refuse(w, r, err)
}

// refuse answers with an error that is not the token's.
func (b *Browser) refuse(w http.ResponseWriter, r *http.Request, err error) {
	b.log.DebugContext(r.Context(), "web: request refused", "error", err)
	Error(w, r, err)
}
