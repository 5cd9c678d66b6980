package refresh_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A session that cannot be read when room is made for another keeps its place in its subject's list:
// a logout everywhere finds it when it can be read again.
func TestUnreadableSessionKeepsItsPlace(t *testing.T) {
	for name, unreadable := range map[string]int{"none": -1, "the oldest": 0, "the newest": 2} {
		synctest.Test(t, func(t *testing.T) {
			store := &edited{Store: refresh.NewMemoryStore()}
			s := newSystem(t, func(c *refresh.Config) { c.MaxSessions, c.Store = 3, store })
			var sids []string
			for range 3 {
				sids = append(sids, s.login(t).SessionID)
				time.Sleep(time.Second)
			}
			store.edit = func(key string, value []byte) []byte {
				if unreadable >= 0 && strings.Contains(string(value), `"sid":"`+sids[unreadable]) {
					return []byte(`{"v":9}`)
				}
				return value
			}
			sids = append(sids, s.login(t).SessionID)
			store.edit = nil
			idlest := 0 // of those that could be read
			if unreadable == 0 {
				idlest = 1
			}
			want := slices.Delete(slices.Clone(sids), idlest, idlest+1)
			slices.Reverse(want) // the newest login first
			listed := func() (got []string) {
				list, err := s.Sessions(t.Context(), "user-1")
				if err != nil {
					t.Fatal(err)
				}
				for _, x := range list {
					got = append(got, x.ID)
				}
				return got
			}
			if got := listed(); !slices.Equal(got, want) {
				t.Errorf("%s unreadable: listed are %q, want %q", name, got, want)
			}
			if _, err := s.LogoutAll(t.Context(), "user-1"); err != nil || len(listed()) != 0 {
				t.Errorf("%s unreadable: %v, then listed %q", name, err, listed())
			}
		})
	}
}
