package token

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// A Keyring holds an issuer's private keys: one signs, all verify. It is the
// [KeySet] of verifiers in the same process, and an [http.Handler] that serves the
// public halves to the others as a JWK Set. Its methods may be called concurrently.
type Keyring struct {
	cfg   KeyringConfig
	mu    sync.Mutex // serialises Rotate and Remove
	state atomic.Pointer[ringState]
}

// KeyringConfig configures a [Keyring].
type KeyringConfig struct {
	// Algorithm is what new keys are for. Empty means [EdDSA]. Symmetric algorithms
	// are refused: a secret cannot be published.
	Algorithm Algorithm

	// MaxAge is how long others may keep the published keys. Zero means 5 min;
	// between 1 s and a day.
	MaxAge time.Duration
}

// A ringState is immutable. Secrets are behind the pointers in signers.
type ringState struct {
	signers []*signingKey // the last one signs
	keys    *StaticKeySet
	jwks    []byte
	etag    string
}

type signingKey struct {
	key    *Key
	signer *jose.Signer
	header []byte // of every token it signs, encoded, with the dot
}

// NewEphemeralKeyring returns a Keyring with one new key, in memory only: after a
// restart nothing it signed verifies, and two instances share nothing. It is for
// demos and tests.
func NewEphemeralKeyring(cfg KeyringConfig) (*Keyring, error) {
	if cfg.Algorithm == "" {
		cfg.Algorithm = EdDSA
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 5 * time.Minute
	}
	switch {
	case !cfg.Algorithm.known():
		return nil, fmt.Errorf("token: KeyringConfig.Algorithm %q is not supported", cfg.Algorithm)
	case cfg.Algorithm.symmetric():
		return nil, fmt.Errorf("token: KeyringConfig.Algorithm %s has no public key: a secret cannot be published", cfg.Algorithm)
	case cfg.MaxAge < time.Second || cfg.MaxAge > 24*time.Hour:
		return nil, errors.New("token: KeyringConfig.MaxAge is not between 1 s and 24 h")
	}
	r := &Keyring{cfg: cfg}
	r.state.Store(&ringState{})
	if _, err := r.Rotate(context.Background()); err != nil {
		return nil, err
	}
	return r, nil
}

// Rotate makes a new key, which signs from now on, and returns its public half. The
// old keys stay published until [Keyring.Remove], so that what they signed goes on
// being accepted.
func (r *Keyring) Rotate(ctx context.Context) (*Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("token: rotating keys: %w", err)
	}
	s, err := newSigningKey(r.cfg.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("token: rotating keys: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.publish(append(slices.Clone(r.state.Load().signers), s)); err != nil {
		return nil, err
	}
	return s.key, nil
}

// Remove forgets the key with that kid and stops publishing it. What it signed is
// refused as soon as verifiers have read the keys again. To end its tokens at
// once, revoke its thumbprint too. The key that signs cannot be removed:
// [Keyring.Rotate] first.
func (r *Keyring) Remove(ctx context.Context, kid string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("token: removing a key: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	signers := r.state.Load().signers
	i := slices.IndexFunc(signers, func(s *signingKey) bool { return s.key.id == kid })
	switch i {
	case -1:
		return fmt.Errorf("token: removing a key: %w: kid %q", ErrUnknownKey, kid)
	case len(signers) - 1:
		return fmt.Errorf("token: removing a key: kid %q signs: rotate first", kid)
	}
	return r.publish(slices.Delete(slices.Clone(signers), i, i+1))
}

// publish replaces the state. r.mu is held.
func (r *Keyring) publish(signers []*signingKey) error {
	if len(signers) > maxKeys {
		return fmt.Errorf("token: %w: more than %d keys in a ring: remove old ones", ErrKey, maxKeys)
	}
	next := &ringState{signers: signers}
	keys := make([]*Key, len(signers))
	jwks := []byte(`{"keys":[`)
	for i, s := range signers {
		keys[i] = s.key
		if i > 0 {
			jwks = append(jwks, ',')
		}
		jwks = append(jwks, s.key.jwk...)
	}
	next.jwks = append(jwks, `]}`...)
	sum := sha256.Sum256(next.jwks)
	next.etag = `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	var err error
	if next.keys, err = NewStaticKeySet(keys...); err != nil {
		return err
	}
	r.state.Store(next)
	return nil
}

func newSigningKey(alg Algorithm) (*signingKey, error) {
	signer, err := jose.GenerateSigner(string(alg))
	if err != nil {
		return nil, err
	}
	key, err := NewKey("", alg, signer.Public())
	if err != nil {
		return nil, err
	}
	kid, err := strictjson.AppendText(nil, key.id)
	if err != nil {
		return nil, err
	}
	header := fmt.Sprintf(`{"alg":"%s","typ":"at+jwt","kid":%s}`, alg, kid)
	return &signingKey{key, signer, append(base64.RawURLEncoding.AppendEncode(nil, []byte(header)), '.')}, nil
}

// sign returns the token with that payload, and the key it is signed with.
func (s *signingKey) sign(payload []byte) (string, error) {
	raw := base64.RawURLEncoding.AppendEncode(slices.Clone(s.header), payload)
	signature, err := s.signer.Sign(raw)
	if err != nil {
		return "", err
	}
	return string(base64.RawURLEncoding.AppendEncode(append(raw, '.'), signature)), nil
}

func (r *Keyring) active() *signingKey {
	signers := r.state.Load().signers
	return signers[len(signers)-1]
}

// Active returns the public half of the key that signs.
func (r *Keyring) Active() *Key { return r.active().key }

// Lookup implements [KeySet].
func (r *Keyring) Lookup(ctx context.Context, kid string, alg Algorithm) (*Key, error) {
	return r.state.Load().keys.Lookup(ctx, kid, alg)
}

// ServeHTTP serves the public keys as a JWK Set (RFC 7517 section 5), to GET and HEAD.
func (r *Keyring) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	s := r.state.Load()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(r.cfg.MaxAge/time.Second)))
	h.Set("ETag", s.etag)
	http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(s.jwks))
}

// String names the key that signs.
func (r *Keyring) String() string {
	return fmt.Sprintf("token.Keyring{active: %s, keys: %d}", r.Active(), len(r.state.Load().signers))
}

// GoString returns [Keyring.String].
func (r *Keyring) GoString() string { return r.String() }

// LogValue logs the public half of the key that signs, and the number of keys.
func (r *Keyring) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("active", r.Active()), slog.Int("keys", len(r.state.Load().signers)))
}
