//go:build unix && !solaris && !aix

package embedded

import (
	"syscall"
	"testing"
)

// A child process that is being started while the server is closed holds what its parent
// had open for a moment. The next server need not wait for that.
func TestUnlockedWhileForking(t *testing.T) {
	dir := t.TempDir()
	l, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	child, err := syscall.Dup(int(l.file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(child)
	if _, err := lockDir(dir); err == nil {
		t.Fatal("the good twin: two have it")
	}
	if err := l.unlock(); err != nil {
		t.Fatal(err)
	}
	next, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.unlock(); err != nil {
		t.Error(err)
	}
}
