package token

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/internal/own"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// An acceptor judges the tokens of one issuer. Verifiers share it that accept them: one
// of that issuer alone, and those that [OneOf] makes of it.
type acceptor struct {
	cfg      VerifierConfig
	profile  *Profile // nil if tokens are those of RFC 9068
	reading  reading  // how their claims are read
	tenants  *tenants // nil if cfg.Issuer is the one issuer
	leeway   int64    // in milliseconds
	ahead    int64    // how far iat may lie in the future, in milliseconds
	minted   int64    // how far hyt_at may
	lifetime int64    // in milliseconds

	// Of Keys, what keysAt needs of a set of ours; all nil of another.
	static *StaticKeySet
	remote *RemoteKeySet
	ring   func() (keys any)

	named   [numNames]string // claims that the configuration names
	clocks  clocks
	header  lastHeader
	unnamed unnamed
	watches watches // of tokens in use
}

func newAcceptor(cfg VerifierConfig) (*acceptor, error) {
	tenantNamed := cfg.TenantClaim != ""
	if field, why := validateTenants(&cfg, tenantNamed); field != "" {
		return nil, &ConfigError{Config: "token.VerifierConfig", Field: field, Reason: why}
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	cfg.warn()
	a := &acceptor{cfg: cfg, leeway: cfg.Leeway.Milliseconds(), lifetime: math.MaxInt64}
	switch set := cfg.Keys.(type) {
	case *StaticKeySet:
		a.static = set
	case *RemoteKeySet:
		a.remote = set
	default:
		a.ring = own.RingReader(set)
	}
	a.named = namedClaims(&cfg, tenantNamed)
	a.ahead, a.minted = a.leeway, math.MaxInt64/2 // no cutoff will be outrun where there is no denylist
	if cfg.Revocations != nil {
		h := revoke.Retention{MaxSkew: cfg.Revocations.Config().MaxSkew}
		a.ahead, a.minted = min(a.ahead, h.MaxSkew.Milliseconds()), h.Slack().Milliseconds()
	}
	if cfg.MaxLifetime != 0 {
		a.lifetime = cfg.MaxLifetime.Milliseconds()
	}
	if !cfg.Profile.isZero() {
		a.profile = &a.cfg.Profile
	}
	a.tenants = newTenants(&a.cfg)
	a.reading = reading{tenantClaim: cfg.TenantClaim, profile: a.profile, ours: cfg.OwnIssuer}
	if cfg.Revocations != nil || cfg.Profile.SessionClaim != "" {
		a.reading.asked |= askedSession
	}
	if tenantNamed || cfg.OwnIssuer {
		a.reading.asked |= askedTenant
	}
	if cfg.Profile.ScopeClaim == "scope" {
		a.reading.asked |= askedScope
	}
	if cfg.Revocations != nil {
		// A service that makes a Verifier for each customer that comes must not keep the
		// issuers of those that went.
		expected := cfg.Issuer
		if a.tenants != nil {
			expected = "" // any: events may come before the first token of a tenant does
		}
		cfg.Revocations.ExpectIssuer(expected)
		runtime.AddCleanup(a, cfg.Revocations.ForgetIssuer, expected)
	}
	return a, nil
}

// accept judges all but form and signature of a token: what may be otherwise the next
// time. identity is that of c, nil if it is not prepared. remember, which may be nil, is
// called once nothing speaks against the token itself.
func (a *acceptor) accept(c *Claims, identity *replica.Prepared, d *demands, p *presented, raw string, remember func()) (ok accepted, err error) {
	at := time.Now()
	now, ms := revoke.At(at), at.UnixMilli()
	use, err := a.stands(c, d, p, raw, at)
	if err != nil {
		return ok, err
	}
	if err := a.revoked(c, identity, now, a.policy(d)); err != nil {
		return ok, err
	}
	if remember != nil {
		remember()
	}
	if use != nil && (p.spent.by != a.cfg.DPoP.s || p.spent.proof != p.sender.Proof) {
		if err := use.record(at); err != nil {
			return ok, err
		}
	}
	if err := a.sufficient(c, d, ms); err != nil {
		return ok, err
	}
	return accepted{c, a, now}, nil
}

// stands returns nil if the token is in force, for this service, and its sender's. The use of a
// proof that it returns, nil for a token without one, is yet to be recorded.
func (a *acceptor) stands(c *Claims, d *demands, p *presented, raw string, at time.Time) (*proofUse, error) {
	if d.asIssuer {
		if err := a.issued(c); err != nil {
			return nil, err
		}
		return nil, a.inForce(c, at.UnixMilli())
	}
	if err := a.judge(c, at.UnixMilli()); err != nil {
		return nil, err
	}
	return a.possession(c, p, raw, at)
}

// holdsKey returns nil if the key that verified a token with that header and iss is still there.
func (a *acceptor) holdsKey(ctx context.Context, h header, thumbprint, iss string) error {
	key, err := a.key(ctx, h)
	if err != nil {
		return err
	}
	if key.Thumbprint() != thumbprint {
		return fmt.Errorf("token: %w: the key was replaced", ErrUnknownKey)
	}
	return a.tenants.vouches(key, iss)
}

// signed returns the claims of the token s if its form and its signature are good. What they
// say is yet to be judged.
func (a *acceptor) signed(ctx context.Context, s segments) (*Claims, error) {
	if err := fits(len(s.signed)+1+len(s.signature), a.cfg.MaxTokenBytes); err != nil { // of several, each has its own limit
		return nil, err
	}
	h, known := a.header.find(s.header)
	m := scratches.Get().(*scratch)
	defer scratches.Put(m)
	p, err := m.decode(s, known)
	if err != nil {
		return nil, err
	}
	if !known {
		if h, err = parseHeader(p.header); err != nil {
			return nil, err
		}
	}
	key, err := a.key(ctx, h)
	if err != nil {
		return nil, err
	}
	if key.verify(p.signed, p.signature) != nil {
		if key = a.renewed(ctx, h, key); key == nil || key.verify(p.signed, p.signature) != nil {
			return nil, fmt.Errorf("token: %w", errSignature)
		}
	}
	if !known {
		a.header.learn(s.header, h)
	}
	claims, err := a.reading.decode(p.payload)
	if err != nil {
		return nil, err
	}
	if err := a.tenants.vouches(key, claims.issuer); err != nil {
		return nil, err
	}
	if claims.unheeded {
		a.clocks.unheeded(a)
	}
	claims.header, claims.key = h, key.Thumbprint()
	return claims, nil
}

// key finds the key that h names, for no other algorithm than h's, which must be
// allowed. What Keys returns is not trusted to be what was asked for.
func (a *acceptor) key(ctx context.Context, h header) (*Key, error) {
	if !slices.Contains(a.cfg.Algorithms, h.alg) {
		return nil, fmt.Errorf("token: %w: header alg is none of %s", errAlgorithm, a.cfg.Algorithms)
	}
	if !a.profile.hasType(h) {
		return nil, fmt.Errorf("token: %w: header typ is none of %q", errType, a.profile.types())
	}
	return a.lookup(ctx, h)
}

// lookup is key for the header of a token that was accepted before.
func (a *acceptor) lookup(ctx context.Context, h header) (*Key, error) {
	key, err := a.cfg.Keys.Lookup(ctx, h.kid, h.alg)
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

// keysAt returns the keys that a look-up at that time would find its key in, or nil if only a
// look-up can tell. A set of ours is replaced as a whole and has a number of its own, so that a
// token whose key was found in it needs no further look-up while the number is the same.
func (a *acceptor) keysAt(now revoke.Instant) *StaticKeySet {
	switch {
	case a.remote != nil:
		return a.remote.fresh(now)
	case a.ring != nil:
		keys, _ := a.ring().(*StaticKeySet)
		return keys
	}
	return a.static
}

// hasKey reports whether the key that verified known is the one that its name finds now. It is
// if keys hold it, which may be nil, or else if a look-up finds it.
func (a *acceptor) hasKey(ctx context.Context, known *verified, keys *StaticKeySet) (same bool, err error) {
	h := known.claims.header
	var key *Key
	number := uint64(0)
	if keys != nil {
		key, number = keys.find(h.kid, h.alg), keys.number
	}
	if key == nil {
		number = 0
		if key, err = a.lookup(ctx, h); err != nil {
			return false, err
		}
	}
	if key.Thumbprint() != known.claims.key {
		return false, nil
	}
	if err := a.tenants.vouches(key, known.claims.issuer); err != nil {
		return false, err
	}
	if number != 0 {
		known.keys.Store(number)
	}
	return true, nil
}

// A renewer is a KeySet of ours that can learn of new material under the name of an
// old key, as some issuers publish it.
type renewer interface {
	renewed(ctx context.Context, kid string, old *Key) *Key
}

// renewed returns the key that has taken the place of old, whose signature was bad, or
// nil.
func (a *acceptor) renewed(ctx context.Context, h header, old *Key) *Key {
	if keys, ok := a.cfg.Keys.(renewer); ok {
		return keys.renewed(ctx, h.kid, old)
	}
	return nil
}

// judge compares what the claims say with the configuration and the time, in
// milliseconds (RFC 7519 section 4.1, RFC 9068 section 4).
func (a *acceptor) judge(c *Claims, now int64) error {
	if err := a.concerns(c); err != nil {
		return err
	}
	return a.inForce(c, now)
}

// inForce compares what the claims say with the time.
func (a *acceptor) inForce(c *Claims, now int64) error {
	switch {
	case now-a.leeway >= c.expires.ms:
		return fmt.Errorf("token: %w: exp", ErrExpired)
	case c.notBefore.set && now+a.leeway < c.notBefore.ms:
		return fmt.Errorf("token: %w: nbf", ErrNotYetValid)
	case now+a.ahead < c.issued.ms: // it would outrun every cutoff
		a.clocks.refused(a, c.issued.ms-now)
		return fmt.Errorf("token: %w: iat", ErrNotYetValid)
	case c.minted.set && now+a.minted < c.minted.ms: // the same
		a.clocks.refused(a, c.minted.ms-now-a.minted+a.ahead)
		return fmt.Errorf("token: %w: %s", ErrNotYetValid, shape.Minted)
	case c.minted.set && c.minted.ms < c.issued.ms:
		return claim(shape.Minted, "is before iat")
	case c.expires.ms <= c.issued.ms:
		return claim("exp", "is not after iat")
	case c.expires.ms-c.issued.ms > a.lifetime:
		return fmt.Errorf("token: %w: exp − iat is more than %s", errLifetime, time.Duration(a.lifetime)*time.Millisecond)
	}
	if c.issued.ms > now {
		a.clocks.accepted(c.issued.ms - now)
	}
	return nil
}

// concerns returns nil if c is of an issuer and for an audience of this Verifier's.
func (a *acceptor) concerns(c *Claims) error {
	if err := a.issued(c); err != nil {
		return err
	}
	if !slices.ContainsFunc(c.audience, func(aud string) bool { return slices.Contains(a.cfg.Audiences, aud) }) {
		return fmt.Errorf("token: %w: aud holds none of %q", errAudience, a.cfg.Audiences)
	}
	return nil
}

// issued returns nil if c is of an issuer of this Verifier's.
func (a *acceptor) issued(c *Claims) error {
	if a.tenants != nil {
		return a.tenants.judge(c, a.cfg.TenantClaim)
	}
	if c.issuer != a.cfg.Issuer {
		return fmt.Errorf("token: %w: iss is not %q", errIssuer, a.cfg.Issuer)
	}
	return nil
}

// revoked asks the denylist, in which identity stands for c if it is not nil.
func (a *acceptor) revoked(c *Claims, identity *replica.Prepared, now revoke.Instant, p revoke.Policy) error {
	list := a.cfg.Revocations
	if list == nil {
		return nil
	}
	var err error
	if identity != nil {
		err = identity.Check(list, now, p)
	} else {
		id := c.Identity()
		err = list.Check(now, &id, p)
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
