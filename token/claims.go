package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Claims are what a [Verifier] found in a token that it accepts, under the names of
// RFC 9068 or those that stand in for them by its [Profile]. They are
// immutable and may be shared: what an accessor returns is the caller's own.
//
// A claim that nothing asks for never has a token refused, whatever it holds: scope,
// auth_time and acr without the option of that name, amr, sid without a denylist, the tenant
// that [VerifierConfig].TenantClaim does not name. One of a form that cannot be used then
// counts as absent, as a sid or tenant of null always does; [Claims.Claim] has it as it is.
type Claims struct {
	// What is looked at each time a remembered token comes again stands together.
	issuer          string
	audience        []string
	soleAudience    [1]string // what audience is of, if there is one
	expires, issued date      // set, issued unless a Profile lets it be missing
	notBefore       date
	minted          date   // hyt_at, if the issuer is ours
	unheeded        bool   // there is one, and the issuer is not ours
	header          header // of the token; empty if it was not verified here
	binding         Binding
	subject, id     string // never empty, but where a Profile lets them be missing
	client          string // the same
	session, tenant string
	scopes          []string
	acr             string
	amr             []string
	authTime        date
	unusable        unusable // what is there all the same
	key             string   // thumbprint of the key that verified the token
	payload         string   // the verified JSON, which the strings above point into
}

// A date is a NumericDate (RFC 7519 section 2) in milliseconds, rounded down.
type date struct {
	ms  int64
	set bool
}

func (d date) time() time.Time {
	if !d.set {
		return time.Time{}
	}
	return time.UnixMilli(d.ms).UTC()
}

// Issuer returns iss.
func (c *Claims) Issuer() string { return c.issuer }

// Subject returns sub, never empty unless a [Profile] lets it be missing.
func (c *Claims) Subject() string { return c.subject }

// Audience returns aud; it holds one element if the claim was a plain string.
func (c *Claims) Audience() []string { return slices.Clone(c.audience) }

// ID returns jti, never empty unless a [Profile] lets it be missing.
func (c *Claims) ID() string { return c.id }

// ClientID returns client_id, never empty unless a [Profile] lets it be missing.
func (c *Claims) ClientID() string { return c.client }

// SessionID returns sid, or "" if the token belongs to no session.
func (c *Claims) SessionID() string { return c.session }

// Tenant returns the claim that [VerifierConfig].TenantClaim names, or "".
func (c *Claims) Tenant() string { return c.tenant }

// ExpiresAt returns exp, rounded down to milliseconds as all times are.
func (c *Claims) ExpiresAt() time.Time { return c.expires.time() }

// IssuedAt returns iat.
func (c *Claims) IssuedAt() time.Time { return c.issued.time() }

// MintedAt returns hyt_at, the instant in milliseconds that cutoffs compare with. It is
// the zero time where the token has none, and where its issuer is not configured as ours
// ([VerifierConfig].OwnIssuer): cutoffs then compare with iat.
func (c *Claims) MintedAt() time.Time { return c.minted.time() }

// NotBefore returns nbf, or the zero time.
func (c *Claims) NotBefore() time.Time { return c.notBefore.time() }

// AuthTime returns auth_time, or the zero time.
func (c *Claims) AuthTime() time.Time { return c.authTime.time() }

// ACR returns acr, or "".
func (c *Claims) ACR() string { return c.acr }

// AMR returns amr, or nil.
func (c *Claims) AMR() []string { return slices.Clone(c.amr) }

// Scopes returns the values of scope in their order (RFC 8693 section 4.2).
func (c *Claims) Scopes() []string { return slices.Clone(c.scopes) }

// HasScope reports whether scope holds exactly that value.
func (c *Claims) HasScope(scope string) bool { return slices.Contains(c.scopes, scope) }

// Binding returns cnf. What a [Verifier] returned was proven to it.
func (c *Claims) Binding() Binding { return c.binding }

// Claim returns the JSON of the top-level claim with exactly that name.
func (c *Claims) Claim(name string) (json.RawMessage, bool) {
	var raw json.RawMessage
	found := errors.New("found")
	err := strictjson.Object([]byte(c.payload), func(n string, v strictjson.Value) error {
		if n != name {
			return nil
		}
		raw = v.Raw()
		return found
	})
	return raw, err == found
}

// Decode unmarshals the verified claims into v as encoding/json does, which
// matches names without regard to case. Where an issuer lets its users choose
// claim names, read what decides with [Claims.Claim].
func (c *Claims) Decode(v any) error {
	// A copy: others hold c too, and an UnmarshalJSON may write to what it gets.
	if err := json.Unmarshal([]byte(c.payload), v); err != nil {
		return fmt.Errorf("token: decoding claims into %T: %w", v, withoutValue(err))
	}
	return nil
}

// withoutValue says what encoding/json objects to without what it quotes of its
// input, or what a caller's UnmarshalJSON does.
func withoutValue(err error) error {
	if e := (*json.UnmarshalTypeError)(nil); errors.As(err, &e) {
		return fmt.Errorf("a claim does not fit the Go field %q of type %s", e.Field, e.Type)
	}
	if e := (*json.InvalidUnmarshalError)(nil); errors.As(err, &e) {
		return e
	}
	return errors.New("a claim does not fit its Go field")
}

// Identity returns what the denylist knows the token by. Give it to
// [revoke.TokenOf] to revoke this one token.
func (c *Claims) Identity() revoke.Identity {
	return revoke.Identity{
		Issuer:    c.issuer,
		Token:     c.id,
		Session:   c.session,
		Subject:   c.subject,
		Client:    c.client,
		Tenant:    c.tenant,
		Key:       c.key,
		IssuedAt:  c.issued.time(),
		MintedAt:  c.minted.time(),
		ExpiresAt: c.expires.time(),
	}
}

// String names the token for people: iss, sub and jti. No token can be made of it.
func (c Claims) String() string {
	return fmt.Sprintf("token.Claims{iss: %q, sub: %q, jti: %q}", c.issuer, c.subject, c.id)
}

// GoString returns [Claims.String].
func (c Claims) GoString() string { return c.String() }

// LogValue logs iss, sub, jti and exp.
func (c Claims) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("iss", c.issuer),
		slog.String("sub", c.subject),
		slog.String("jti", c.id),
		slog.Time("exp", c.expires.time()),
	)
}
