// Package shape says what a token of this library looks like, to package token, which
// reads it, and to token/issue, which writes it.
package shape

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// MaxSeconds bounds a NumericDate either way: the end of the year 9999.
const MaxSeconds = 253402300799

// CheckName refuses names that have a meaning of their own, in any spelling that
// encoding/json would take for them, and names that somebody's careless encoder
// could turn into more than a name. Its errors follow a name.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case !utf8.ValidString(name):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' }):
		return errors.New("has a quote, a backslash or a control character in its name")
	}
	for r := range Registered {
		if strings.EqualFold(name, r) {
			return fmt.Errorf("is the registered claim %s", r)
		}
	}
	return nil
}

// CheckValue refuses what no revocation could name. Its errors follow a name.
func CheckValue(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > revoke.MaxValueBytes:
		return fmt.Errorf("has %d bytes, more than %d", len(s), revoke.MaxValueBytes)
	case !utf8.ValidString(s):
		return errors.New("is not valid UTF-8")
	}
	if err := replica.CheckIdentifier("it", s); err != nil {
		return fmt.Errorf("is not to be named by a revocation: %w", err)
	}
	return nil
}

// IsDigest reports whether s is the canonical base64url of 32 bytes.
func IsDigest(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == sha256.Size && len(s) == base64.RawURLEncoding.EncodedLen(sha256.Size)
}

// Minted is the one claim of our own: when the token was issued, in unix
// milliseconds, or just after the cutoff that it has passed if that is later.
const Minted = "hyt_at"

// Registered are the claims that are read under their own name.
var Registered = map[string]bool{
	"iss": true, "aud": true, "sub": true, "jti": true, "client_id": true, "sid": true, "exp": true,
	"iat": true, "nbf": true, "auth_time": true, "scope": true, "acr": true, "amr": true, "cnf": true,
	Minted: true,
}

// IsNoScopeToken reports whether s is not a scope-token (RFC 6749 section 3.3).
func IsNoScopeToken(s string) bool {
	return s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// Bounds of tokens and of key sets, each of which a configuration can only lower.
const (
	DefaultTokenBytes = 8 << 10
	MaxTokenBytes     = 64 << 10
	MaxKeys           = 100
)
