//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package token

import (
	"context"
	"errors"
	"fmt"
)

var errNoFileStore = fmt.Errorf("token: %w: no FileStore on this system: %w", ErrKeyStore, errors.ErrUnsupported)

func checkDirectory(string) error { return errNoFileStore }

// Load implements [KeyStore].
func (f *FileStore) Load(context.Context) (blob []byte, revision string, err error) {
	return nil, "", errNoFileStore
}

// Save implements [KeyStore].
func (f *FileStore) Save(context.Context, []byte, string) error { return errNoFileStore }
