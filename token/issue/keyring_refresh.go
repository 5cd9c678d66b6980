package issue

import (
	"context"
	"fmt"
)

// Refresh reads the store now instead of within RefreshInterval, and follows what other
// instances have done: call it on each of them after [Keyring.Remove] on one, or they
// go on signing with the key that leaked until they read the store by themselves. In a
// ring without a store it does nothing. A store on JetStream shows for up to half a minute
// what was before the removal, if it asks a leader that was deposed: look at
// [Keyring.Status], and ask again. The error matches [ErrStore] if the store
// failed; the ring then goes on as before, and tries again.
func (r *Keyring) Refresh(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("issue: reading the keyring: %w", err)
	}
	if r.shared == nil {
		return nil
	}
	if r.shared.ctx.Err() != nil {
		return fmt.Errorf("issue: reading the keyring: %w", errRingClosed)
	}
	if err := r.refresh(ctx, nil); err != nil {
		return fmt.Errorf("issue: reading the keyring: %w", err)
	}
	r.shared.err.Store(nil)
	return nil
}
