package token

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

// OneOf returns a Verifier that accepts what one of the given ones does. It reads
// iss before anything is verified, only to choose the Verifier of that issuer, which
// then verifies all of the token, iss too. So a key vouches for its own issuer
// alone, whatever kid it shares with another's, and no Verifier is tried after
// another. A token of another issuer matches [ErrIssuer].
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
// for a foreign issuer publishes on a Bus that was opened for that issuer.
func OneOf(verifiers ...*Verifier) (*Verifier, error) {
	all := &Verifier{issuers: make(map[string]*Verifier)}
	keys := make(map[KeySet]string)
	fixed := make(map[string]string) // the issuer that each key at hand is of
	var add func(v *Verifier) error
	add = func(v *Verifier) error {
		switch {
		case v == nil:
			return errors.New("token: OneOf: a nil Verifier")
		case v.issuers != nil:
			for _, v := range v.issuers {
				if err := add(v); err != nil {
					return err
				}
			}
			return nil
		case v.cfg.Issuer == "":
			return errors.New("token: OneOf: a Verifier that NewVerifier did not make")
		case all.issuers[v.cfg.Issuer] != nil:
			return fmt.Errorf("token: OneOf: two Verifiers of %q", v.cfg.Issuer)
		}
		if d := v.cfg.DPoP; d != nil {
			if all.cfg.DPoP != nil && all.cfg.DPoP.s != d.s {
				return fmt.Errorf("token: OneOf: the Verifier of %q has a DPoP of its own: share one", v.cfg.Issuer)
			}
			all.cfg.DPoP = d
		}
		if k := v.cfg.Keys; ours(k) { // and compares
			if other, ok := keys[k]; ok {
				return fmt.Errorf("token: OneOf: %q and %q have the same key set: each could speak for the other", other, v.cfg.Issuer)
			}
			keys[k] = v.cfg.Issuer
		}
		for _, k := range keysAtHand(v.cfg.Keys) {
			if other, ok := fixed[k.thumbprint]; ok && other != v.cfg.Issuer {
				return fmt.Errorf("token: OneOf: %q and %q share the key %s: whoever signs for one could speak for the other", other, v.cfg.Issuer, k)
			}
			fixed[k.thumbprint] = v.cfg.Issuer
		}
		for _, other := range all.issuers {
			for _, pair := range [][2]*Verifier{{v, other}, {other, v}} {
				if t := pair[0].tenants; t != nil {
					if _, ok := t.of(pair[1].cfg.Issuer); ok {
						return fmt.Errorf("token: OneOf: %q is a tenant's issuer of %q: two Verifiers of one issuer", pair[1].cfg.Issuer, pair[0].cfg.Issuer)
					}
				}
			}
		}
		all.issuers[v.cfg.Issuer] = v
		if v.tenants != nil {
			all.byTenant = append(all.byTenant, v)
		}
		all.cfg.MaxTokenBytes = max(all.cfg.MaxTokenBytes, v.cfg.MaxTokenBytes)
		all.cfg.CacheBytes += min(v.cfg.CacheBytes, math.MaxInt-all.cfg.CacheBytes)
		return nil
	}
	for _, v := range verifiers {
		if err := add(v); err != nil {
			return nil, err
		}
	}
	if len(verifiers) == 0 {
		return nil, errors.New("token: OneOf: no Verifier")
	}
	all.cache = newCache(all.cfg.CacheBytes)
	all.cfg.Audiences, all.cfg.Logger = verifiers[0].cfg.Audiences, verifiers[0].cfg.Logger
	if all.cfg.Logger == nil {
		all.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return all, nil
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

// of returns the Verifier of iss, nil if there is none. Anybody can ask for an issuer that
// there is not: what that costs does not grow with the issuers that there are.
func (v *Verifier) of(iss string) *Verifier {
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

// choose returns the Verifier of the issuer that raw names, of which nothing is
// verified yet.
func (v *Verifier) choose(raw string) (*Verifier, error) {
	p, err := split(raw, v.cfg.MaxTokenBytes)
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
		return nil, fmt.Errorf("token: %w: claims: %w", ErrMalformed, err)
	case !found:
		return nil, missing("iss")
	}
	chosen := v.of(issuer)
	if chosen == nil {
		return nil, fmt.Errorf("token: %w: iss is none of those configured", ErrIssuer)
	}
	return chosen, nil
}
