package bus

import (
	"testing"
	"time"
)

// Attempts never become a storm, and never stop.
func TestPauseAfter(t *testing.T) {
	for failures := range 100 {
		for range 100 {
			d := pauseAfter(failures)
			least := min(50*time.Millisecond<<min(failures, 20), maxPause/2)
			if failures == 0 {
				least = 0
			}
			if d < least || d > maxPause {
				t.Fatalf("after %d failures: %s, want between %s and %s", failures, d, least, maxPause)
			}
		}
	}
}
