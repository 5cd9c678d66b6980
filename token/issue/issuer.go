package issue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// An Issuer issues access tokens (RFC 9068). Its methods may be called
// concurrently. It has no background and needs no Close.
//
// What it issues every verifier reads: iat, exp and nbf are whole seconds and never
// ahead of its clock. The instant that cutoffs compare with, in milliseconds, stands in
// a signed claim of our own, hyt_at, see [token.VerifierConfig].OwnIssuer.
type Issuer struct {
	cfg Config
	now func() time.Time // tests exchange it
}

// Config configures an [Issuer].
type Config struct {
	// Issuer becomes iss. Required; at most [revoke.MaxValueBytes]. Verifiers compare
	// it byte for byte, so a trailing slash matters.
	Issuer string

	// Keys signs. Required.
	Keys *Keyring

	// Lifetime is exp − iat of a token, rounded down to whole seconds. Zero means 15 min;
	// at least 1 s, at most the TokenLifetime of a Keys that is shared. It bounds how
	// long a service that cannot see revocations may go on accepting a token.
	Lifetime time.Duration

	// TokenLifetime is that of the revocation stream and of every verifier's List:
	// Lifetime cannot exceed it, or tokens would outlive their revocation. Zero means
	// that of [revoke.DefaultRetention], an hour.
	TokenLifetime time.Duration

	// MaxSkew is how far the clocks of issuers, publishers and verifiers may differ:
	// that of the revocation stream and of every verifier's List. No hyt_at lies further
	// ahead of this clock, or the token would outrun the next cutoff. Zero means that of
	// [revoke.DefaultRetention], 2 s; whole milliseconds, at most [revoke.MaxSkewLimit].
	MaxSkew time.Duration

	// WholeSeconds is without effect.
	//
	// Deprecated: iat and exp are always whole seconds; no cutoff refuses a token for it.
	WholeSeconds bool

	// TenantClaim names the claim that carries Request.Tenant. Empty means
	// "tenant". Verifiers must agree on it.
	TenantClaim string

	// MaxTokenBytes is the largest token issued. Zero means 8 KiB, the default of
	// verifiers; at most 64 KiB.
	MaxTokenBytes int
}

// NewIssuer returns an Issuer. The error names the field of cfg that is missing or
// would make tokens that cannot be revoked.
func NewIssuer(cfg Config) (*Issuer, error) {
	if cfg.Lifetime == 0 {
		cfg.Lifetime = 15 * time.Minute
	}
	if cfg.TokenLifetime == 0 {
		cfg.TokenLifetime = revoke.DefaultRetention().TokenLifetime
	}
	if cfg.MaxSkew == 0 {
		cfg.MaxSkew = revoke.DefaultRetention().MaxSkew
	}
	if cfg.TenantClaim == "" {
		cfg.TenantClaim = "tenant"
	}
	if cfg.MaxTokenBytes == 0 {
		cfg.MaxTokenBytes = shape.DefaultTokenBytes
	}
	refuse := func(field, why string) (*Issuer, error) {
		return nil, &token.ConfigError{Config: "issue.Config", Field: field, Reason: why}
	}
	if err := shape.CheckValue(cfg.Issuer); err != nil {
		return refuse("Issuer", err.Error())
	}
	if err := shape.CheckName(cfg.TenantClaim); err != nil {
		return refuse("TenantClaim", err.Error())
	}
	switch {
	case cfg.Keys == nil || cfg.Keys.state.Load() == nil:
		return refuse("Keys", "is nil, or was made by no constructor")
	case cfg.TokenLifetime < time.Second || cfg.TokenLifetime > revoke.MaxLifetime:
		return refuse("TokenLifetime", fmt.Sprintf("%s is not between 1 s and %s", cfg.TokenLifetime, revoke.MaxLifetime))
	case cfg.Lifetime < time.Second || cfg.Lifetime%time.Millisecond != 0:
		return refuse("Lifetime", "is below 1 s or not in whole milliseconds")
	case cfg.MaxSkew < time.Millisecond || cfg.MaxSkew > revoke.MaxSkewLimit || cfg.MaxSkew%time.Millisecond != 0:
		return refuse("MaxSkew", fmt.Sprintf("%s is not in whole milliseconds between 1ms and %s", cfg.MaxSkew, revoke.MaxSkewLimit))
	case cfg.Lifetime > cfg.TokenLifetime:
		return refuse("Lifetime", fmt.Sprintf("%s exceeds TokenLifetime %s: tokens would outlive their revocation", cfg.Lifetime, cfg.TokenLifetime))
	case cfg.Keys.shared != nil && cfg.Lifetime > cfg.Keys.cfg.TokenLifetime:
		return refuse("Lifetime", fmt.Sprintf("%s exceeds KeyringConfig.TokenLifetime %s: a key would be gone before its tokens", cfg.Lifetime, cfg.Keys.cfg.TokenLifetime))
	case cfg.Keys.cfg.Issuer != "" && cfg.Keys.cfg.Issuer != cfg.Issuer:
		return refuse("Keys", fmt.Sprintf("is the ring of the issuer %q", cfg.Keys.cfg.Issuer))
	case cfg.MaxTokenBytes > 0 && cfg.MaxTokenBytes < 256:
		return refuse("MaxTokenBytes", fmt.Sprintf("is %d: no signed token is as small (a number of kilobytes?)", cfg.MaxTokenBytes))
	case cfg.MaxTokenBytes < 0 || cfg.MaxTokenBytes > shape.MaxTokenBytes:
		return refuse("MaxTokenBytes", fmt.Sprintf("is not between 0 and %d", shape.MaxTokenBytes))
	}
	return &Issuer{cfg, time.Now}, nil
}

// Config returns the configuration with its defaults filled in.
func (i *Issuer) Config() Config { return i.cfg }

// A Request says what a token is to claim. Strings are valid UTF-8, and those
// that revocations name have at most [revoke.MaxValueBytes].
type Request struct {
	// Subject becomes sub. Required. For a client that acts for itself it is the
	// client's id, which must not be any user's (RFC 9068 section 5).
	Subject string
	// Client becomes client_id. Required.
	Client string
	// Session becomes sid. Empty means that the token belongs to no session.
	Session string
	// Tenant becomes the claim named by [Config].TenantClaim, if not empty.
	Tenant string
	// Audience becomes aud. Required: the services that the token is for, by name.
	Audience []string
	// Scope becomes scope; each element is one scope-token (RFC 6749 section 3.3).
	Scope []string

	// AuthTime, ACR and AMR say when and how the user was authenticated (RFC 9068
	// section 2.2.1). auth_time is written in whole seconds. Zero values are left out.
	AuthTime time.Time
	ACR      string
	AMR      []string

	// Binding becomes cnf: the sender's key, without which the token is worth nothing.
	// The zero value makes a bearer token.
	Binding token.Binding

	// Claims are further claims. Values are encoded as encoding/json does; give
	// numbers that matter as strings or [encoding/json.Number]. A name that is one of
	// the registered claims that fields of this request or the Issuer write, in any
	// case of letters, is refused, and so are cnf, hyt_at and names with a quote, a
	// backslash or a control character.
	Claims map[string]any

	// After is the receipt of a cutoff that the token shall pass: that of the password
	// change, say, that this login follows. Issue then waits until it may date the token
	// past the cutoff, usually for MaxSkew and at most for twice that. The zero Receipt,
	// and one of an event that is no cutoff, ask for nothing.
	After revoke.Receipt

	// IssuedAt is the instant that cutoffs compare with, hyt_at, rounded down to
	// milliseconds. Zero means now. It may lie in the past, so that cutoffs which the
	// issuer has not seen yet still cover the token, and up to MaxSkew in the future. iat
	// is its second, or the present one where it lies ahead; exp counts from iat.
	IssuedAt time.Time
	// NotBefore becomes nbf, rounded down to whole seconds. Zero leaves it out.
	NotBefore time.Time
	// Lifetime is exp − iat of this token. Zero means [Config].Lifetime, which
	// it cannot exceed.
	Lifetime time.Duration
}

// Issue returns a new signed token with a fresh jti of 130 random bits. An error
// matches [ErrIssue] and names the field of r that is to blame; nothing was signed
// then. It matches [token.ErrKeysUnavailable] too if the ring has lost its store for too
// long to sign. ctx bounds the waiting, for the cutoff of r.After and for a key in a KMS
// (see [NewSigningKey]).
func (i *Issuer) Issue(ctx context.Context, r Request) (*Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("issue: %w: %w", ErrIssue, err)
	}
	id := newID()
	var payload []byte
	var claims *token.Claims
	var signedBy func(thumbprint string)
	for {
		t, err := i.times(r, i.now())
		if err != nil {
			return nil, fmt.Errorf("issue: %w: %w", ErrIssue, err)
		}
		if payload, err = i.payload(r, id, t); err != nil {
			return nil, fmt.Errorf("issue: %w: %w", ErrRequest, err)
		}
		// What leaves here is what a verifier takes: strict JSON, no claim twice.
		if claims, signedBy, err = decodeClaims(payload, i.cfg.TenantClaim); err != nil {
			return nil, fmt.Errorf("issue: %w: %w", ErrRequest, withoutFamily{err})
		}
		if t.wait <= 0 {
			break
		}
		if pause.Wait(ctx, t.wait) != nil {
			return nil, fmt.Errorf("issue: %w: waiting to pass the cutoff of After: %w", ErrIssue, ctx.Err())
		}
	}
	signer, err := i.cfg.Keys.signing()
	if err != nil {
		return nil, fmt.Errorf("issue: %w: %w", ErrIssue, err)
	}
	raw, err := signer.sign(ctx, payload)
	if err != nil {
		return nil, fmt.Errorf("issue: %w: %w", ErrIssue, err)
	}
	if len(raw) > i.cfg.MaxTokenBytes {
		return nil, fmt.Errorf("issue: %w: the token has %d bytes, more than MaxTokenBytes %d", ErrRequest, len(raw), i.cfg.MaxTokenBytes)
	}
	signedBy(signer.key.Thumbprint())
	return &Token{raw: &raw, claims: claims}, nil
}

// newID returns a jti of 130 random bits (RFC 7519 section 4.1.7).
func newID() string { return rand.Text() }

// withoutFamily hides that err is one of refusing a token: nobody presented one.
type withoutFamily struct{ err error }

func (w withoutFamily) Error() string { return w.err.Error() }

// instants are the times of a token, in unix milliseconds.
type instants struct {
	issued, expires int64 // whole seconds
	minted          int64
	wait            time.Duration // until the token may be issued with them
}

// times returns the times of a token that is issued now.
func (i *Issuer) times(r Request, now time.Time) (t instants, err error) {
	lifetime := r.Lifetime
	if lifetime == 0 {
		lifetime = i.cfg.Lifetime
	}
	at := r.IssuedAt
	if at.IsZero() {
		at = now
	}
	after := &r.After.Event
	switch {
	case lifetime < time.Second || lifetime > i.cfg.Lifetime:
		return t, fmt.Errorf("field Lifetime %s is not between 1 s and %s", lifetime, i.cfg.Lifetime)
	case at.After(now.Add(i.cfg.MaxSkew)):
		return t, fmt.Errorf("field IssuedAt lies %s in the future, more than MaxSkew (%s): the token would outrun cutoffs; field After passes one", at.Sub(now).Round(time.Millisecond), i.cfg.MaxSkew)
	case !after.Before.IsZero() && after.Issuer != i.cfg.Issuer:
		return t, fmt.Errorf("field After is the receipt of a cutoff of issuer %q, not of %q", after.Issuer, i.cfg.Issuer)
	}
	if past := replica.CeilMilli(after.Before).Add(time.Millisecond); !after.Before.IsZero() && at.Before(past) {
		at = past
		// Of a publisher whose clock is ahead of ours by MaxSkew; and what is rounded up.
		if t.wait = past.Sub(now) - i.cfg.MaxSkew; t.wait > (revoke.Retention{MaxSkew: i.cfg.MaxSkew}).Slack()+10*time.Millisecond {
			return t, fmt.Errorf("field After names a cutoff %s in the future: the publisher's clock and ours differ by more than MaxSkew, or its MaxSkew is another", past.Sub(now).Round(time.Millisecond))
		}
	}
	t.minted = at.UnixMilli()
	// A later iat would be refused for a while by verifiers without leeway for our clock.
	t.issued = floorSecond(min(t.minted, now.UnixMilli()))
	t.expires = t.issued + floorSecond(lifetime.Milliseconds())
	switch {
	case t.expires <= now.UnixMilli():
		return t, errors.New("field IssuedAt lies so far in the past that the token has expired")
	case !r.NotBefore.IsZero() && floorSecond(r.NotBefore.UnixMilli()) >= t.expires:
		return t, errors.New("field NotBefore is not before exp")
	}
	return t, nil
}

// floorSecond rounds unix milliseconds down to whole seconds.
func floorSecond(ms int64) int64 {
	s := ms / 1000
	if ms%1000 < 0 {
		s--
	}
	return s * 1000
}

// A Token is a token that was just issued. It shows itself by [Token.Raw]
// only: never to fmt, slog or encoding/json. It is immutable.
type Token struct {
	// raw is a pointer, because fmt prints a string field of a struct in some
	// places where it does not call String.
	raw    *string
	claims *token.Claims
}

// Raw returns the token, to be handed to whom it was issued for and to nobody else.
func (t *Token) Raw() string { return *t.raw }

// Claims returns what the token says, as a [token.Verifier] will find it.
func (t *Token) Claims() *token.Claims { return t.claims }

// String returns what [token.Claims.String] does.
func (t Token) String() string { return t.claims.String() }

// GoString returns [Token.String].
func (t Token) GoString() string { return t.String() }

// LogValue logs what [token.Claims.LogValue] does.
func (t Token) LogValue() slog.Value { return t.claims.LogValue() }
