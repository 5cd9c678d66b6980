package refresh

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// room returns the list without what is over, and with room for one more.
func (m *Manager) room(ctx context.Context, list []live, now int64) ([]live, error) {
	left := make([]live, 0, len(list)+1)
	for _, l := range list {
		if now <= l.Until+m.skew {
			left = append(left, l)
		}
	}
	if len(left) < m.cfg.MaxSessions {
		return left, nil
	}
	found := make([]*session, len(left)) // with the element of left in the same place
	failed := make([]error, len(left))
	index := make([]int, len(left))
	for i := range index {
		index[i] = i
	}
	each(m.parallel, index, func(i int) {
		found[i], failed[i] = m.loadSession(ctx, left[i].SID)
		if errors.Is(failed[i], ErrNotFound) {
			found[i], failed[i] = m.forgotten(left[i].SID), nil
		}
	})
	remove := func(i int) {
		left, found = slices.Delete(left, i, i+1), slices.Delete(found, i, i+1)
	}
	var unread []live // they keep their places
	for i := len(left) - 1; i >= 0; i-- {
		switch {
		case failed[i] != nil:
			unread = append(unread, left[i])
			remove(i)
		case found[i].Ended != 0:
			remove(i)
		}
	}
	most := m.cfg.MaxSessions - len(unread)
	if most < 1 {
		return nil, errors.Join(failed...)
	}
	for i := 0; len(left) >= most && i < len(left); {
		switch over, err := m.endExpired(ctx, found[i], now); {
		case err != nil:
			return nil, err
		case over:
			remove(i)
		default:
			i++
		}
	}
	for len(left) >= most {
		idlest := 0 // of two that were used at the same time the first that was begun
		for i := range found {
			if found[i].Used < found[idlest].Used {
				idlest = i
			}
		}
		switch ended, err := m.end(ctx, left[idlest].SID, ending{reason: "too many sessions", publish: true}); {
		case ended == nil: // it would be found by no logout everywhere
			return nil, err
		case err != nil:
			m.log.Warn("refresh: session ended, and the services do not know it yet", "sid", left[idlest].SID, "error", err)
		}
		remove(idlest)
	}
	if len(unread) > 0 {
		left = append(left, unread...)
		slices.SortStableFunc(left, func(a, b live) int { return cmp.Compare(a.Until, b.Until) })
	}
	return left, nil
}

// endExpired ends a session that was idle for too long or is forgotten, and says whether it
// did. The compare-and-set decides, no answer of the store: a session that left the list
// and lived would be found by no logout everywhere.
func (m *Manager) endExpired(ctx context.Context, r *session, now int64) (bool, error) {
	if at, _ := r.deadline(&m.cfg.Lifetimes); now <= at+m.skew {
		return false, nil
	}
	err := m.save(ctx, r.end(now, "expired", "", false))
	if errors.Is(err, ErrConflict) {
		return false, nil
	}
	return err == nil, err
}
