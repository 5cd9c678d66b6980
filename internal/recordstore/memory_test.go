package recordstore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestMemoryStoreGoesByTheSlowerClock: one look at a wall clock three hours ahead forgets
// no record, also where it sweeps; what both clocks say is over is gone.
func TestMemoryStoreGoesByTheSlowerClock(t *testing.T) {
	const n = 100
	for _, first := range []bool{false, true} { // whether the first reading of all is the wrong one
		s := new(MemoryStore)
		now := revoke.Now()
		wrong := now
		wrong.Wall += int64(3 * time.Hour)
		at := now
		s.now = func() revoke.Instant { return at }
		look := func() {
			old := at
			at = wrong
			for i := range 2 * n { // enough writes for a sweep
				s.Load(t.Context(), fmt.Sprint(i))
				if _, err := s.Save(t.Context(), fmt.Sprint("other", i), nil, 0, now.Time().Add(time.Minute)); err != nil && !errors.Is(err, ErrConflict) {
					t.Fatal(err)
				}
			}
			at = old
		}
		if first {
			look()
		}
		for i := range n {
			if _, err := s.Save(t.Context(), fmt.Sprint(i), []byte("x"), 0, now.Time().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		look()
		for i := range n {
			if _, err := s.Load(t.Context(), fmt.Sprint(i)); err != nil {
				t.Fatalf("first %v: record %d: %v", first, i, err)
			}
		}
		at = now.Add(time.Hour + time.Second)
		if _, err := s.Load(t.Context(), "0"); !errors.Is(err, ErrNotFound) {
			t.Errorf("first %v: an expired record: %v", first, err)
		}
	}
}
