package refresh

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// relist is for a session that lives and is not in its subject's list, because the
// store has lost the list or an instance whose clock is far off has taken it for over. A
// logout everywhere did not find it if it came since, and would not if it came now.
func (m *Manager) relist(ctx context.Context, r *session, sub *subject) error {
	if r.AuthTime <= sub.Cutoff {
		// An old answer of the store convicts nobody: no login with that AuthTime joins a
		// list with that cutoff, and what a logout kept is in the list that it wrote.
		ctx, cancel := m.after(ctx)
		defer cancel()
		switch ended, err := m.end(ctx, r.SID, ending{reason: "logout everywhere", publish: true}); {
		case ended == nil:
			return err
		case err != nil:
			return fmt.Errorf("%w: %w", ErrEnded, withoutFamily{err})
		}
		return ErrEnded
	}
	m.log.Warn("refresh: session was missing in its subject's list", "sid", r.SID)
	next, err := *sub, error(nil)
	if next.Live, err = m.room(ctx, sub.Live, m.millis()); err != nil {
		return err
	}
	next.Live = append(next.Live, live{SID: r.SID, Until: r.Until})
	slices.SortStableFunc(next.Live, func(a, b live) int { return cmp.Compare(a.Until, b.Until) }) // oldest first
	return m.save(ctx, &next)
}
