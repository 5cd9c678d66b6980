package token

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// retryAfter is what a client is told to wait when nobody can tell, in seconds: a
// stale denylist that hears heartbeats again is fresh with the next of them.
const retryAfter = "2"

// A challenge is the part of a WWW-Authenticate header that every answer has.
type challenge struct {
	scheme string
	params string // each with a comma before it
}

// newChallenges returns those for realm, with that of DPoP if there is one.
func newChallenges(realm string, dpop *DPoP) []challenge {
	params := ""
	if q, ok := quoted(realm); ok {
		params = ", realm=" + q
	}
	all := []challenge{{schemeBearer, params}}
	if dpop != nil {
		all = append(all, challenge{schemeDPoP, params + `, algs="` + dpop.s.algs + `"`})
	}
	return all
}

func (c challenge) header(params string) string {
	return c.scheme + strings.Replace(c.params+params, ", ", " ", 1)
}

// An answer is what a client is told: by code what went wrong, in RFC 6750's and its
// successors' terms, by advice what to do about it, and about the reason nothing.
type answer struct {
	status int
	code   string // no code, no body
	advice string
}

var (
	answerNoToken     = answer{http.StatusUnauthorized, "", ""}
	answerRequest     = answer{http.StatusBadRequest, "invalid_request", "Send one access token, in one Authorization header."}
	answerToken       = answer{http.StatusUnauthorized, "invalid_token", "The access token has expired, was revoked, or is not for this service."}
	answerTooLarge    = answer{http.StatusBadRequest, "invalid_request", "The access token is larger than this service takes; a new one would be as large."}
	answerProof       = answer{http.StatusUnauthorized, "invalid_dpop_proof", "Make a new DPoP proof for this request and this access token."}
	answerNonce       = answer{http.StatusUnauthorized, "use_dpop_nonce", "Make a new DPoP proof with the nonce in the DPoP-Nonce header."}
	answerScope       = answer{http.StatusForbidden, "insufficient_scope", "Get an access token with the scope in the challenge."}
	answerStepUp      = answer{http.StatusUnauthorized, "insufficient_user_authentication", "Authenticate the user anew, as the challenge says."}
	answerUnavailable = answer{http.StatusServiceUnavailable, "temporarily_unavailable", "Try again later with the same access token."}
)

func answerTo(err error) answer {
	switch {
	case errors.Is(err, errNoToken):
		return answerNoToken
	case errors.Is(err, errTwice), errors.Is(err, errNotToken), errors.Is(err, errInQuery), errors.Is(err, errInForm):
		return answerRequest
	case errors.Is(err, ErrUnavailable):
		return answerUnavailable
	case errors.Is(err, ErrInsufficientScope):
		return answerScope
	case errors.Is(err, ErrInsufficient):
		return answerStepUp
	case errors.Is(err, ErrNonce):
		return answerNonce
	case errors.Is(err, ErrProof):
		return answerProof
	case errors.Is(err, ErrTooLarge): // a new one would be refused for ever
		return answerTooLarge
	case errors.Is(err, ErrInvalidToken):
		return answerToken
	}
	return answerUnavailable
}

// refuse answers a request whose token came under scheme, if under any.
func (p *route) refuse(w http.ResponseWriter, scheme string, err error) {
	a := answerTo(err)
	h := w.Header()
	if a.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	} else {
		if scheme == "" {
			scheme = schemeBearer
		}
		for _, c := range p.v.challenges {
			params := ""
			if c.scheme == scheme && a.code != "" {
				params = `, error="` + a.code + `"` + p.params(a)
			}
			h.Add("WWW-Authenticate", c.header(params))
		}
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if a.code == "" {
		w.WriteHeader(a.status)
		return
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	io.WriteString(w, `{"error":"`+a.code+`","error_description":"`+a.advice+`"}`+"\n")
}

// params returns what a client needs to get a token that is good enough.
func (p *route) params(a answer) string {
	if a != answerScope && a != answerStepUp {
		return ""
	}
	d := p.demands
	switch {
	case a == answerScope:
		return `, scope="` + strings.Join(d.scopes, " ") + `"`
	case d.maxAge == 0:
		return `, acr_values="` + strings.Join(d.acr, " ") + `"`
	case d.acr == nil:
		return `, max_age="` + strconv.Itoa(int(d.maxAge/time.Second)) + `"`
	}
	return `, acr_values="` + strings.Join(d.acr, " ") + `", max_age="` + strconv.Itoa(int(d.maxAge/time.Second)) + `"`
}

// quoted returns s as a quoted-string (RFC 9110 section 5.6.4) if it is printable ASCII.
func quoted(s string) (string, bool) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", false
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, true
}
