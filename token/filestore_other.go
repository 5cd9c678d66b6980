//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
)

var errNoFileStore = fmt.Errorf("token: %w: no FileStore on this system: %w", ErrKeyStore, errors.ErrUnsupported)

func checkDirectory(string) error { return errNoFileStore }

// Load implements [Store].
func (f *FileStore) Load(context.Context, string) (recordstore.Record, error) {
	return recordstore.Record{}, errNoFileStore
}

// Save implements [Store].
func (f *FileStore) Save(context.Context, string, []byte, uint64, time.Time) (uint64, error) {
	return 0, errNoFileStore
}
