package token

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/refusals"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// A Verifier accepts or refuses the access tokens of one issuer or, made by [OneOf],
// of several. Its methods may be called concurrently. It has no background and needs
// no Close.
type Verifier struct {
	cfg      VerifierConfig
	profile  *Profile             // nil if tokens are those of RFC 9068
	reading  reading              // how their claims are read
	tenants  *tenants             // nil if cfg.Issuer is the one issuer
	issuers  map[string]*Verifier // of OneOf; the rest is then unused but byTenant and cfg's MaxTokenBytes, Audiences and Logger
	byTenant []*Verifier          // those of issuers that have tenants
	leeway   int64                // in milliseconds
	ahead    int64                // how far iat may lie in the future, in milliseconds
	minted   int64                // how far hyt_at may
	clocks   clocks
	lifetime int64      // in milliseconds
	plain    verifyCall // that of a call without options; read-only
	headers  headerMemo
	cache    *cache           // nil if there is none
	named    [numNames]string // claims that the configuration names
	unnamed  unnamed
	refusals refusalCounts
	refused  refusals.Log // of the Middleware
	warned   limiter      // that tokens cannot be verified
	watches  watches      // of tokens in use
}

// NewVerifier returns a Verifier. The error names the field of cfg that is
// missing or would make verification unsafe.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	tenantNamed := cfg.TenantClaim != ""
	if field, why := validateTenants(&cfg, tenantNamed); field != "" {
		return nil, &ConfigError{Config: "token.VerifierConfig", Field: field, Reason: why}
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	cfg.warn()
	v := &Verifier{cfg: cfg, leeway: cfg.Leeway.Milliseconds(), lifetime: math.MaxInt64}
	v.plain.whenStale, v.named = cfg.WhenStale, namedClaims(&cfg, tenantNamed)
	v.ahead, v.minted = v.leeway, math.MaxInt64/2 // no cutoff will be outrun where there is no denylist
	if cfg.Revocations != nil {
		h := revoke.Horizons{MaxSkew: cfg.Revocations.Config().MaxSkew}
		v.ahead, v.minted = min(v.ahead, h.MaxSkew.Milliseconds()), h.Slack().Milliseconds()
	}
	if cfg.MaxLifetime != 0 {
		v.lifetime = cfg.MaxLifetime.Milliseconds()
	}
	if !cfg.NoCache {
		v.cache = newCache(cfg.CacheBytes)
	}
	if !cfg.Profile.isZero() {
		v.profile = &v.cfg.Profile
	}
	v.tenants = newTenants(&v.cfg)
	v.reading = reading{tenantClaim: cfg.TenantClaim, profile: v.profile, ours: cfg.OwnIssuer}
	if cfg.Revocations != nil || cfg.Profile.SessionClaim != "" {
		v.reading.asked |= askedSession
	}
	if tenantNamed || cfg.OwnIssuer {
		v.reading.asked |= askedTenant
	}
	if cfg.Profile.ScopeClaim == "scope" {
		v.reading.asked |= askedScope
	}
	if cfg.Revocations != nil {
		// A service that makes a Verifier for each customer that comes must not keep the
		// issuers of those that went.
		expected := cfg.Issuer
		if v.tenants != nil {
			expected = "" // any: events may come before the first token of a tenant does
		}
		cfg.Revocations.ExpectIssuer(expected)
		runtime.AddCleanup(v, cfg.Revocations.ForgetIssuer, expected)
	}
	return v, nil
}

// A VerifyOption changes one call of [Verifier.Verify], such as that of one route.
type VerifyOption func(*verifyCall)

type verifyCall struct {
	whenStale revoke.Policy
	sender    Sender
	request   *http.Request // of the Middleware: what the token came with
	spent     spentProof    // the same: what the request has used up already
	scopes    []string
	maxAge    time.Duration
	acr       []string
	grace     time.Duration
	graceSet  bool
	accepted  *revoke.Instant // where the moment of acceptance goes; nil: nowhere
	err       error           // of an option that cannot take effect
}

func (c *verifyCall) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// WithStalePolicy replaces [VerifierConfig].WhenStale. A policy that
// [revoke.List.ValidatePolicy] refuses accepts nothing.
func WithStalePolicy(p revoke.Policy) VerifyOption {
	return func(c *verifyCall) { c.whenStale = p }
}

// Verify returns the claims of raw if it is an access token (RFC 9068, or as the
// Profile says) of the issuer for this service, signed, in force and not revoked. Otherwise the error
// is of the family [ErrInvalidToken] or [ErrUnavailable] and the claims are nil.
// No error holds a part of the token. raw is the token alone, without "Bearer".
//
// It checks, in this order: size and shape, header, key, signature, claims, what the
// sender proved ([Binding]), denylist, and what opts ask for beyond an acceptable
// token, with errors of the family [ErrInsufficient]. ctx governs fetching keys, if
// Keys must; the rest never waits.
//
// A token that was accepted before is remembered, see [VerifierConfig].CacheBytes. Then
// its signature is not checked again; everything else is, each time.
func (v *Verifier) Verify(ctx context.Context, raw string, opts ...VerifyOption) (*Claims, error) {
	c, err := v.verify(ctx, raw, opts)
	if err != nil {
		v.refusals[causeOf(err)].Add(1)
	}
	return c, err
}

func (v *Verifier) verify(ctx context.Context, raw string, opts []VerifyOption) (*Claims, error) {
	s, err := cut(raw, v.cfg.MaxTokenBytes)
	if err != nil {
		return nil, err
	}
	one, known := v, v.cache.find(s)
	switch {
	case known != nil:
		one = known.by
	case v.issuers != nil:
		if one, err = v.choose(raw); err != nil {
			return nil, err
		}
	}
	call, err := one.call(ctx, opts)
	if err != nil {
		return nil, err
	}
	if known != nil {
		key, err := one.lookup(ctx, known.claims.header)
		if err != nil {
			return nil, err
		}
		if key == known.key || key.Thumbprint() == known.key.Thumbprint() {
			if err := one.tenants.vouches(key, known.claims.issuer); err != nil {
				return nil, err
			}
			return one.accept(known.claims, known.identity, call, raw, nil)
		}
		// Another key under the same name: whether it verifies the token is not known.
	}
	claims, key, err := one.signed(ctx, s)
	if err != nil {
		return nil, err
	}
	if one.cache == nil { // one of several may do without
		if claims, err = one.accept(claims, nil, call, raw, nil); err == nil {
			one.unnamed.note(one, claims)
		}
		return claims, err
	}
	var identity replica.Prepared
	if list := one.cfg.Revocations; list != nil {
		id := claims.Identity()
		identity = replica.Prepare(list, &id)
	}
	return one.accept(claims, identity, call, raw, func() {
		one.unnamed.note(one, claims)
		v.cache.add(s, claims, one, key, identity)
	})
}

// accept judges all but form and signature of a token: what may be otherwise the next
// time. identity is that of c, nil if it is not prepared. remember, which may be nil, is
// called once nothing speaks against the token itself.
func (v *Verifier) accept(c *Claims, identity replica.Prepared, call *verifyCall, raw string, remember func()) (*Claims, error) {
	at := time.Now()
	now, ms := revoke.At(at), at.UnixMilli()
	if err := v.judge(c, ms); err != nil {
		return nil, err
	}
	use, err := v.possession(c, call, raw, at)
	if err != nil {
		return nil, err
	}
	if err := v.revoked(c, identity, now, call.whenStale); err != nil {
		return nil, err
	}
	if remember != nil {
		remember()
	}
	if p := call.spent; use == nil || p.by != v.cfg.DPoP.s || p.proof != call.sender.Proof {
		if err := use.record(at); err != nil {
			return nil, err
		}
	}
	if err := v.sufficient(c, call, ms); err != nil {
		return nil, err
	}
	if call.accepted != nil {
		*call.accepted = now
	}
	return c, nil
}

// Recheck checks again what changes while a token is in use: that its key is still
// there, its times, the denylist, and what opts ask for. It is for connections that
// outlive a request. c is what Verify of this Verifier returned; signature and
// possession are not checked again. The error is as Verify's.
func (v *Verifier) Recheck(ctx context.Context, c *Claims, opts ...VerifyOption) error {
	err := v.recheck(ctx, c, opts)
	if err != nil {
		v.refusals[causeOf(err)].Add(1)
	}
	return err
}

func (v *Verifier) recheck(ctx context.Context, c *Claims, opts []VerifyOption) error {
	if c == nil || c.header == (header{}) {
		return fmt.Errorf("token: %w: claims that were not verified", ErrInvalidToken)
	}
	if v.issuers != nil {
		chosen := v.of(c.issuer)
		if chosen == nil {
			return fmt.Errorf("token: %w: iss is none of those configured", ErrIssuer)
		}
		v = chosen
	}
	call, err := v.call(ctx, opts)
	if err != nil {
		return err
	}
	if err := v.holdsKey(ctx, c.header, c.key, c.issuer); err != nil {
		return err
	}
	now := revoke.Now()
	ms := now.Wall / int64(time.Millisecond)
	if err := v.judge(c, ms); err != nil {
		return err
	}
	if err := v.revoked(c, nil, now, call.whenStale); err != nil {
		return err
	}
	return v.sufficient(c, call, ms)
}

// holdsKey returns nil if the key that verified a token with that header and iss is still there.
func (v *Verifier) holdsKey(ctx context.Context, h header, thumbprint, iss string) error {
	key, err := v.key(ctx, h)
	if err != nil {
		return err
	}
	if key.Thumbprint() != thumbprint {
		return fmt.Errorf("token: %w: the key was replaced", ErrUnknownKey)
	}
	return v.tenants.vouches(key, iss)
}

// signed returns the claims of the token s if its form and its signature are good. What they
// say is yet to be judged. key is the one that signed it.
func (v *Verifier) signed(ctx context.Context, s segments) (_ *Claims, key *Key, err error) {
	if err := fits(len(s.signed)+1+len(s.signature), v.cfg.MaxTokenBytes); err != nil { // of several, each has its own limit
		return nil, nil, err
	}
	h, known := v.headers.find(s.header)
	m := scratches.Get().(*scratch)
	defer scratches.Put(m)
	p, err := m.decode(s, known)
	if err != nil {
		return nil, nil, err
	}
	if !known {
		if h, err = parseHeader(p.header); err != nil {
			return nil, nil, err
		}
	}
	if key, err = v.key(ctx, h); err != nil {
		return nil, nil, err
	}
	if key.verify(p.signed, p.signature) != nil {
		if key = v.renewed(ctx, h, key); key == nil || key.verify(p.signed, p.signature) != nil {
			return nil, nil, fmt.Errorf("token: %w", ErrSignature)
		}
	}
	if !known {
		v.headers.learn(s.header, h, key)
	}
	claims, err := v.reading.decode(p.payload)
	if err != nil {
		return nil, nil, err
	}
	if err := v.tenants.vouches(key, claims.issuer); err != nil {
		return nil, nil, err
	}
	if claims.unheeded {
		v.clocks.unheeded(v)
	}
	claims.header, claims.key = h, key.Thumbprint()
	return claims, key, nil
}

// call returns what opts ask for, which nobody may change.
func (v *Verifier) call(ctx context.Context, opts []VerifyOption) (*verifyCall, error) {
	if ctx == nil {
		return nil, fmt.Errorf("token: %w: nil context", ErrUnavailable)
	}
	if len(opts) == 0 {
		return &v.plain, nil
	}
	call := &verifyCall{whenStale: v.cfg.WhenStale}
	for _, o := range opts {
		if o != nil {
			o(call)
		}
	}
	err := call.err
	if err == nil {
		err = v.cfg.validatePolicy(call.whenStale)
	}
	if err != nil {
		return nil, fmt.Errorf("token: %w: %w", ErrUnavailable, err)
	}
	for _, one := range v.issuers { // each with its own denylist
		if _, err := one.call(ctx, opts); err != nil {
			return nil, err
		}
	}
	return call, nil
}

// key finds the key that h names, for no other algorithm than h's, which must be
// allowed. What Keys returns is not trusted to be what was asked for.
func (v *Verifier) key(ctx context.Context, h header) (*Key, error) {
	if !slices.Contains(v.cfg.Algorithms, h.alg) {
		return nil, fmt.Errorf("token: %w: header alg is none of %s", ErrAlgorithm, v.cfg.Algorithms)
	}
	if !v.profile.hasType(h) {
		return nil, fmt.Errorf("token: %w: header typ is none of %q", ErrType, v.profile.types())
	}
	return v.lookup(ctx, h)
}

// lookup is key for the header of a token that was accepted before.
func (v *Verifier) lookup(ctx context.Context, h header) (*Key, error) {
	key, err := v.cfg.Keys.Lookup(ctx, h.kid, h.alg)
	switch {
	case errors.Is(err, ErrUnavailable): // first: unknown here and unavailable there is not unknown
		if errors.Is(err, ErrKeysUnavailable) { // as a set of ours says
			return nil, unavailable{err}
		}
		return nil, fmt.Errorf("token: %w: %w", ErrKeysUnavailable, unavailable{err})
	case errors.Is(err, ErrUnknownKey):
		return nil, unknownKey(err)
	case err != nil:
		return nil, fmt.Errorf("token: %w: %w", ErrKeysUnavailable, err)
	case key == nil, key.Algorithm() != h.alg, h.kid != "" && key.ID() != h.kid:
		return nil, fmt.Errorf("token: %w", ErrUnknownKey)
	}
	return key, nil
}

// A renewer is a KeySet of ours that can learn of new material under the name of an
// old key, as some issuers publish it.
type renewer interface {
	renewed(ctx context.Context, kid string, old *Key) *Key
}

// renewed returns the key that has taken the place of old, whose signature was bad, or
// nil.
func (v *Verifier) renewed(ctx context.Context, h header, old *Key) *Key {
	if keys, ok := v.cfg.Keys.(renewer); ok {
		return keys.renewed(ctx, h.kid, old)
	}
	return nil
}

// judge compares what the claims say with the configuration and the time, in
// milliseconds (RFC 7519 section 4.1, RFC 9068 section 4).
func (v *Verifier) judge(c *Claims, now int64) error {
	if err := v.concerns(c); err != nil {
		return err
	}
	switch {
	case now-v.leeway >= c.expires.ms:
		return fmt.Errorf("token: %w: exp", ErrExpired)
	case c.notBefore.set && now+v.leeway < c.notBefore.ms:
		return fmt.Errorf("token: %w: nbf", ErrNotYetValid)
	case now+v.ahead < c.issued.ms: // it would outrun every cutoff
		v.clocks.refused(v, c.issued.ms-now)
		return fmt.Errorf("token: %w: iat", ErrNotYetValid)
	case c.minted.set && now+v.minted < c.minted.ms: // the same
		v.clocks.refused(v, c.minted.ms-now-v.minted+v.ahead)
		return fmt.Errorf("token: %w: %s", ErrNotYetValid, shape.Minted)
	case c.minted.set && c.minted.ms < c.issued.ms:
		return claim(shape.Minted, "is before iat")
	case c.expires.ms <= c.issued.ms:
		return claim("exp", "is not after iat")
	case c.expires.ms-c.issued.ms > v.lifetime:
		return fmt.Errorf("token: %w: exp − iat is more than %s", ErrLifetime, time.Duration(v.lifetime)*time.Millisecond)
	}
	if c.issued.ms > now {
		v.clocks.accepted(c.issued.ms - now)
	}
	return nil
}

// concerns returns nil if c is of an issuer and for an audience of this Verifier's.
func (v *Verifier) concerns(c *Claims) error {
	switch {
	case v.tenants != nil:
		if err := v.tenants.judge(c, v.cfg.TenantClaim); err != nil {
			return err
		}
	case c.issuer != v.cfg.Issuer:
		return fmt.Errorf("token: %w: iss is not %q", ErrIssuer, v.cfg.Issuer)
	}
	if !slices.ContainsFunc(c.audience, func(a string) bool { return slices.Contains(v.cfg.Audiences, a) }) {
		return fmt.Errorf("token: %w: aud holds none of %q", ErrAudience, v.cfg.Audiences)
	}
	return nil
}

// revoked asks the denylist, in which identity stands for c if it is not nil.
func (v *Verifier) revoked(c *Claims, identity replica.Prepared, now revoke.Instant, p revoke.Policy) error {
	if v.cfg.Revocations == nil {
		return nil
	}
	var err error
	if identity != nil {
		err = identity.Check(now, p)
	} else {
		id := c.Identity()
		err = v.cfg.Revocations.Check(now, &id, p)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, revoke.ErrRevoked):
		return fmt.Errorf("token: %w: %w", ErrInvalidToken, err)
	}
	return fmt.Errorf("token: %w: %w", ErrUnavailable, err)
}

// unavailable keeps the text and the causes of an error of a KeySet, but not the
// family of refusals: nobody may mistake "cannot know" for "no".
type unavailable struct{ err error }

func (u unavailable) Error() string { return u.err.Error() }

func (u unavailable) Is(target error) bool {
	_, ok := target.(*member)
	refusal := target == ErrInvalidToken || ok && errors.Is(target, ErrInvalidToken)
	return !refusal && errors.Is(u.err, target)
}
