package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/hybridtoken/hybridtoken/internal/admit"
	"github.com/hybridtoken/hybridtoken/refresh"
)

// fieldReturn is the parameter, or the field of a form, that says where to go afterwards.
const fieldReturn = "return_to"

// sendAway sends a navigation, whose access token has run out, to where the refresh token comes
// along. A form that was sent keeps its method and body by 307.
func (b *Browser) sendAway(w http.ResponseWriter, r *http.Request) {
	status := http.StatusSeeOther
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		status = http.StatusTemporaryRedirect
	}
	redirect(w, status, b.cfg.Path+"return?"+fieldReturn+"="+url.QueryEscape(b.returnPath(requested(r))))
}

// returnPath is [ReturnPath], and "/" for the handler's own URLs too, which would go round in circles.
func (b *Browser) returnPath(s string) string {
	if s = ReturnPath(s); strings.HasPrefix(s, b.cfg.Path) {
		return "/"
	}
	return s
}

// toLogin sends a browser to the login page.
func (b *Browser) toLogin(w http.ResponseWriter, r *http.Request, from string) {
	to := b.cfg.LoginPath
	if r.Method == http.MethodGet {
		if from = b.returnPath(from); from != "/" {
			to += "?" + fieldReturn + "=" + url.QueryEscape(from)
		}
	}
	redirect(w, http.StatusSeeOther, to)
}

// passThrough refreshes the session of a navigation that sendAway has sent, and sends it back.
func (b *Browser) passThrough(w http.ResponseWriter, r *http.Request) {
	back := b.returnPath(r.URL.Query().Get(fieldReturn))
	silent, err := b.fromHere(r)
	if err != nil {
		b.refuse(w, r, err)
		return
	}
	c := b.cookies(r)
	switch {
	case isSpeculative(r):
		err = errSpeculative
	case c.refresh == "":
		err = errNoSession
	case silent:
		err = b.carries(r, admit.SessionOf(c.refresh))
	}
	if err == nil {
		one := b.rotate(r.Context(), c.refresh)
		if err = b.fallenBack(r, one.err); err == nil {
			b.set(w, one.lines)
		}
	}
	switch {
	case err == nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		redirect(w, http.StatusSeeOther, back)
	case err == nil:
		redirect(w, http.StatusTemporaryRedirect, back)
	case errors.Is(err, refresh.ErrLoginAgain) && b.cfg.LoginPath != "": // or a step up
		b.toLogin(w, r, back)
	default:
		b.refuse(w, r, err)
	}
}
