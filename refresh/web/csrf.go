package web

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/hybridtoken/hybridtoken/internal/admit"
	"github.com/hybridtoken/hybridtoken/token"
)

// CSRFHeader and CSRFField are where a request carries the token of [Browser.CSRFToken].
const (
	CSRFHeader = "X-Csrf-Token"
	CSRFField  = "csrf_token" // of a form of type application/x-www-form-urlencoded
)

// CSRFToken returns a token for the forms of the page that r is answered with, for browsers that
// say neither in Sec-Fetch-Site nor in Origin where a request comes from. Put it into a hidden
// field named [CSRFField], or into the header [CSRFHeader] of a script's request. It is bound to the session
// and good while that lives. Each call returns another one, which all are good, so that a
// compressed page does not give it away. It is empty outside of [Browser.Middleware], and
// without [BrowserConfig].CSRFKey.
func (b *Browser) CSRFToken(r *http.Request) string {
	claims, ok := token.FromContext(r.Context())
	if !ok || claims.SessionID() == "" {
		return ""
	}
	return b.csrf.make(claims.SessionID())
}

// A csrfKey makes and checks tokens. It is a secret of the application's, and not one of the
// session's: that would have to be kept in a cookie more, or read from the store at each check.
type csrfKey []byte

const csrfSaltBytes = 16

func newCSRFKey(secret []byte) (csrfKey, error) {
	if secret == nil {
		return nil, nil
	}
	same := len(secret) > 0
	for _, c := range secret {
		same = same && c == secret[0]
	}
	if len(secret) < 32 || same {
		return nil, errors.New("field CSRFKey is not of at least 32 random bytes")
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "hybridtoken web csrf token", 32)
	if err != nil {
		return nil, fmt.Errorf("field CSRFKey: %w", err)
	}
	return key, nil
}

// make returns a new token of a session: a salt, and the MAC of session id and salt.
func (k csrfKey) make(sid string) string {
	if k == nil {
		return ""
	}
	salt := make([]byte, csrfSaltBytes)
	rand.Read(salt) // never fails
	return csrfEncoding.EncodeToString(append(salt, k.mac(sid, salt)...))
}

// check reports whether a token is of that session.
func (k csrfKey) check(sid, token string) bool {
	if k == nil || sid == "" || len(token) != csrfEncoding.EncodedLen(csrfSaltBytes+sha256.Size) || strings.ContainsAny(token, "\r\n") {
		return false
	}
	b, err := csrfEncoding.DecodeString(token)
	if err != nil || len(b) != csrfSaltBytes+sha256.Size {
		return false
	}
	return hmac.Equal(b[csrfSaltBytes:], k.mac(sid, b[:csrfSaltBytes]))
}

var csrfEncoding = base64.RawURLEncoding.Strict()

// mac is over the session id with its length before it, so that no id and salt
// can be read as another id and another salt.
func (k csrfKey) mac(sid string, salt []byte) []byte {
	h := hmac.New(sha256.New, k)
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(sid))))
	h.Write([]byte(sid))
	h.Write(salt)
	return h.Sum(nil)
}

// fromHere returns an error if a request that may change something comes from another site.
// silent: nothing shows where it comes from, so that it has to carry a token.
func (b *Browser) fromHere(r *http.Request) (silent bool, err error) {
	if isHandshake(r) {
		return false, b.handshake(r)
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false, nil
	}
	if err := b.origins.Check(r); err != nil {
		return false, fmt.Errorf("%w: %w", ErrCrossSite, err)
	}
	if r.Header.Get("Sec-Fetch-Site") != "" {
		return false, nil
	}
	// CrossOriginProtection compares the host of the Origin alone.
	if origin := r.Header.Get("Origin"); origin != "" && !b.trusted[origin] && !isSecureOrigin(origin, r.Host) {
		return false, fmt.Errorf("%w: the Origin is in the clear", ErrCrossSite)
	}
	return r.Header.Get("Origin") == "", nil
}

// carries returns an error unless a request carries a token of that session.
func (b *Browser) carries(r *http.Request, sid string) error {
	sent := r.Header.Get(CSRFHeader)
	if sent == "" && b.csrf != nil && isForm(r) {
		if err := r.ParseForm(); err != nil { // at most 10 MB, which the application's handler finds parsed
			return fmt.Errorf("%w: the form cannot be read", ErrCrossSite)
		}
		sent = r.PostForm.Get(CSRFField)
	}
	if !b.csrf.check(sid, sent) {
		return fmt.Errorf("%w: neither Sec-Fetch-Site nor Origin, and no CSRF token of the session", ErrCrossSite)
	}
	return nil
}

func isForm(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/x-www-form-urlencoded"
}

// isHandshake reports whether r opens a WebSocket: by GET, without any Sec-Fetch header, so
// that nothing but its Origin tells where it comes from.
func isHandshake(r *http.Request) bool {
	for _, v := range r.Header["Upgrade"] {
		if strings.Contains(strings.ToLower(v), "websocket") {
			return true
		}
	}
	return false
}

func (b *Browser) handshake(r *http.Request) error {
	origin := r.Header.Get("Origin")
	if len(r.Header["Origin"]) == 1 && b.trusted[origin] {
		return nil
	}
	if len(r.Header["Origin"]) == 1 && isSecureOrigin(origin, r.Host) {
		return nil
	}
	return fmt.Errorf("%w: the Origin of a WebSocket handshake is not ours", ErrCrossSite)
}

// isSecureOrigin reports whether origin is of host, and over TLS or on this machine: a page that
// comes in the clear may be anybody's who is on the way, and has cookies that are Secure sent to
// the host all the same. Whether this process ends TLS itself tells nothing: a proxy may.
func isSecureOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && u.Host == host && (u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()))
}

// sessionID returns the session that the cookies name: by an access token that is good, or
// else by the refresh token.
func sessionID(b *Browser, r *http.Request, c *presented) string {
	if c.access != "" {
		if claims, err := b.cfg.Verifier.Verify(r.Context(), c.access); err == nil {
			return claims.SessionID()
		}
	}
	if c.refresh == "" {
		return ""
	}
	return admit.SessionOf(c.refresh)
}
