package issue

import (
	"errors"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// afterCutoffs is when a token would have to be issued so that no cutoff covers it: only
// an event that names the key revokes what is asked about then.
var afterCutoffs = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// revoked reports whether the List holds k as revoked.
func (r *Keyring) revoked(k *token.Key) bool {
	if r.cfg.Revocations == nil {
		return false
	}
	id := revoke.Identity{Issuer: r.cfg.Issuer, Key: k.Thumbprint(), IssuedAt: afterCutoffs}
	return errors.Is(r.cfg.Revocations.Check(revoke.Now(), &id, revoke.InsecureAllow()), revoke.ErrRevoked)
}

// anyRevoked reports whether s holds a key that is revoked.
func (r *Keyring) anyRevoked(s *ringState) bool {
	for i := range s.statuses {
		if r.revoked(s.statuses[i].Key) {
			return true
		}
	}
	return false
}

// current returns the state, without the keys that the List has learned to be revoked
// since it was made. The store follows in the background.
func (r *Keyring) current() *ringState {
	s := r.state.Load()
	if r.shared == nil || r.cfg.Revocations == nil || !r.anyRevoked(s) {
		return s
	}
	s, tell := r.prune()
	tell()
	select {
	case r.shared.kick <- struct{}{}:
	default: // it has been told
	}
	return s
}

// prune makes the state anew of the set that it is of.
func (r *Keyring) prune() (s *ringState, tell func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.state.Load()
	s, err := r.stateOf(old.set)
	if err != nil { // the same keys or fewer: it was possible before
		return old, func() {}
	}
	s.at = old.at
	r.state.Store(s)
	return s, func() { r.tell(old, s) }
}

// stateOf returns the state for what the store holds, without the keys that are revoked.
// If the active key is, the announced one signs, which others do not have to have seen in
// the store: every instance that knows of the revocation makes the same choice.
func (r *Keyring) stateOf(set *ringSet) (*ringState, error) {
	live := set.clone()
	for i := len(live.keys) - 1; i >= 0; i-- {
		if r.revoked(live.keys[i].key) {
			live.keys = append(live.keys[:i], live.keys[i+1:]...)
		}
	}
	signs := live.find(keyActive)
	if signs < 0 {
		if signs = live.find(keyAnnounced); signs >= 0 {
			live.keys[signs].state, live.keys[signs].since = keyActive, 0
		}
	}
	key, dead := set.keys[set.find(keyActive)].SigningKey, signs < 0
	if !dead {
		key = live.keys[signs].SigningKey
	}
	s, err := newRingState(key, live.statuses())
	if err != nil {
		return nil, err
	}
	s.set, s.dead = set, dead
	return s, nil
}

// dropRevoked removes the keys that are revoked from a set, for good, and reports whether
// there were any.
func (p plan) dropRevoked(set *ringSet, revoked func(*token.Key) bool) (changed bool, err error) {
	active := set.keys[set.find(keyActive)].key
	for i := len(set.keys) - 1; i >= 0; i-- { // the active one last: none of the others is to take over
		if k := set.keys[i].key; k != active && revoked(k) {
			set.keys = append(set.keys[:i], set.keys[i+1:]...)
			changed = true
		}
	}
	if !revoked(active) {
		return changed, nil
	}
	return true, p.remove(set, active.ID())
}
