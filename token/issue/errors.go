package issue

import (
	"errors"
	"fmt"

	"github.com/hybridtoken/hybridtoken/token"
)

// Errors of issuing. Those of keys are [token.ErrKey]; a ring that
// has lost its store, or all of whose keys are revoked, is [token.ErrKeysUnavailable].
var (
	// ErrIssue: nothing was signed.
	ErrIssue = errors.New("token not issued")
	// ErrRequest: a [Request] that cannot be met; asking again is useless. It is of the
	// family [ErrIssue].
	ErrRequest = fmt.Errorf("%w as asked", ErrIssue)
)

// Errors of the store of a shared [Keyring].
var (
	// ErrStore is the family of errors of reading and writing a ring in its [Store], and
	// of a [FileStore].
	ErrStore = errors.New("key store failed")
	// ErrStoreCorrupt: the store holds what is no ring, was damaged or tampered with, is
	// another issuer's, or is not sealed by any of our keys. Nothing of it is used.
	ErrStoreCorrupt = fmt.Errorf("%w: not a ring of ours", ErrStore)
)

// keyError puts an error of package jose into the family of package token.
func keyError(err error) error { return fmt.Errorf("issue: %w: %w", token.ErrKey, err) }
