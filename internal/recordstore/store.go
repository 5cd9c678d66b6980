// Package recordstore declares the one store of records that this module has, for
// sessions and for keyrings. Its names are exported as aliases: by package refresh all of
// them, and by the package that holds keyrings those that keyrings need.
package recordstore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Store is what package refresh documents as refresh.Store.
type Store interface {
	// Load returns the record under key.
	Load(ctx context.Context, key string) (Record, error)
	// Save replaces the record under key if its revision is still that one.
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

var (
	ErrNotFound = errors.New("record not found")
	ErrConflict = errors.New("record has changed")
)

// Never is the expiry of a record that is kept until it is replaced: the last second of
// the year 9999. It is a time like others, so that a store that knows of no records
// without an end holds one, too.
var Never = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Check returns an error for a key or a value that no [Store] has to take.
func Check(key string, value []byte) error {
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
