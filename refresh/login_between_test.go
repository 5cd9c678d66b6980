package refresh_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A between store calls something once, after a record of a session was written.
type between struct {
	refresh.Store
	then func()
}

func (b *between) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	n, err := b.Store.Save(ctx, key, value, revision, expires)
	if then := b.then; err == nil && then != nil && strings.HasPrefix(key, "s.") {
		b.then = nil
		then()
	}
	return n, err
}

// A logout everywhere that comes when a login has written its session, and not yet its subject's
// list, has the user checked again; the login then goes on with the session that it has written.
func TestLogoutEverywhereBetweenTheTwoWrites(t *testing.T) {
	store := &between{Store: refresh.NewMemoryStore()}
	s := newSystem(t, func(c *refresh.Config) { c.Store = store })
	other := s.login(t)
	checks := 0
	l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now().Add(time.Second)}
	l.Recheck = func(context.Context) error { checks++; return nil }
	store.then = func() {
		if _, err := s.LogoutAll(t.Context(), "user-1"); err != nil {
			t.Error(err)
		}
	}
	g, err := s.Login(t.Context(), l)
	if err != nil || checks != 1 {
		t.Fatalf("%v after %d checks", err, checks)
	}
	s.accepted(t, g)
	s.refresh(t, g)
	s.refused(t, other, refresh.ErrEnded)
	if list, err := s.Sessions(t.Context(), "user-1"); err != nil || len(list) != 1 || list[0].ID != g.SessionID {
		t.Errorf("%v, %v", list, err)
	}
}
