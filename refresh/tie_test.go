package refresh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// An overtaken store lets another go first, before it writes a session.
type overtaken struct {
	refresh.Store
	first func()
}

func (o *overtaken) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if first := o.first; first != nil && strings.HasPrefix(key, "s.") {
		o.first = nil
		first()
	}
	return o.Store.Save(ctx, key, value, revision, expires)
}

// Invariant 8: who loses the compare-and-set is no thief, also where there is no window in
// which he would be answered. Who comes after it is.
func TestLosingIsNoTheft(t *testing.T) {
	store := &overtaken{Store: refresh.NewMemoryStore()}
	s := newSystem(t, func(c *refresh.Config) { c.Store, c.Lifetimes = store, refresh.HighSecurity })
	g := s.login(t)
	var next *refresh.Grant
	store.first = func() { next = s.refresh(t, g) }
	if _, err := s.Refresh(t.Context(), g.RefreshToken()); !errors.Is(err, refresh.ErrBusy) || errors.Is(err, refresh.ErrLoginAgain) {
		t.Fatalf("the loser: %v", err)
	}
	s.accepted(t, next)
	last := s.refresh(t, next)
	s.refused(t, next, refresh.ErrReplayed)
	s.dead(t, last)
}
