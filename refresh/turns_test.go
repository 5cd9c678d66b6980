package refresh

import (
	"context"
	"sync"
	"testing"
)

// Turns are one subject's each, and leave nothing behind.
func TestTurnsOfOneSubject(t *testing.T) {
	var all turns
	var wg sync.WaitGroup
	count := map[string]*int{"a": new(int), "b": new(int)}
	for key, n := range count {
		for range 100 {
			wg.Go(func() {
				release, _, err := all.take(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				*n++ // the race detector sees two at once
				release()
			})
		}
	}
	wg.Wait()
	if *count["a"] != 100 || *count["b"] != 100 {
		t.Errorf("%d and %d turns", *count["a"], *count["b"])
	}
	release, waited, err := all.take(t.Context(), "a")
	if err != nil || waited {
		t.Fatalf("%t, %v", waited, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := all.take(gone, "a"); err == nil {
		t.Error("two have one turn")
	}
	release()
	if len(all.of) != 0 {
		t.Errorf("%d are remembered", len(all.of))
	}
}
