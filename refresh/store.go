package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Store keeps the records of sessions and subjects. It knows nothing of what is in
// them: it is a map of bytes whose every write is a compare-and-set, and that
// compare-and-set is what decides between concurrent uses of one refresh token
// (invariant 8). [MemoryStore] and package natskv are Stores; package storetest tests
// whether another one is.
//
// Keys are at most [MaxKeyBytes] of A–Z, a–z, 0–9, "-", "_" and "."; they neither begin
// nor end with a dot nor hold two in a row. Values are at most [MaxValueBytes]. A Store
// keeps neither the slices given to it nor those it has returned. Its methods are called
// concurrently, from every instance of the service; ctx bounds them.
type Store interface {
	// Load returns the record under key. The error matches [ErrNotFound] if there is
	// none; a record that has expired may still be shown. It should see every write that
	// was acknowledged before it began: an old answer makes honest clients try again, and
	// one that a record of half a minute ago does not exist has them log in again. All
	// else is decided by Save.
	Load(ctx context.Context, key string) (Record, error)

	// Save writes value under key if the record there still has the given revision;
	// zero means: if there is no record. It returns the new revision, which is greater
	// than zero and was never that of an earlier value of this key.
	//
	// The error matches [ErrConflict] if, and only if, nothing was written and nothing
	// ever will be by this call. After any other error the write may have happened, or
	// may happen still: the caller finds out by reading.
	//
	// The record may be forgotten once expires has passed, by any clock that is right
	// within minutes, and never earlier. Each Save sets it anew.
	Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error)
}

// A Record is what a [Store] holds under a key.
type Record struct {
	Value    []byte
	Revision uint64 // changes with every Save
}

const (
	MaxKeyBytes   = 64        // of a key given to a Store
	MaxValueBytes = 128 << 10 // of a value given to a Store
)

// What a [Store] answers. Any other error means that it could not do its work.
var (
	ErrNotFound = errors.New("record not found")
	ErrConflict = errors.New("record has changed")
)

// CheckRecord returns an error for a key or a value that no [Store] has to take: for
// those who write one.
func CheckRecord(key string, value []byte) error {
	switch {
	case key == "" || len(key) > MaxKeyBytes:
		return fmt.Errorf("key of %d bytes, not between 1 and %d", len(key), MaxKeyBytes)
	case len(value) > MaxValueBytes:
		return fmt.Errorf("value of %d bytes, more than %d", len(value), MaxValueBytes)
	}
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.' && i > 0 && i < len(key)-1 && key[i-1] != '.':
		default:
			return fmt.Errorf("key with a %q at %d", c, i)
		}
	}
	return nil
}
