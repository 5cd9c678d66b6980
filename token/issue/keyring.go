package issue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
	"github.com/hybridtoken/hybridtoken/token/internal/own"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// A Keyring holds an issuer's private keys: one signs, all verify. It is the
// [token.KeySet] of verifiers in the same process, and an [http.Handler] that serves the
// public halves to the others as a JWK Set. Its methods may be called concurrently.
//
// [OpenKeyring] shares a ring among all instances of a service and rotates it;
// [NewKeyring] holds keys that are managed elsewhere, in a KMS for example, or
// secrets; [NewEphemeralKeyring] is for demos and tests.
type Keyring struct {
	cfg    KeyringConfig
	fixed  bool        // by NewKeyring
	shared *sharedRing // by OpenKeyring, or nil
	mu     sync.Mutex  // serialises what replaces state
	state  atomic.Pointer[ringState]
}

// A ringState is immutable. Secrets are behind the pointers to SigningKeys.
type ringState struct {
	signs    *SigningKey
	statuses []KeyStatus
	keys     *token.StaticKeySet
	jwks     []byte // nil if the keys are secrets
	etag     string

	set  *ringSet       // what the store holds, in a shared ring
	at   revoke.Instant // before it was read
	dead bool           // every key that could sign is revoked; signs is what signed last
}

// A key is announced before it signs, so that every verifier knows it by then, and
// goes on being published after it has signed, until every token it signed has
// expired.
const (
	keyAnnounced = "announced"
	keyActive    = "active"
	keyRetired   = "retired"
)

// A KeyStatus tells of one key of a ring, which is published.
type KeyStatus struct {
	Key *token.Key
	// State is "announced", so that every verifier knows the key before it signs; "active",
	// which signs; "retired", until every token it signed has expired; or empty, given to
	// NewKeyring to be published.
	State string
	// Since is when the key was first seen in that state in the store; the zero time if
	// that is yet to happen, and in a ring without a store.
	Since time.Time
}

// A KeyringStatus tells how a ring is.
type KeyringStatus struct {
	Keys []KeyStatus
	// Loaded is when the keys were last read from the store; zero without a store.
	Loaded time.Time
	// SealedBy is the id of the [SealKey] that had sealed what was last read from the store.
	// Empty if nothing had, and without a store.
	SealedBy string
	// Err is why they could not be read since; nil if the last attempt succeeded. It
	// matches [token.ErrKeysUnavailable] once the ring has stopped signing: then the service is
	// not ready.
	Err error
}

// NewEphemeralKeyring returns a Keyring with one new key, in memory only: after a
// restart nothing it signed verifies, and two instances share nothing. It is for
// demos and tests. Of cfg it takes Algorithm and MaxAge.
func NewEphemeralKeyring(cfg KeyringConfig) (*Keyring, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Keyring{cfg: cfg}
	r.state.Store(&ringState{})
	if _, err := r.Rotate(context.Background()); err != nil {
		return nil, err
	}
	return r, nil
}

// NewKeyring returns a Keyring that signs with active and publishes the other keys
// beside it. Nothing in it ever changes: it is for keys that cannot be stored or
// that somebody else manages. Of cfg it takes MaxAge.
//
// To rotate such keys without a gap, deploy three times: first publish the next key
// among others, and wait for twice MaxAge; then sign with it and publish the old one;
// then, when the last token of the old one has expired (its lifetime, and 10 min for
// the leeway of verifiers and for clocks), leave that out.
//
// A ring of secrets ([NewSigningSecret], others by [token.NewSecretKey]) serves no JWK Set:
// its ServeHTTP answers 404. Secrets beside public keys are refused, and two keys
// with one kid; the error matches [token.ErrKey].
func NewKeyring(cfg KeyringConfig, active *SigningKey, others ...*token.Key) (*Keyring, error) {
	if active == nil || active.key == nil {
		return nil, fmt.Errorf("issue: %w: NewKeyring: no active key", token.ErrKey)
	}
	cfg.Algorithm = "" // of new keys, of which there will be none
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	statuses := []KeyStatus{{Key: active.key, State: keyActive}}
	for _, k := range others {
		statuses = append(statuses, KeyStatus{Key: k})
	}
	s, err := newRingState(active, statuses)
	if err != nil {
		return nil, err
	}
	r := &Keyring{cfg: cfg, fixed: true}
	r.state.Store(s)
	return r, nil
}

// newRingState returns the state for these keys, of which signs is one, if there are any.
func newRingState(signs *SigningKey, statuses []KeyStatus) (*ringState, error) {
	if len(statuses) > shape.MaxKeys {
		return nil, fmt.Errorf("issue: %w: more than %d keys in a ring: remove old ones", token.ErrKey, shape.MaxKeys)
	}
	s := &ringState{signs: signs, statuses: statuses}
	keys := make([]*token.Key, len(statuses))
	for i, k := range statuses {
		keys[i] = k.Key
		if slices.ContainsFunc(keys[:i], func(other *token.Key) bool { return k.Key != nil && other.ID() == k.Key.ID() }) { // Remove goes by kid
			return nil, fmt.Errorf("issue: %w: two keys with kid %q", token.ErrKey, k.Key.ID())
		}
	}
	var err error
	if len(keys) == 0 { // all are revoked
		s.keys = new(token.StaticKeySet)
	} else if s.keys, err = token.NewStaticKeySet(keys...); err != nil {
		return nil, err
	}
	if jose.Symmetric(string(signs.key.Algorithm())) {
		return s, nil
	}
	jwks := []byte(`{"keys":[`)
	for i, k := range keys {
		if i > 0 {
			jwks = append(jwks, ',')
		}
		jwks = append(jwks, own.JWK(k)...)
	}
	s.jwks = append(jwks, `]}`...)
	sum := sha256.Sum256(s.jwks)
	s.etag = `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	return s, nil
}

// Rotate brings on the next key and returns its public half.
//
// In a ring with a store the key that was announced takes over, at once if it has
// been announced for long enough and otherwise as soon as it has; the old key
// retires and another is announced. The error matches [ErrStore] if the store
// failed: whether the change was saved is then unknown, and trying again may rotate
// twice, which harms nobody.
//
// In an ephemeral ring a new key signs from now on, and the old keys stay published
// until [Keyring.Remove]. A ring by NewKeyring cannot rotate.
func (r *Keyring) Rotate(ctx context.Context) (*token.Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("issue: rotating keys: %w", err)
	}
	if r.fixed {
		return nil, fmt.Errorf("issue: rotating keys: %w: the ring's keys are managed elsewhere", token.ErrKey)
	}
	if r.shared != nil {
		return r.rotateShared(ctx)
	}
	s, err := generateSigningKey(r.cfg.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("issue: rotating keys: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	statuses := slices.Clone(r.state.Load().statuses)
	for i := range statuses {
		statuses[i].State = keyRetired
	}
	if err := r.publish(s, append(statuses, KeyStatus{Key: s.key, State: keyActive})); err != nil {
		return nil, err
	}
	return s.key, nil
}

// Remove forgets the key with that kid and stops publishing it, whatever it has
// signed: it is for a key that leaked, and for nothing else in a ring with a store,
// which drops keys by itself. Tokens of that key are refused as soon as verifiers
// have read the keys again. To end them at once, publish [token.Key.Revocation] first.
//
// In a ring with a store, when the key that signs is removed the announced one takes
// over in the same step; the other instances follow within RefreshInterval, or by
// [Keyring.Refresh]. What they sign until then is refused with the rest once the event
// is out, and its clients need new tokens. If that key was announced a short time ago, which takes a second emergency, verifiers that do not ask again for
// a kid they do not know refuse its tokens for up to MaxAge. A thief of the store has
// all its keys: remove every one of them.
//
// Elsewhere the key that signs cannot be removed: [Keyring.Rotate] first. The error
// matches [token.ErrUnknownKey] if there is no such key, and [ErrStore] if the store
// failed: try again.
func (r *Keyring) Remove(ctx context.Context, kid string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("issue: removing a key: %w", err)
	}
	if r.fixed {
		return fmt.Errorf("issue: removing a key: %w: the ring's keys are managed elsewhere", token.ErrKey)
	}
	if r.shared != nil {
		return r.removeShared(ctx, kid)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state.Load()
	i := slices.IndexFunc(s.statuses, func(k KeyStatus) bool { return k.Key.ID() == kid })
	switch {
	case i < 0:
		return fmt.Errorf("issue: removing a key: %w: kid %q", token.ErrUnknownKey, kid)
	case s.statuses[i].Key == s.signs.key:
		return fmt.Errorf("issue: removing a key: kid %q signs: rotate first", kid)
	}
	return r.publish(s.signs, slices.Delete(slices.Clone(s.statuses), i, i+1))
}

// publish replaces the state. r.mu is held.
func (r *Keyring) publish(signs *SigningKey, statuses []KeyStatus) error {
	s, err := newRingState(signs, statuses)
	if err == nil {
		r.state.Store(s)
	}
	return err
}

// signing returns the key that signs now.
func (r *Keyring) signing() (*SigningKey, error) {
	s := r.current()
	return s.signs, r.signable(s)
}

// signable reports whether s has a key that may sign.
func (r *Keyring) signable(s *ringState) error {
	if s.dead {
		return fmt.Errorf("issue: %w: every key that could sign is revoked", token.ErrKeysUnavailable)
	}
	return r.usable(s)
}

// Active returns the public half of the key that signs, or of that which did until it was
// revoked and none could take over.
func (r *Keyring) Active() *token.Key { return r.current().signs.key }

// Status returns how the ring is, for a page of the operator's or a readiness probe.
func (r *Keyring) Status() KeyringStatus {
	s := r.current()
	status := KeyringStatus{Keys: slices.Clone(s.statuses)}
	if r.shared != nil {
		status.Loaded, status.SealedBy = s.at.Time(), r.shared.last.Load().sealer
		if status.Err = r.signable(s); status.Err == nil {
			status.Err = r.shared.failure()
		}
	}
	return status
}

// Lookup implements [token.KeySet]. It never waits. It fails with [token.ErrKeysUnavailable] only
// in a ring that has lost its store for too long.
func (r *Keyring) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	s := r.state.Load()
	if err := r.usable(s); err != nil {
		return nil, err
	}
	return s.keys.Lookup(ctx, kid, alg)
}

// ServeHTTP serves the public keys as a JWK Set (RFC 7517 section 5), to GET and
// HEAD. It answers 404 if the keys are secrets, and 503 if the ring has lost its
// store for too long to say which keys are in use, or if all of them are revoked.
func (r *Keyring) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	s := r.current()
	switch {
	case s.jwks == nil:
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNotFound)
		return
	case req.Method != http.MethodGet && req.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case len(s.statuses) == 0 || r.usable(s) != nil:
		h.Set("Cache-Control", "no-store")
		h.Set("Retry-After", strconv.Itoa(int(max(r.cfg.RefreshInterval, time.Second)/time.Second)))
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(r.cfg.MaxAge/time.Second)))
	h.Set("ETag", s.etag)
	http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(s.jwks))
}

// Close ends the background work of a ring with a store and waits for it; nothing of
// another ring. The ring goes on signing and verifying for as long as it does when
// its store fails, so that requests under way end well, but cannot be changed. Further
// calls do nothing. The error is always nil.
func (r *Keyring) Close() error {
	if r.shared != nil {
		r.shared.close()
	}
	return nil
}

// String names the key that signs.
func (r *Keyring) String() string {
	return fmt.Sprintf("issue.Keyring{active: %s, keys: %d}", r.Active(), len(r.state.Load().statuses))
}

// GoString returns [Keyring.String].
func (r *Keyring) GoString() string { return r.String() }

// LogValue logs the public half of the key that signs, and the number of keys.
func (r *Keyring) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("active", r.Active()), slog.Int("keys", len(r.state.Load().statuses)))
}
