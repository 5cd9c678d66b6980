package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/admit"
	"github.com/hybridtoken/hybridtoken/refresh"
)

// A DeviceBinding configures how sessions are bound to a key that stays in the browser's device:
// Device Bound Session Credentials, a draft of the W3C, here the text of 2026-02-17 as Chromium
// 156 speaks it. A browser that knows it makes a key after the login and proves, whenever
// the access token has run out, that it has it; its cookies are worth nothing elsewhere then, but
// for what is left of the access token's life. Other browsers are not bound and notice nothing.
// The draft may change, and this with it.
type DeviceBinding struct {
	// Fallback says what becomes of a request whose session is bound and whose refresh token
	// comes without a proof. Zero means [Refuse].
	Fallback Fallback
}

// A Fallback says what a refresh token is worth by itself once its session is bound to a device.
// It may have been copied from there, or come from the device, whose browser has lost the key or may not
// sign at the moment. The session stays bound in any case, and [refresh.Config].OnUnbound
// is told.
type Fallback int

const (
	// Refuse has the user log in again (401). A browser that says, in Secure-Session-Skipped,
	// that it could not refresh just now is told to try again (503): it may be able to later.
	Refuse Fallback = iota

	// StepUp asks for more proof of who the user is: 403 for a script's request, and a navigation
	// is sent to [BrowserConfig].LoginPath. [Browser.Login] begins a new session.
	StepUp

	// InsecureNote refreshes the session as if it were not bound. Who has copied its cookies
	// goes on as its user, and nobody but [refresh.Config].OnUnbound is told.
	InsecureNote
)

// String returns "refuse", "step up" or "note".
func (f Fallback) String() string {
	switch f {
	case Refuse:
		return "refuse"
	case StepUp:
		return "step up"
	case InsecureNote:
		return "note"
	}
	return fmt.Sprintf("Fallback(%d)", int(f))
}

// minBoundAccess is what the bound cookie has to live: from 120 s before its end on a browser
// refreshes at every request, and it signs but six times in nine minutes.
const minBoundAccess = 5 * time.Minute

// The headers of the draft. Chromium 156 sends the proof and the id as they are, where the
// text has strings in quotes: both are taken.
const (
	headerRegistration = "Secure-Session-Registration"
	headerChallenge    = "Secure-Session-Challenge"
	headerProof        = "Secure-Session-Response"
	headerSessionID    = "Sec-Secure-Session-Id"
	headerSkipped      = "Secure-Session-Skipped"
)

const (
	pathRegister     = "bound/register"
	pathRefreshBound = "bound/refresh"
)

// boundAttributes are those of the bound cookie that browsers compare. With a Max-Age among them
// no session is made.
const boundAttributes = "Path=/; Secure; HttpOnly; SameSite=Lax"

// checkDeviceBinding copies and checks what cfg says of it.
func checkDeviceBinding(cfg *BrowserConfig) error {
	if cfg.DeviceBinding == nil {
		return nil
	}
	d := *cfg.DeviceBinding
	cfg.DeviceBinding = &d
	switch life := admit.AccessLifetime(cfg.Sessions); {
	case d.Fallback != Refuse && d.Fallback != StepUp && d.Fallback != InsecureNote:
		return fmt.Errorf("field DeviceBinding: field Fallback is %s", d.Fallback)
	case life < minBoundAccess:
		return fmt.Errorf("field DeviceBinding is set, and the Lifetimes.Access of Sessions is %s, less than %s: browsers would refresh at every request until they may not any more", life, minBoundAccess)
	}
	return nil
}

// offer tells the browser, with the answer to a login, where to register a key.
func (b *Browser) offer(w http.ResponseWriter, g *refresh.Grant) {
	h := w.Header()
	h.Del(headerRegistration)
	if authorization, challenge := g.DeviceOffer(); authorization != "" {
		h.Set(headerRegistration, fmt.Sprintf(`(ES256 RS256);path="%s";challenge="%s";authorization="%s"`, b.cfg.Path+pathRegister, challenge, authorization))
	}
}

// deviceProof reads what a browser sends to register or to refresh. Which session it is, and that
// it may be used, is in the proof alone: the cookies of these requests follow who caused
// them, which may be another site.
func (b *Browser) deviceProof(r *http.Request, path string) refresh.DeviceProof {
	return refresh.DeviceProof{
		Session: single(r, headerSessionID), Proof: single(r, headerProof), URL: "https://" + r.Host + b.cfg.Path + path,
		Client: b.cfg.Client, Token: b.cookies(r).refresh,
	}
}

// single returns the value of a header, without the quotes that it may be in; empty unless it
// came once.
func single(r *http.Request, name string) string {
	values := r.Header[name]
	if len(values) != 1 {
		return ""
	}
	v := values[0]
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		v = v[1 : len(v)-1]
	}
	return v
}

// register binds the session to the key that the browser has made. The registration has to come
// from this origin: a sibling subdomain can have a browser send one, with the offer of a
// login of its own, and the answer would log the user in as somebody else.
func (b *Browser) register(w http.ResponseWriter, r *http.Request) {
	if err := b.changes(r); err != nil {
		b.refuse(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), rotateTimeout)
	defer cancel()
	grant, err := b.cfg.Sessions.BindDevice(ctx, b.deviceProof(r, pathRegister))
	if err == nil {
		err = b.setBound(ctx, w, grant)
	}
	if err != nil {
		if !errors.Is(err, refresh.ErrLoginAgain) {
			b.warn(ctx, "web: sessions cannot be bound to their device", err)
		}
		b.refuse(w, r, err)
		return
	}
	id, _ := grant.DeviceSession()
	type credential struct {
		Type       string `json:"type"`
		Name       string `json:"name"`
		Attributes string `json:"attributes"`
	}
	type scope struct {
		IncludeSite bool `json:"include_site"` // no: siblings are others
	}
	writeJSON(w, http.StatusOK, struct {
		ID          string       `json:"session_identifier"`
		RefreshURL  string       `json:"refresh_url"`
		Scope       scope        `json:"scope"`
		Credentials []credential `json:"credentials"`
		Initiators  []string     `json:"allowed_refresh_initiators"` // or a link on another site leads to the login page
	}{id, b.cfg.Path + pathRefreshBound, scope{}, []credential{{"cookie", b.names.access, boundAttributes}}, []string{"*"}})
}

// refreshBound answers a proof. What ends the browser's session is said only where it is over:
// browsers end it by almost every status but 2xx, 5xx, and 403 with a challenge. Whatever page has
// caused it, a browser sends it as of this origin; as of another it is for a session that the
// other has made, with this URL in it.
func (b *Browser) refreshBound(w http.ResponseWriter, r *http.Request) {
	if err := b.changes(r); err != nil {
		b.refuse(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), rotateTimeout)
	defer cancel()
	grant, err := b.cfg.Sessions.RefreshBound(ctx, b.deviceProof(r, pathRefreshBound))
	if err == nil {
		err = b.setBound(ctx, w, grant)
	}
	var asks *refresh.ChallengeError
	switch {
	case err == nil:
		finish(w, http.StatusNoContent) // without a body it keeps what the registration said
		return
	case errors.As(err, &asks):
		challenge(w, asks.Session, asks.Challenge)
		writeAnswer(w, r, answer{http.StatusForbidden, "proof_required", "Prove it by the device's key."})
		return
	}
	b.log.DebugContext(ctx, "web: refresh of a bound session refused", "error", err)
	a := answerTo(err)
	switch {
	case errors.Is(err, refresh.ErrLoginAgain):
		a = answerTo(errNoSession)
	case a.status < 500:
		a = answerTo(refresh.ErrTryAgain)
	}
	if a.status >= 500 {
		b.warn(ctx, "web: bound sessions cannot be refreshed", err)
	}
	writeAnswer(w, r, a)
}

// challenge gives the browser the one for its next proof. Neither holds what needs escaping.
func challenge(w http.ResponseWriter, id, challenge string) {
	w.Header().Set(headerChallenge, fmt.Sprintf(`"%s";id="%s"`, challenge, id))
}

// setBound gives the browser what a proof has brought: the bound cookie, the refresh token if
// there is another, and the next challenge, so that the next refresh takes one round trip.
func (b *Browser) setBound(ctx context.Context, w http.ResponseWriter, g *refresh.Grant) error {
	if err := b.fits(g); err != nil {
		return b.tooLarge(ctx, g, err)
	}
	b.unset(w)
	access := b.cookie(b.names.access, g.AccessToken(), "/")
	access.MaxAge = max(int(g.AccessTimeout/time.Second), 1) // in every layout: that it is gone is what the browser goes by
	http.SetCookie(w, access)
	if g.RefreshToken() != "" {
		refresh := b.cookie(b.names.refresh, g.RefreshToken(), b.names.refreshPath)
		refresh.Expires = g.RefreshExpires
		http.SetCookie(w, refresh)
	}
	id, next := g.DeviceSession()
	challenge(w, id, next)
	return nil
}

// errSkipped: the browser says that it could not prove itself just now.
var errSkipped = fmt.Errorf("%w: the browser could not refresh its bound session", refresh.ErrTryAgain)

// skipped reports whether a browser says that it sends a request without having refreshed.
// Everybody can say so.
func skipped(r *http.Request) bool { return len(r.Header[headerSkipped]) > 0 }

// fallenBack returns what is to be told of an error of a refresh: of a bound session's without a
// proof, what Fallback says.
func (b *Browser) fallenBack(r *http.Request, err error) error {
	if !errors.Is(err, refresh.ErrPossession) {
		return err
	}
	switch {
	case b.cfg.DeviceBinding != nil && b.cfg.DeviceBinding.Fallback == StepUp:
		return err // ErrPossession: more proof is needed
	case b.cfg.DeviceBinding != nil && skipped(r):
		return errSkipped
	}
	return fmt.Errorf("%w: bound to its device", errNoSession)
}
