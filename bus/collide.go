package bus

import (
	"path/filepath"

	"github.com/hybridtoken/hybridtoken/internal/diskfile"
)

// collide reports whether a state file and an outbox would get into each other's way: as
// one file, under whatever names, or one as the other's lock or unfinished copy.
func collide(state, outbox string) bool {
	if state == "" || outbox == "" {
		return false
	}
	if diskfile.Same(state, outbox) || filepath.Clean(state) == filepath.Clean(outbox) {
		return true
	}
	if !diskfile.Same(filepath.Dir(state), filepath.Dir(outbox)) {
		return false
	}
	x, y := filepath.Base(state), filepath.Base(outbox)
	for _, suffix := range []string{"", ".tmp", ".lock"} {
		if x == y+suffix || y == x+suffix {
			return true
		}
	}
	return false
}
