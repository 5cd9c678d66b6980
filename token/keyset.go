package token

import (
	"context"
	"fmt"
)

// A StaticKeySet is a [KeySet] that never changes.
type StaticKeySet struct {
	byID    map[string]*Key
	sole    map[Algorithm]*Key // the one key for an algorithm, nil if there are several
	skipped []string           // what [ParseKeySet] did not use: why, one line a key
}

// NewStaticKeySet returns the set of those keys. The error matches [ErrKey] if there
// is none, if two have the same kid, or if one is a secret beside public keys.
func NewStaticKeySet(keys ...*Key) (*StaticKeySet, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("token: %w: a set without keys", ErrKey)
	}
	s := &StaticKeySet{byID: make(map[string]*Key, len(keys)), sole: make(map[Algorithm]*Key)}
	for i, k := range keys {
		switch {
		case k == nil || k.verifier == nil:
			return nil, fmt.Errorf("token: %w: key %d is empty", ErrKey, i)
		case s.byID[k.id] != nil:
			return nil, fmt.Errorf("token: %w: two keys with kid %q", ErrKey, k.id)
		case k.alg.symmetric() != keys[0].alg.symmetric():
			return nil, fmt.Errorf("token: %w: a secret beside public keys", ErrKey)
		}
		s.byID[k.id] = k
		if _, several := s.sole[k.alg]; several {
			s.sole[k.alg] = nil
		} else {
			s.sole[k.alg] = k
		}
	}
	return s, nil
}

// Lookup implements [KeySet]. It never waits and never fails with [ErrKeysUnavailable].
func (s *StaticKeySet) Lookup(_ context.Context, kid string, alg Algorithm) (*Key, error) {
	alg = alg.one()
	k := s.byID[kid]
	if kid == "" {
		k = s.sole[alg]
	}
	if k == nil || k.alg != alg {
		return nil, ErrUnknownKey
	}
	return k, nil
}

// Len returns the number of keys.
func (s *StaticKeySet) Len() int { return len(s.byID) }

// Skipped returns how many keys [ParseKeySet] found and did not use.
func (s *StaticKeySet) Skipped() int { return len(s.skipped) }
