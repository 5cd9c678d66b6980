package issue

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
	"github.com/hybridtoken/hybridtoken/token/internal/placeholder"
)

// A SealKey encrypts a stored [Keyring] (AES-256-GCM). It never shows the key. It is
// immutable and safe for concurrent use.
type SealKey struct {
	id   string
	aead cipher.AEAD // an interface: the fmt verbs that ignore String show its address
}

// NewSealKey returns the SealKey of 32 random bytes, which belong in a secret
// manager and not beside the store. id is stored in the clear and says which key
// sealed a ring: 1 to 64 visible ASCII characters, a new one for each new key. Two
// keys with one id are taken for one. Rings of several issuers may have one key, since
// what is sealed for one opens as no other; give the test system keys of its own.
func NewSealKey(id string, key []byte) (*SealKey, error) {
	switch {
	case id == "" || len(id) > 64 || slices.ContainsFunc([]byte(id), func(c byte) bool { return c <= ' ' || c > '~' }):
		return nil, fmt.Errorf("issue: %w: the id of a seal key is not 1 to 64 visible ASCII characters", token.ErrKey)
	case len(key) != 32:
		return nil, fmt.Errorf("issue: %w: %w: a seal key of %d bytes, not 32", token.ErrKey, jose.ErrWeak, len(key))
	case len(slices.Compact(slices.Clone(key))) == 1:
		return nil, fmt.Errorf("issue: %w: %w: a seal key of one byte repeated", token.ErrKey, jose.ErrWeak)
	}
	if what := placeholder.StandsFor(key); what != "" {
		return nil, fmt.Errorf("issue: %w: the seal key is %s", token.ErrKey, what)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("issue: %w: seal key: %w", token.ErrKey, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("issue: %w: seal key: %w", token.ErrKey, err)
	}
	return &SealKey{id, aead}, nil
}

// bound is the additional data: what is sealed for one issuer's ring, in one record, under
// this id, opens as nothing else. Lengths keep one triple from reading like another.
func (k *SealKey) bound(issuer, record string) []byte {
	return fmt.Appendf(nil, "hybridtoken keyring, version 2, issuer %d:%s, record %d:%s, seal key %d:%s",
		len(issuer), issuer, len(record), record, len(k.id), k.id)
}

// formerBound is the same in the first version, which bound a ring to no issuer.
func (k *SealKey) formerBound() []byte {
	return fmt.Appendf(nil, "hybridtoken keyring, version 1, seal key %d:%s", len(k.id), k.id)
}

func (k *SealKey) seal(plain, bound []byte) []byte { return k.aead.Seal(nil, nil, plain, bound) }

func (k *SealKey) open(box, bound []byte) ([]byte, error) {
	plain, err := k.aead.Open(nil, nil, box, bound)
	if err != nil {
		return nil, errors.New("seal broken")
	}
	return plain, nil
}

// String returns the id.
func (k SealKey) String() string { return fmt.Sprintf("issue.SealKey{id: %q}", k.id) }

// GoString returns [SealKey.String].
func (k SealKey) GoString() string { return k.String() }

// LogValue logs the id.
func (k SealKey) LogValue() slog.Value { return slog.GroupValue(slog.String("id", k.id)) }
