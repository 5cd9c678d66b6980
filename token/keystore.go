package token

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"
)

// A KeyStore keeps the ring that the instances of a service share, as one value of
// at most 1 MiB that is replaced by compare-and-set. What it keeps are private keys,
// sealed or not: see [KeyringConfig].SealKeys. Implementations are safe for
// concurrent use.
//
// Both methods return when ctx ends, at the latest; they are called with a deadline
// of 10 s. They must agree with each other: Load returns what the last Save that
// succeeded anywhere has written, and never anything older. So read from a leader,
// not from a replica or a cache. Times are safe even if a Save that failed, or that
// nobody waits for any more, takes effect later.
type KeyStore interface {
	// Load returns the value and its revision, which is never empty and never that of
	// another value. If there is no value yet, blob and revision are empty.
	Load(ctx context.Context) (blob []byte, revision string, err error)

	// Save replaces the value if its revision is still that one, and creates it if
	// revision is empty and there is none. Otherwise it changes nothing and returns
	// an error that matches [ErrKeyStoreConflict]. It returns nil only when the value
	// will survive a restart of the store. It may not keep blob.
	Save(ctx context.Context, blob []byte, revision string) error
}

// A MemoryStore is a [KeyStore] in memory, for tests. The zero value is empty and
// ready.
type MemoryStore struct {
	value atomic.Pointer[memoryValue]
}

type memoryValue struct {
	blob     []byte
	revision string
}

// Load implements [KeyStore].
func (m *MemoryStore) Load(ctx context.Context) (blob []byte, revision string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", fmt.Errorf("token: %w: %w", ErrKeyStore, err)
	}
	v := m.value.Load()
	if v == nil {
		return nil, "", nil
	}
	return slices.Clone(v.blob), v.revision, nil
}

// Save implements [KeyStore].
func (m *MemoryStore) Save(ctx context.Context, blob []byte, revision string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("token: %w: %w", ErrKeyStore, err)
	}
	old := m.value.Load()
	if old == nil && revision != "" || old != nil && revision != old.revision ||
		!m.value.CompareAndSwap(old, &memoryValue{slices.Clone(blob), rand.Text()}) {
		return fmt.Errorf("token: %w", ErrKeyStoreConflict)
	}
	return nil
}
