package token

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

// OneOf returns a Verifier that accepts what one of the given ones does. It reads
// iss before anything is verified, only to choose the Verifier of that issuer, which
// then verifies all of the token, iss too. So a key vouches for its own issuer
// alone, whatever kid it shares with another's, and no Verifier is tried after
// another. A token of another issuer is refused, and its [Cause] is issuer.
//
// Two Verifiers of one issuer are refused, and so are one [KeySet] of ours that
// serves two issuers, and one key in the [StaticKeySet] or issue.Keyring of two: either of
// them could speak for the other. What a [RemoteKeySet] holds is the issuers' to say: the
// tenants of one service may share keys. Those that have a
// [DPoP] must share it, or nonces and the memory of used proofs would be several. It
// remembers accepted tokens itself, in as many bytes as the given ones together. Its
// Middleware takes realm and Logger from the first; everything else is that of the
// chosen Verifier.
//
// One denylist serves them all, since each event names its issuer. A service that revokes
// for a foreign issuer names that issuer among the Issuers of its bus.Config.
func OneOf(verifiers ...*Verifier) (*Verifier, error) {
	all := &Verifier{issuers: make(map[string]*acceptor)}
	seen := chosen{keySets: make(map[KeySet]string), keys: make(map[string]string)}
	cacheBytes := 0
	for _, v := range verifiers {
		switch {
		case v == nil:
			return nil, errors.New("token: OneOf: a nil Verifier")
		case len(v.issuers) == 0:
			return nil, errors.New("token: OneOf: a Verifier that NewVerifier did not make")
		}
		for _, a := range v.issuers {
			if err := seen.add(a); err != nil {
				return nil, err
			}
			all.issuers[a.cfg.Issuer] = a
			if a.tenants != nil {
				all.byTenant = append(all.byTenant, a)
			}
			all.maxTokenBytes = max(all.maxTokenBytes, a.cfg.MaxTokenBytes)
			cacheBytes += min(a.cfg.CacheBytes, math.MaxInt-cacheBytes)
		}
	}
	if len(verifiers) == 0 {
		return nil, errors.New("token: OneOf: no Verifier")
	}
	first := verifiers[0]
	all.cache, all.dpop, all.logger = newCache(cacheBytes), seen.dpop, first.logger
	all.challenges = newChallenges(first.realm, all.dpop)
	all.realm = first.realm
	return all, nil
}

// chosen are the acceptors that OneOf has taken so far.
type chosen struct {
	all     []*acceptor
	keySets map[KeySet]string
	keys    map[string]string // the issuer that each key at hand is of, by thumbprint
	dpop    *DPoP
}

// add refuses an acceptor that could speak for another one, or another for it.
func (c *chosen) add(a *acceptor) error {
	issuer := a.cfg.Issuer
	for _, other := range c.all {
		if other.cfg.Issuer == issuer {
			return fmt.Errorf("token: OneOf: two Verifiers of %q", issuer)
		}
	}
	if d := a.cfg.DPoP; d != nil {
		if c.dpop != nil && c.dpop.s != d.s {
			return fmt.Errorf("token: OneOf: the Verifier of %q has a DPoP of its own: share one", issuer)
		}
		c.dpop = d
	}
	if k := a.cfg.Keys; ours(k) { // and compares
		if other, ok := c.keySets[k]; ok {
			return fmt.Errorf("token: OneOf: %q and %q have the same key set: each could speak for the other", other, issuer)
		}
		c.keySets[k] = issuer
	}
	for _, k := range keysAtHand(a.cfg.Keys) {
		if other, ok := c.keys[k.thumbprint]; ok && other != issuer {
			return fmt.Errorf("token: OneOf: %q and %q share the key %s: anyone who signs for one could speak for the other", other, issuer, k)
		}
		c.keys[k.thumbprint] = issuer
	}
	for _, other := range c.all {
		for _, pair := range [][2]*acceptor{{a, other}, {other, a}} {
			if t := pair[0].tenants; t != nil {
				if _, ok := t.of(pair[1].cfg.Issuer); ok {
					return fmt.Errorf("token: OneOf: %q is a tenant's issuer of %q: two Verifiers of one issuer", pair[1].cfg.Issuer, pair[0].cfg.Issuer)
				}
			}
		}
	}
	c.all = append(c.all, a)
	return nil
}

// keysAtHand returns the keys of a set that nobody but the caller changes.
func keysAtHand(set KeySet) []*Key {
	static, ok := set.(*StaticKeySet)
	if !ok {
		static, _ = ringKeys(set)
	}
	if static == nil {
		return nil
	}
	return slices.Concat(slices.Collect(maps.Values(static.byID))...)
}

// ours reports whether set is of a type of this library.
func ours(set KeySet) bool {
	switch set.(type) {
	case *StaticKeySet, *RemoteKeySet:
		return true
	}
	_, ring := ringKeys(set)
	return ring
}

// of returns the acceptor of iss, nil if there is none. Anybody can ask for an issuer that
// there is not: what that costs does not grow with the issuers that there are.
func (v *Verifier) of(iss string) *acceptor {
	if v.sole != nil {
		return v.sole // which refuses another issuer's
	}
	if one := v.issuers[iss]; one != nil {
		return one
	}
	for _, one := range v.byTenant {
		if _, ok := one.tenants.of(iss); ok {
			return one
		}
	}
	return nil
}

// choose returns the acceptor of the issuer that raw names, of which nothing is
// verified yet.
func (v *Verifier) choose(raw string) (*acceptor, error) {
	if v.sole != nil {
		return v.sole, nil
	}
	p, err := split(raw, v.maxTokenBytes)
	if err != nil {
		return nil, err
	}
	issuer, found := "", false
	err = strictjson.Object(p.payload, func(name string, v strictjson.Value) error {
		if name == "iss" {
			issuer, _ = v.Text()
			found = true
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("token: %w: claims: %w", errMalformed, err)
	case !found:
		return nil, missing("iss")
	}
	chosen := v.of(issuer)
	if chosen == nil {
		return nil, fmt.Errorf("token: %w: iss is none of those configured", errIssuer)
	}
	return chosen, nil
}
