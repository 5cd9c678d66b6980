package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Credentials are what a request says of the client that makes it. They never show their
// secret to fmt, slog or encoding/json.
//
// RFC 6749 section 2.3.1 has a client encode its id and its secret like a form before they
// become Basic credentials. Some do, many do not, and one cannot tell them
// apart. Where the two readings differ, [AppConfig].Client is asked about the decoded one
// first, and if that is refused about the one as it came.
type Credentials struct {
	ClientID string // client_id, not empty

	// Method is how the secret came, by the names of RFC 7591 section 2:
	// "client_secret_basic", "client_secret_post", or "none" where there was no secret.
	Method string

	// A pointer, because fmt prints a string field in places where it does not call
	// Format.
	secret *string
}

const (
	methodBasic = "client_secret_basic"
	methodPost  = "client_secret_post"
	methodNone  = "none"
)

// Secret returns the client's secret, or "" if there was none.
func (c Credentials) Secret() string {
	if c.secret == nil {
		return ""
	}
	return *c.secret
}

// HasSecret reports whether the client has sent that secret. How long it takes tells nothing of
// want but its length. An empty want is nobody's secret.
func (c Credentials) HasSecret(want string) bool {
	if c.secret == nil || want == "" {
		return false
	}
	a, b := sha256.Sum256([]byte(*c.secret)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// String names the client and no secret.
func (c Credentials) String() string {
	return fmt.Sprintf("credentials of client %q by %s", c.ClientID, c.Method)
}

// GoString returns [Credentials.String].
func (c Credentials) GoString() string { return c.String() }

// Format implements [fmt.Formatter]: every verb prints [Credentials.String].
func (c Credentials) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue logs the client and the method.
func (c Credentials) LogValue() slog.Value {
	return slog.GroupValue(slog.String("client_id", c.ClientID), slog.String("method", c.Method))
}

// MarshalJSON implements [json.Marshaler]: it encodes [Credentials.String].
func (c Credentials) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// credentials returns the readings of what r and its form f say of the client, in the order
// in which they are to be asked about.
func credentials(r *http.Request, f form) ([]Credentials, *refusal) {
	headers := r.Header.Values("Authorization")
	methods := len(headers)
	for _, name := range []string{"client_secret", "client_assertion"} {
		if f[name] != "" {
			methods++
		}
	}
	switch {
	case methods > 1:
		return nil, refusedTwoMethods // RFC 6749 sections 2.3 and 5.2
	case len(headers) == 1:
		readings := parseBasic(headers[0])
		if readings == nil {
			return nil, refusedBasic
		}
		return namedBy(readings, f["client_id"])
	case f["client_id"] == "" && f["client_assertion"] == "":
		return nil, refusedNoClient
	case !isClientID(f["client_id"]), f["client_assertion"] != "":
		return nil, refusedClient
	case f["client_secret"] != "":
		secret := f["client_secret"]
		return []Credentials{{f["client_id"], methodPost, &secret}}, nil
	}
	return []Credentials{{ClientID: f["client_id"], Method: methodNone}}, nil
}

// namedBy returns those of readings that are of the client with that id, all if it is
// empty: a request may name its client in the form too, and no other.
func namedBy(readings []Credentials, id string) ([]Credentials, *refusal) {
	if id == "" {
		return readings, nil
	}
	var same []Credentials
	for _, c := range readings {
		if c.ClientID == id {
			same = append(same, c)
		}
	}
	if same == nil {
		return nil, refusedTwoMethods
	}
	return same, nil
}

// parseBasic returns the readings of an Authorization header under the scheme Basic (RFC 7617),
// nil if it is none: decoded like a form, and, where that differs, as it came.
func parseBasic(header string) []Credentials {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return nil
	}
	encoded = strings.Trim(encoded, " ")
	if strings.ContainsAny(encoded, "\r\n") { // the decoder skips them
		return nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil
	}
	id, secret, ok := strings.Cut(string(b), ":")
	if !ok {
		return nil
	}
	var readings []Credentials
	decodedID, err := url.QueryUnescape(id)
	decodedSecret, err2 := url.QueryUnescape(secret)
	if err == nil && err2 == nil && (decodedID != id || decodedSecret != secret) {
		readings = appendBasic(readings, decodedID, decodedSecret)
	}
	return appendBasic(readings, id, secret)
}

// appendBasic adds a reading if it can be one. Without a secret it is what a public client
// says in a form: its name.
func appendBasic(readings []Credentials, id, secret string) []Credentials {
	switch {
	case !isClientID(id) || !utf8.ValidString(secret):
		return readings
	case secret == "":
		return append(readings, Credentials{ClientID: id, Method: methodNone})
	}
	return append(readings, Credentials{id, methodBasic, &secret})
}

// isClientID reports whether s may be a client's name: text without control characters that
// an event can name.
func isClientID(s string) bool {
	return s != "" && len(s) <= revoke.MaxValueBytes && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// client returns the authenticated client of a request.
func (a *App) client(r *http.Request, f form) (Credentials, *refusal) {
	readings, bad := credentials(r, f)
	if bad != nil {
		return Credentials{}, bad
	}
	for _, c := range readings {
		ok, err := a.cfg.Client(r, c)
		switch {
		case err != nil:
			a.unavailable(r.Context(), "the application could not say whether a client is authenticated", err)
			return Credentials{}, cannotTell
		case ok:
			return c, nil
		}
	}
	a.log.DebugContext(r.Context(), "web: client refused", "client_id", readings[0].ClientID, "method", readings[0].Method)
	if r.Header.Get("Authorization") != "" {
		return Credentials{}, refusedBasic
	}
	return Credentials{}, refusedClient
}
