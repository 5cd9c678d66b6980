package revoke

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkIdentifier reports what keeps s from being an iss, jti, sid, sub, client_id or
// tenant that an event names. The error, of the family [ErrInvalidEvent], names field and
// never s.
func checkIdentifier(field, s string) error {
	if err := checkCredential(field, s); err != nil {
		return err
	}
	if err := checkText(field, s, 1, MaxValueBytes); err != nil {
		return err
	}
	return checkForm(field, s)
}

func checkCredential(field, s string) error {
	if form := credentialIn(s); form != "" {
		return fmt.Errorf("revoke: %w: %s holds %s", ErrCredential, field, form)
	}
	return nil
}

func checkForm(field, s string) error {
	first, _ := utf8.DecodeRuneInString(s)
	last, _ := utf8.DecodeLastRuneInString(s)
	switch {
	case s == "":
		return nil
	case blank(first) && strings.TrimFunc(s, blank) == "":
		return invalid("%s is blank", field)
	case blank(first), blank(last):
		return invalid("%s begins or ends with white space", field)
	}
	for i := range len(s) {
		switch s[i] {
		case 0, '\t', '\n', '\v', '\f', '\r', 0x1b, 0x7f:
			return invalid("%s holds a control character", field)
		}
	}
	return nil
}

func blank(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' || r == '\u200b' }

// checkCredentials and checkForms judge texts by what they look like, for events that are
// to be published. Of received ones it costs nobody anything, and their revocation must
// not be lost.
func (e *Event) checkCredentials() error {
	for _, f := range [...]struct{ name, text string }{{"issuer", e.Issuer}, {"value", e.Value}, {"id", e.ID}, {"reason", e.Reason}, {"actor", e.Actor}} {
		if err := checkCredential(f.name, f.text); err != nil {
			return err
		}
	}
	for _, sid := range e.Keep {
		if err := checkCredential("keep", sid); err != nil {
			return err
		}
	}
	return nil
}

func (e *Event) checkForms() error {
	if err := checkForm("issuer", e.Issuer); err != nil {
		return err
	}
	for _, sid := range e.Keep {
		if err := checkForm("keep", sid); err != nil {
			return err
		}
	}
	return checkForm("value", e.Value)
}

// shown returns what of an identifier from the log may be logged.
func shown(s string) string {
	if credentialIn(s) != "" {
		return "(has the form of a credential)"
	}
	return s
}

const (
	// leastSecret is the length from which on what follows a name such as "password=" is
	// taken for a secret, and not for a word about one.
	leastSecret = 8
	// maxScanned bounds what is looked at of a text. Those that are longer are refused as
	// too long.
	maxScanned = 16 << 10
)

// credentialIn returns what credential s holds, in words, or "".
func credentialIn(s string) string {
	if len(s) < leastSecret {
		return ""
	}
	s = s[:min(len(s), maxScanned)]
	// A replica asks this of everything that it receives. Each form needs bytes that
	// identifiers rarely hold together.
	var has uint8
	for i := range len(s) {
		has |= telling[s[i]]
	}
	holds := func(all uint8) bool { return has&all == all }
	switch {
	case holds(dot) && holdsJOSE(s):
		return "a JWT"
	case holds(underscore) && after(s, "htr1_", 40, isBase64URL):
		return "a refresh token"
	case holds(space|dash) && strings.Contains(s, "-----BEGIN "):
		return "PEM"
	case holds(dot) && holdsPASETO(s):
		return "a PASETO"
	case holds(brace) && holdsSecretJSON(s):
		return "JSON with a secret"
	case holds(equals) && holdsParameter(s):
		return "a parameter with a secret"
	case holds(equals) && holdsCookie(s):
		return "a cookie"
	case holds(space) && holdsAuthorization(s):
		return "an Authorization header's value"
	case holds(at) && strings.Contains(s, "://") && holdsUserinfo(s):
		return "a URL with a password"
	}
	return ""
}

const (
	dot uint8 = 1 << iota
	underscore
	space
	dash
	brace
	equals
	at
)

var telling = [256]uint8{'.': dot, '_': underscore, ' ': space, '-': dash, '{': brace, '=': equals, '@': at}

func isBase64URL(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// isBase64 takes both alphabets and padding.
func isBase64(c byte) bool { return isBase64URL(c) || c == '+' || c == '/' || c == '=' }

// isToken68 is that of RFC 9110 section 11.2.
func isToken68(c byte) bool { return isBase64(c) || c == '.' || c == '~' }

func visible(c byte) bool { return c > ' ' && c != 0x7f && strings.IndexByte("&;,\"'", c) < 0 }

// run returns the length of the longest prefix of s that is made of such bytes.
func run(s string, is func(byte) bool) int {
	for i := range len(s) {
		if !is(s[i]) {
			return i
		}
	}
	return len(s)
}

// after reports whether mark stands in s with at least least such bytes behind it.
func after(s, mark string, least int, is func(byte) bool) bool {
	for {
		_, rest, ok := strings.Cut(s, mark)
		if !ok {
			return false
		}
		if run(rest, is) >= least {
			return true
		}
		s = rest
	}
}

// holdsJOSE finds a JWS or JWE in compact form (RFC 7515 section 7.1), or one whose last
// parts are cut off: a part that is the base64 of a JSON object with alg, and a dot.
func holdsJOSE(s string) bool {
	start := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if part := s[start:i]; len(part) >= leastHeader && isJOSEHeader(part) {
				return true
			}
			start = i + 1
		case !isBase64(c):
			start = i + 1
		}
	}
	return false
}

// leastHeader is the length of the shortest header, {"alg":""}, in base64.
const leastHeader = 14

var toURL = strings.NewReplacer("+", "-", "/", "_")

func isJOSEHeader(part string) bool {
	part = strings.TrimRight(part, "=")
	return isObjectWithAlg(part) ||
		isObjectWithAlg(part[strings.LastIndexByte(part, '=')+1:]) || // of "access_token=eyJ…"
		isObjectWithAlg(part[strings.LastIndexByte(part, '/')+1:]) // of a path
}

// isObjectWithAlg decodes both alphabets of base64.
func isObjectWithAlg(s string) bool {
	if len(s) < leastHeader || strings.IndexByte("eICD", s[0]) < 0 { // "{", or white space before it
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(toURL.Replace(s))
	if err != nil {
		return false
	}
	header := strings.TrimSpace(string(b))
	return strings.HasPrefix(header, "{") && strings.HasSuffix(header, "}") && strings.Contains(header, `"alg"`)
}

func holdsPASETO(s string) bool {
	if !strings.Contains(s, ".local.") && !strings.Contains(s, ".public.") {
		return false
	}
	for _, version := range [...]string{"v1", "v2", "v3", "v4"} {
		if after(s, version+".local.", 30, isBase64URL) || after(s, version+".public.", 30, isBase64URL) {
			return true
		}
	}
	return false
}

// holdsSecretJSON finds private JWKs (RFC 7517), JWS and JWE as JSON, and answers of token
// endpoints (RFC 6749 section 5.1).
func holdsSecretJSON(s string) bool {
	has := func(names ...string) bool {
		for _, name := range names {
			if _, rest, ok := strings.Cut(s, `"`+name+`"`); ok && strings.HasPrefix(strings.TrimLeft(rest, " \t\r\n"), ":") {
				return true
			}
		}
		return false
	}
	return has("kty") && has("d", "k", "p", "q") ||
		has("payload") && has("signature", "signatures") || has("ciphertext") ||
		has("access_token", "refresh_token", "id_token", "client_secret", "client_assertion", "password")
}

// holdsParameter finds what stands in URLs and forms.
func holdsParameter(s string) bool {
	lower := strings.ToLower(s)
	for _, name := range [...]string{"access_token=", "refresh_token=", "id_token=", "client_secret=", "client_assertion=", "password=", "passwd=", "api_key="} {
		if after(lower, name, leastSecret, visible) {
			return true
		}
	}
	return false
}

// holdsCookie finds Cookie and Set-Cookie headers, and cookies with a prefix that only
// they have.
func holdsCookie(s string) bool {
	value := func(rest string) bool {
		rest = strings.TrimLeft(rest, " ")
		name := run(rest, func(c byte) bool { return c > ' ' && c != '=' && c != ';' })
		return name < len(rest) && rest[name] == '=' && run(rest[name+1:], visible) >= leastSecret
	}
	for _, prefix := range [...]string{"__Host-", "__Secure-"} {
		if _, rest, ok := strings.Cut(s, prefix); ok && value(rest) {
			return true
		}
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		if name := strings.ToLower(strings.TrimSpace(s[:i])); name == "cookie" || name == "set-cookie" {
			return value(s[i+1:])
		}
	}
	return false
}

// holdsAuthorization finds a scheme with what it carries. A word behind a scheme's name,
// as in a tenant's, is none.
func holdsAuthorization(s string) bool {
	lower := strings.ToLower(s)
	for _, scheme := range [...]string{"bearer ", "dpop ", "basic "} {
		for at := 0; ; {
			i := strings.Index(lower[at:], scheme)
			if i < 0 {
				break
			}
			at += i + len(scheme)
			if at-len(scheme) > 0 && isBase64URL(lower[at-len(scheme)-1]) {
				continue // of a longer word
			}
			rest := strings.TrimLeft(s[min(at, len(s)):], " ")
			carried := rest[:run(rest, isToken68)]
			switch {
			case scheme == "basic ":
				if b, err := base64.StdEncoding.DecodeString(carried); err == nil && strings.Contains(string(b), ":") {
					return true
				}
			case len(carried) >= 16 && strings.ContainsAny(carried, "0123456789"), len(carried) >= 32:
				return true
			}
		}
	}
	return false
}

// holdsUserinfo finds a password in a URL (RFC 3986 section 3.2.1).
func holdsUserinfo(s string) bool {
	for {
		_, rest, ok := strings.Cut(s, "://")
		if !ok {
			return false
		}
		authority := rest[:run(rest, func(c byte) bool { return c > ' ' && strings.IndexByte("/?#", c) < 0 })]
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			if _, password, ok := strings.Cut(authority[:i], ":"); ok && password != "" {
				return true
			}
		}
		s = rest
	}
}
