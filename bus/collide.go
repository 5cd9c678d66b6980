package bus

import (
	"os"
	"path/filepath"
)

// collide reports whether a state file and an outbox would get into each other's way: as
// one file, under whatever names, or one as the other's lock or unfinished copy.
func collide(state, outbox string) bool {
	if state == "" || outbox == "" {
		return false
	}
	if isSameFile(state, outbox) || filepath.Clean(state) == filepath.Clean(outbox) {
		return true
	}
	if !isSameFile(filepath.Dir(state), filepath.Dir(outbox)) {
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

func isSameFile(x, y string) bool {
	a, err := os.Stat(x)
	if err != nil {
		return false
	}
	b, err := os.Stat(y)
	return err == nil && os.SameFile(a, b)
}
