package issue

import (
	"fmt"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// A ringSet is what the instances share: the keys and the state of each. Exactly
// one is active. In a store it is immutable; plans work on a clone.
type ringSet struct {
	gen  int64 // grows with each change, so that a store that went back is noticed
	keys []storedKey
}

// A storedKey is one key of a ringSet.
type storedKey struct {
	*SigningKey
	state string
	// since is when somebody who had read the key in this state from the store looked
	// at a clock, in milliseconds; 0 until then. It is never the time of a writer, whose
	// Save may arrive much later than it was sent: what is saved was seen by nobody yet.
	since int64
	hurry bool // announced: takes over as soon as it may
}

func (s *ringSet) clone() *ringSet { return &ringSet{s.gen, slices.Clone(s.keys)} }

// find returns the index of the key in that state, or -1.
func (s *ringSet) find(state string) int {
	return slices.IndexFunc(s.keys, func(k storedKey) bool { return k.state == state })
}

func (s *ringSet) named(kid string) int {
	return slices.IndexFunc(s.keys, func(k storedKey) bool { return k.key.ID() == kid })
}

// A plan is what an instance does to a set. It is the same for all of them; whose
// change counts is decided by the store.
type plan struct {
	rotateEvery, ripeAfter, retireFor, maxSkew int64 // in milliseconds
	generate                                   func() (*SigningKey, error)
}

func (c *KeyringConfig) plan() plan {
	return plan{c.RotateEvery.Milliseconds(), c.ripeAfter().Milliseconds(), c.retireFor().Milliseconds(), c.MaxSkew.Milliseconds(),
		func() (*SigningKey, error) { return generateSigningKey(c.Algorithm) }}
}

// first returns the set of an empty store. Its key is active at once: nobody has
// been served a set in which it is missing.
func (p plan) first(key *SigningKey) (*ringSet, error) {
	if key == nil {
		var err error
		if key, err = p.generate(); err != nil {
			return nil, err
		}
	}
	set := &ringSet{gen: 1, keys: []storedKey{{SigningKey: key, state: keyActive}}}
	return set, p.announce(set)
}

// seen notes when states began that were read from the store, and reports whether
// there were any. A time that lies in the future is of a clock that was wrong: the
// wait begins anew.
func (p plan) seen(set *ringSet, now int64) bool {
	changed := false
	for i := range set.keys {
		if k := &set.keys[i]; k.since == 0 || k.since > now+p.maxSkew {
			k.since, changed = now, true
		}
	}
	return changed
}

// advance takes the steps that are due and reports whether there were any. What it
// changes nobody has seen: since is 0.
func (p plan) advance(set *ringSet, now int64) (changed bool, err error) {
	if next := set.find(keyAnnounced); next >= 0 && p.due(set, &set.keys[next], now) {
		p.activate(set, next)
		changed = true
	}
	n := len(set.keys)
	set.keys = slices.DeleteFunc(set.keys, func(k storedKey) bool {
		return k.state == keyRetired && k.since != 0 && now-k.since >= p.retireFor
	})
	changed = changed || len(set.keys) != n
	if set.find(keyAnnounced) < 0 && len(set.keys) < shape.MaxKeys {
		return true, p.announce(set)
	}
	return changed, nil
}

// due reports whether the announced key next may and should take over.
func (p plan) due(set *ringSet, next *storedKey, now int64) bool {
	if next.since == 0 || now-next.since < p.ripeAfter {
		return false
	}
	active := &set.keys[set.find(keyActive)]
	return next.hurry || active.since != 0 && now-active.since >= p.rotateEvery
}

// activate makes the key at i the active one, and retires that which was.
func (p plan) activate(set *ringSet, i int) {
	if old := set.find(keyActive); old >= 0 {
		set.keys[old].state, set.keys[old].since = keyRetired, 0
	}
	set.keys[i] = storedKey{SigningKey: set.keys[i].SigningKey, state: keyActive}
}

// announce adds a new key. There is always one, so that there is something to turn
// to when the active key leaks.
func (p plan) announce(set *ringSet) error {
	key, err := p.generate()
	if err != nil {
		return err
	}
	set.keys = append(set.keys, storedKey{SigningKey: key, state: keyAnnounced})
	return nil
}

// hasten makes the announced key take over as soon as it may.
func (p plan) hasten(set *ringSet) (*token.Key, error) {
	i := set.find(keyAnnounced)
	if i < 0 {
		return nil, fmt.Errorf("%w: %d keys are published: wait until old ones are gone", token.ErrKey, len(set.keys))
	}
	set.keys[i].hurry = true
	return set.keys[i].key, nil
}

// remove deletes a key. If it is the active one, the announced key takes over
// without having waited: the other choice is to sign nothing.
func (p plan) remove(set *ringSet, kid string) error {
	i := set.named(kid)
	if i < 0 {
		return fmt.Errorf("%w: kid %q", token.ErrUnknownKey, kid)
	}
	active := set.keys[i].state == keyActive
	set.keys = slices.Delete(set.keys, i, i+1)
	if !active {
		return nil
	}
	if set.find(keyAnnounced) < 0 {
		if err := p.announce(set); err != nil {
			return err
		}
	}
	p.activate(set, set.find(keyAnnounced))
	return nil
}

// statuses returns what [Keyring.Status] shows.
func (s *ringSet) statuses() []KeyStatus {
	out := make([]KeyStatus, len(s.keys))
	for i, k := range s.keys {
		out[i] = KeyStatus{Key: k.key, State: k.state}
		if k.since != 0 {
			out[i].Since = time.UnixMilli(k.since)
		}
	}
	return out
}
