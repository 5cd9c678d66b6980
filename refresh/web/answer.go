package web

import (
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A refusal is an error response (RFC 6749 section 5.2). What it says does not depend on
// what a stranger sent.
type refusal struct {
	status int
	code   string
	advice string
	basic  bool // with a challenge for Basic
}

var (
	refusedForm       = &refusal{http.StatusBadRequest, "invalid_request", "Send one POST with a form (application/x-www-form-urlencoded) as its body, each parameter once.", false}
	refusedSize       = &refusal{http.StatusRequestEntityTooLarge, "invalid_request", "The body is too large.", false}
	refusedQuery      = &refusal{http.StatusBadRequest, "invalid_request", "Secrets belong in the body, not in the query, which logs keep.", false}
	refusedTwoMethods = &refusal{http.StatusBadRequest, "invalid_request", "Authenticate the client in one way.", false}
	refusedNoClient   = &refusal{http.StatusBadRequest, "invalid_client", "Send client_id in the form, with client_secret if the client has one, or both as Basic credentials.", false}
	refusedClient     = &refusal{http.StatusBadRequest, "invalid_client", "The client is unknown, or was not authenticated.", false}
	refusedBasic      = &refusal{http.StatusUnauthorized, "invalid_client", "The client is unknown, or was not authenticated.", true}
	refusedLogout     = &refusal{http.StatusBadRequest, "invalid_request", "Send the access token in the Authorization header (Bearer), or the refresh token in a form.", false}
	refusedGrantType  = &refusal{http.StatusBadRequest, "unsupported_grant_type", "Here grant_type is refresh_token.", false}
	refusedGrant      = &refusal{http.StatusBadRequest, "invalid_grant", "The session is over, or not this client's: log in again.", false}
	refusedScope      = &refusal{http.StatusBadRequest, "invalid_scope", "The scope exceeds what was granted.", false}
	refusedProof      = &refusal{http.StatusBadRequest, "invalid_dpop_proof", "Make a new DPoP proof for this request.", false}
	refusedNonce      = &refusal{http.StatusBadRequest, "use_dpop_nonce", "Make a new DPoP proof with the nonce in the DPoP-Nonce header.", false}
	refusedLogin      = &refusal{http.StatusInternalServerError, "server_error", "The server has made a mistake.", false}
	cannotTell        = &refusal{http.StatusServiceUnavailable, "temporarily_unavailable", "Try again in a few seconds with the same request.", false}
)

// missing refuses a request without that parameter.
func missing(parameter string) *refusal {
	return &refusal{http.StatusBadRequest, "invalid_request", "The parameter " + parameter + " is missing.", false}
}

func (e *refusal) write(w http.ResponseWriter) {
	if e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	if e.basic {
		w.Header().Set("WWW-Authenticate", `Basic realm="client"`)
	}
	writeJSON(w, e.status, map[string]string{"error": e.code, "error_description": e.advice})
}

// WriteGrant answers a request for tokens with g (RFC 6749 section 5.1), for handlers of one's
// own, such as that of a password change. Beside the members of OAuth it says, in whole
// seconds, for how long the refresh token is good if it is not used (refresh_token_timeout) and
// the session whatever is done (authorization_expires_in), as the OAuth draft on the expiration
// of refresh tokens has it.
func WriteGrant(w http.ResponseWriter, g *refresh.Grant) {
	w.Header().Set("Pragma", "no-cache") // as section 5.1 asks
	writeJSON(w, http.StatusOK, tokenResponse{
		AccessToken: g.AccessToken(), TokenType: g.TokenType, ExpiresIn: seconds(g.AccessTimeout),
		RefreshToken: g.RefreshToken(), RefreshTimeout: seconds(g.RefreshTimeout), SessionTimeout: seconds(g.SessionTimeout),
		Scope: joinScope(g.Scope),
	})
}

type tokenResponse struct {
	AccessToken    string `json:"access_token"`
	TokenType      string `json:"token_type"`
	ExpiresIn      int64  `json:"expires_in"`
	RefreshToken   string `json:"refresh_token"`
	RefreshTimeout int64  `json:"refresh_token_timeout"`
	SessionTimeout int64  `json:"authorization_expires_in"`
	Scope          string `json:"scope,omitempty"`
}

// seconds rounds down: a client must not take for good what is not.
func seconds(d time.Duration) int64 { return max(0, int64(d/time.Second)) }
