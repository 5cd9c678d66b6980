package token

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/refusals"
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

// presented is what a token came with.
type presented struct {
	sender  Sender
	request *http.Request // of the Middleware
	spent   spentProof    // the same: what the request has used up already
}

// accepted is a token that Verify has accepted, by whom and when.
type accepted struct {
	claims *Claims
	by     *acceptor
	at     revoke.Instant
}

// WithStalePolicy replaces [VerifierConfig].WhenStale. A policy that
// [revoke.List.ValidatePolicy] refuses accepts nothing.
func WithStalePolicy(p revoke.Policy) VerifyOption {
	return (&demands{whenStale: p, staleSet: true}).option()
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
	if len(opts) > 1 {
		var all demands
		return v.answer(ctx, raw, together(opts, &all))
	}
	return v.answer(ctx, raw, together(opts, nil))
}

func (v *Verifier) answer(ctx context.Context, raw string, d *demands) (*Claims, error) {
	p := presented{sender: d.sender}
	now := revoke.Now()
	ok, err := v.verify(ctx, raw, now, v.cache.find(raw), d, &p)
	return ok.claims, err
}

// verify is [Verifier.Verify] for what came with p. known is what the cache has found for
// raw, or nil.
func (v *Verifier) verify(ctx context.Context, raw string, now revoke.Instant, known *verified, d *demands, p *presented) (accepted, error) {
	ok, err := v.accept(ctx, raw, now, known, d, p)
	if err != nil {
		v.refusals[causeOf(err)].Add(1)
	}
	return ok, err
}

func (v *Verifier) accept(ctx context.Context, raw string, now revoke.Instant, known *verified, d *demands, p *presented) (accepted, error) {
	var none accepted
	if known != nil {
		one := known.by
		if err := one.takes(ctx, d); err != nil {
			return none, err
		}
		if keys := one.keysAt(now); keys.is(known.keys.Load()) {
			return one.again(known, now, d, p, raw)
		} else if same, err := one.hasKey(ctx, known, keys); err != nil {
			return none, err
		} else if same {
			return one.again(known, revoke.Now(), d, p, raw) // to look a key up may take time
		}
		// Another key under the same name: whether it verifies the token is not known.
	}
	s, err := cut(raw, v.maxTokenBytes)
	if err != nil {
		return none, err
	}
	one, err := v.choose(raw)
	if err != nil {
		return none, err
	}
	if err := one.takes(ctx, d); err != nil {
		return none, err
	}
	claims, err := one.signed(ctx, s)
	if err != nil {
		return none, err
	}
	if one.cfg.NoCache {
		ok, err := one.accept(claims, nil, d, p, raw, nil)
		if err == nil {
			one.unnamed.note(one, claims)
		}
		return ok, err
	}
	fresh := v.cache.entry(s, claims, one)
	return one.accept(claims, &fresh.identity, d, p, raw, func() {
		one.unnamed.note(one, claims)
		v.cache.add(fresh, s.signature)
	})
}

// Recheck checks again what changes while a token is in use: that its key is still
// there, its times, the denylist, and what opts ask for. It is for connections that
// outlive a request. c is what Verify of this Verifier returned; signature and
// possession are not checked again. The error is as Verify's.
func (v *Verifier) Recheck(ctx context.Context, c *Claims, opts ...VerifyOption) error {
	return v.judgeAgain(ctx, c, together(opts, new(demands)))
}

func (v *Verifier) judgeAgain(ctx context.Context, c *Claims, d *demands) error {
	err := v.recheck(ctx, c, d)
	if err != nil {
		v.refusals[causeOf(err)].Add(1)
	}
	return err
}

func (v *Verifier) recheck(ctx context.Context, c *Claims, d *demands) error {
	if c == nil || c.header == (header{}) {
		return fmt.Errorf("token: %w: claims that were not verified", ErrInvalidToken)
	}
	a := v.of(c.issuer)
	if a == nil {
		return fmt.Errorf("token: %w: iss is none of those configured", errIssuer)
	}
	if err := a.takes(ctx, d); err != nil {
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
	if err := a.revoked(c, nil, now, a.policy(d)); err != nil {
		return err
	}
	return a.sufficient(c, d, ms)
}
