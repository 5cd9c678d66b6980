//go:build unix && !solaris && !aix

package embedded

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Who can write where the stream is can take revocations out of it (invariant 3): such a
// directory is refused. One that Start makes is nobody else's, whatever the umask.
func TestDirectoryOfOthers(t *testing.T) {
	start := func(dir string) error {
		t.Helper()
		s, err := Start(t.Context(), Config{Dir: dir})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	old := syscall.Umask(0)
	dir := filepath.Join(t.TempDir(), "made", "by", "start")
	err := start(dir)
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	for name := dir; filepath.Base(name) != "made"; name = filepath.Dir(name) {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	for _, inner := range []string{"", server.JetStreamStoreDir} {
		name := filepath.Join(dir, inner)
		for mode, want := range map[fs.FileMode]bool{
			0o700: true, 0o750: true, 0o755: true,
			0o770: false, 0o720: false, 0o702: false, 0o777: false, 0o777 | fs.ModeSticky: false,
		} {
			if err := os.Chmod(name, mode); err != nil {
				t.Fatal(err)
			}
			err := start(dir)
			switch {
			case want && err != nil:
				t.Errorf("%s, mode %s: %v", name, mode, err)
			case !want && (err == nil || !strings.Contains(err.Error(), "field Dir: others can write in "+name)):
				t.Errorf("%s, mode %s: %v", name, mode, err)
			}
		}
		if err := os.Chmod(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := start(dir); err != nil {
		t.Error(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(dir, server.JetStreamStoreDir), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if err := start(dir); err == nil || !strings.Contains(err.Error(), "another user") {
			t.Errorf("another user's: %v", err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := start(file); err == nil {
		t.Error("a file is no directory")
	}
}

// A child process that is being started while the server is closed holds what its parent
// had open for a moment. The next server need not wait for that.
func TestClosedWhileForking(t *testing.T) {
	dir := t.TempDir()
	s, err := Start(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var lock syscall.Stat_t
	if err := syscall.Stat(filepath.Join(dir, "lock"), &lock); err != nil {
		t.Fatal(err)
	}
	child := -1
	for fd := range 1024 {
		var st syscall.Stat_t
		if syscall.Fstat(fd, &st) == nil && st.Ino == lock.Ino && st.Dev == lock.Dev {
			if child, err = syscall.Dup(fd); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if child < 0 {
		t.Fatal("the lock is not open")
	}
	defer syscall.Close(child)
	if two, err := Start(t.Context(), Config{Dir: dir}); err == nil {
		two.Close()
		t.Fatal("the good twin: two have it")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := Start(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
}
