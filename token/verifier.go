package token

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/refusals"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Verifier accepts or refuses the access tokens of one issuer or, made by [OneOf],
// of several. Its methods may be called concurrently. It has no background and needs
// no Close.
type Verifier struct {
	sole     *acceptor            // of a Verifier of one issuer: there is nothing to choose
	issuers  map[string]*acceptor // by issuer, the sole one too
	byTenant []*acceptor          // those of issuers that have tenants

	maxTokenBytes int    // the largest of all
	cache         *cache // nil if there is none
	dpop          *DPoP  // that all share, or nil
	realm         string // of the challenges
	challenges    []challenge
	logger        *slog.Logger
	refusals      refusalCounts
	refused       refusals.Log // of the Middleware
	warned        limiter      // that tokens cannot be verified
}

// NewVerifier returns a Verifier. The error names the field of cfg that is
// missing or would make verification unsafe.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	a, err := newAcceptor(cfg)
	if err != nil {
		return nil, err
	}
	v := &Verifier{sole: a, issuers: map[string]*acceptor{a.cfg.Issuer: a}, maxTokenBytes: a.cfg.MaxTokenBytes, cache: newCache(a.cfg.CacheBytes), dpop: a.cfg.DPoP, realm: a.cfg.Audiences[0], logger: a.cfg.Logger}
	v.challenges = newChallenges(v.realm, v.dpop)
	return v, nil
}

// A VerifyOption changes one call of [Verifier.Verify], such as that of one route.
type VerifyOption func(*verifyCall)

type verifyCall struct {
	whenStale revoke.Policy
	sender    Sender
	request   *http.Request // of the Middleware: what the token came with
	spent     spentProof    // the same: what the request has used up already
	asIssuer  bool          // whatever the audience, without proof of possession
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
	s, err := cut(raw, v.maxTokenBytes)
	if err != nil {
		return nil, err
	}
	var one *acceptor
	known := v.cache.find(s)
	if known != nil {
		one = known.by
	} else if one, err = v.choose(raw); err != nil {
		return nil, err
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
	if one.cfg.NoCache {
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
	a := v.of(c.issuer)
	if a == nil {
		return fmt.Errorf("token: %w: iss is none of those configured", errIssuer)
	}
	call, err := a.call(ctx, opts)
	if err != nil {
		return err
	}
	if err := a.holdsKey(ctx, c.header, c.key, c.issuer); err != nil {
		return err
	}
	now := revoke.Now()
	ms := now.Wall / int64(time.Millisecond)
	if err := a.judge(c, ms); err != nil {
		return err
	}
	if err := a.revoked(c, nil, now, call.whenStale); err != nil {
		return err
	}
	return a.sufficient(c, call, ms)
}
