package token

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// A StaticKeySet is a [KeySet] that never changes. A key is named by its kid and its
// algorithm: one kid may stand for several keys, each for another algorithm.
type StaticKeySet struct {
	number  uint64             // of no other set; 0: it has none
	byID    map[string][]*Key  // each for another algorithm
	sole    map[Algorithm]*Key // the one key for an algorithm, nil if there are several
	skipped []skippedKey       // what [ParseKeySet] did not use
}

// A skippedKey is a key of a published set that is not used.
type skippedKey struct {
	n   int    // its place in the set, from 1
	kid string // empty if it has none that can be read
	why string // without kid
	bad bool   // a mistake, not a key for others
}

func (s skippedKey) String() string { return fmt.Sprintf("key %d: %s", s.n, s.why) }

// sets counts them.
var sets atomic.Uint64

// NewStaticKeySet returns the set of those keys. The error matches [ErrKey] if there
// is none, if two different ones have the same kid and algorithm, or if one is a secret
// beside public keys. A key that is given twice is one.
func NewStaticKeySet(keys ...*Key) (*StaticKeySet, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("token: %w: a set without keys", ErrKey)
	}
	s := &StaticKeySet{number: sets.Add(1), byID: make(map[string][]*Key, len(keys)), sole: make(map[Algorithm]*Key)}
	for i, k := range keys {
		if k == nil || k.verifier == nil {
			return nil, fmt.Errorf("token: %w: key %d is empty", ErrKey, i)
		}
		other := s.find(k.id, k.alg)
		switch {
		case k.alg.symmetric() != keys[0].alg.symmetric():
			return nil, fmt.Errorf("token: %w: a secret beside public keys", ErrKey)
		case other != nil && other.thumbprint != k.thumbprint:
			return nil, fmt.Errorf("token: %w: two keys with kid %q for %s", ErrKey, k.id, k.alg)
		case other != nil:
			continue
		}
		s.byID[k.id] = append(s.byID[k.id], k)
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
	if k := s.find(kid, alg.one()); k != nil {
		return k, nil
	}
	return nil, s.unknown(kid)
}

// find returns the key of that name, or nil.
func (s *StaticKeySet) find(kid string, alg Algorithm) *Key {
	if kid == "" {
		return s.sole[alg]
	}
	for _, k := range s.byID[kid] {
		if k.alg == alg {
			return k
		}
	}
	return nil
}

// is reports whether s is the set with that number.
func (s *StaticKeySet) is(number uint64) bool { return s != nil && s.number == number && number != 0 }

// all calls yield for each key.
func (s *StaticKeySet) all(yield func(*Key) bool) {
	for _, keys := range s.byID {
		for _, k := range keys {
			if !yield(k) {
				return
			}
		}
	}
}

// An unusedKey is an [ErrUnknownKey] of a key that was published and is not used. It
// says why, and shows nothing of the token.
type unusedKey struct{ skippedKey }

func (u *unusedKey) Error() string { return ErrUnknownKey.Error() + ": " + u.String() + ": not used" }
func (u *unusedKey) Unwrap() error { return ErrUnknownKey }

// unknown returns the error for a key of that kid that is not in the set.
func (s *StaticKeySet) unknown(kid string) error {
	if kid != "" && s != nil {
		for _, k := range s.skipped {
			if k.kid == kid {
				return &unusedKey{k}
			}
		}
	}
	return ErrUnknownKey
}

// unknownKey returns err, of a KeySet, as the error of a token: with the reason if that
// is ours to know.
func unknownKey(err error) error {
	if why := (*unusedKey)(nil); errors.As(err, &why) {
		return fmt.Errorf("token: %w", why)
	}
	return fmt.Errorf("token: %w", ErrUnknownKey)
}

// reasons returns why keys are not used, one line a key.
func (s *StaticKeySet) reasons() []string {
	var all []string
	for _, k := range s.skipped {
		all = append(all, k.String())
	}
	return all
}

// Len returns the number of keys.
func (s *StaticKeySet) Len() int {
	n := 0
	for range s.all {
		n++
	}
	return n
}

// Skipped returns how many keys [ParseKeySet] found and did not use.
func (s *StaticKeySet) Skipped() int { return len(s.skipped) }
