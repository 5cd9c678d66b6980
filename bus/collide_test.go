package bus

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/gate"
)

// A state file gets in an outbox's way as the same file under whatever name, or as its
// lock or unfinished copy, and the other way round; files that merely lie side by side do
// not, nor does one that is not there.
func TestCollide(t *testing.T) {
	dir := t.TempDir()
	outbox, other := filepath.Join(dir, "outbox"), filepath.Join(dir, "other")
	for _, name := range []string{outbox, other} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hard, soft, linked := filepath.Join(dir, "hard"), filepath.Join(dir, "soft"), filepath.Join(t.TempDir(), "linked")
	for _, err := range []error{os.Link(outbox, hard), os.Symlink(outbox, soft), os.Symlink(dir, linked)} {
		if err != nil {
			gate.Skip(t, fmt.Sprintf("this file system takes no links: %v", err))
		}
	}
	for _, c := range []struct {
		state, outbox string
		want          bool
	}{
		{outbox, outbox, true},
		{dir + "/./outbox", outbox, true},
		{hard, outbox, true},
		{soft, outbox, true},
		{filepath.Join(linked, "outbox"), outbox, true},
		{outbox + ".tmp", outbox, true},
		{outbox + ".lock", outbox, true},
		{outbox, outbox + ".tmp", true},
		{filepath.Join(linked, "outbox.lock"), outbox, true},
		{"none/at/all", "none/at/./all", true},
		{other, outbox, false},
		{outbox + ".bak", outbox, false},
		{filepath.Join(t.TempDir(), "outbox.lock"), outbox, false},
		{filepath.Join(dir, "no", "outbox"), outbox, false},
		{filepath.Join(dir, "no1"), filepath.Join(dir, "no2"), false},
		{"", outbox, false},
		{outbox, "", false},
	} {
		if got := collide(c.state, c.outbox); got != c.want {
			t.Errorf("state file %q, outbox %q: %t", c.state, c.outbox, got)
		}
	}
}
