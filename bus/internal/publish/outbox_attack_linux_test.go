package publish

import (
	"errors"
	"os"
	ossignal "os/signal"
	"syscall"
	"testing"
	"time"
)

// The disk is full, and then it is not: who was told that an event is kept finds it, and
// half a line costs nothing else.
func TestOutboxDiskFull(t *testing.T) {
	o, path := openTestOutbox(t)
	if err := o.put(time.Now(), outboxRecord(t, "before")); err != nil {
		t.Fatal(err)
	}
	ossignal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	mend := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(mend)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(o.written) + 50, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := o.put(time.Now(), outboxRecord(t, "full")); err == nil {
			t.Error("no error")
		}
	}
	mend()
	if s := o.status(); s.failed != 3 || s.err == nil {
		t.Errorf("status %+v", s)
	}
	if err := o.put(time.Now(), outboxRecord(t, "after")); err != nil {
		t.Fatal(err)
	}
	if values, damaged := reopen(t, o, path); values["before"] == nil || values["after"] == nil || damaged != 1 {
		t.Errorf("%d alive, %d damaged", len(values), damaged)
	}
}

// The disk takes only the beginning of the new file: the good one stays. What is written
// through a buffer fails when that is flushed.
func TestOutboxRewriteDiskFull(t *testing.T) {
	for _, size := range []int{1, 4} { // in buffers
		o, path := openTestOutbox(t)
		var alive []*record
		for range size * 8 {
			rec := outboxRecord(t, "before")
			if err := o.put(time.Now(), rec); err != nil {
				t.Fatal(err)
			}
			alive = append(alive, rec)
		}
		ossignal.Ignore(syscall.SIGXFSZ)
		var old syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 100, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
		o.mu.Lock()
		err := o.rewrite(alive)
		o.mu.Unlock()
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
		if err == nil {
			t.Error("no error")
		}
		if _, err := os.Stat(path + ".tmp"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left behind: %v", err)
		}
		o.crash()
		next, found, damaged, err := openOutbox(path, testIssuer)
		if err != nil || damaged != 0 || len(found) != size*8 {
			t.Fatalf("%d alive, %d damaged, %v", len(found), damaged, err)
		}
		next.close()
	}
}

// A child process that is being started while the outbox is closed holds what its parent
// had open for a moment. The next Bus need not wait for that.
func TestOutboxClosedWhileForking(t *testing.T) {
	o, path := openTestOutbox(t)
	defer syscall.Close(dupOpen(t, path+".lock"))
	if _, _, _, err := openOutbox(path, testIssuer); !errors.Is(err, ErrOutbox) {
		t.Fatalf("the good twin: two have it open: %v", err)
	}
	o.close()
	next, _, _, err := openOutbox(path, testIssuer)
	if err != nil {
		t.Fatal(err)
	}
	next.close()
}

// dupOpen does to a file that is open what starting a process does.
func dupOpen(t *testing.T, path string) (fd int) {
	t.Helper()
	var want syscall.Stat_t
	if err := syscall.Stat(path, &want); err != nil {
		t.Fatal(err)
	}
	for fd := range 1024 {
		var st syscall.Stat_t
		if syscall.Fstat(fd, &st) == nil && st.Ino == want.Ino && st.Dev == want.Dev {
			child, err := syscall.Dup(fd)
			if err != nil {
				t.Fatal(err)
			}
			return child
		}
	}
	t.Fatal("it is not open:", path)
	return -1
}

// What is no file of ours alone is refused, and nobody waits for the other end of a pipe.
func TestOutboxOfOthers(t *testing.T) {
	o, path := openTestOutbox(t)
	o.close()
	refused := func(what, path string) {
		t.Helper()
		done := make(chan error)
		go func() {
			o, _, _, err := openOutbox(path, testIssuer)
			if err == nil {
				o.close()
			}
			done <- err
		}()
		select {
		case err := <-done:
			if !errors.Is(err, ErrOutbox) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s: it waits", what)
			if w, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil { // let it go
				w.Close()
			}
			<-done
		}
	}
	for _, mode := range []os.FileMode{0o620, 0o602} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		refused(mode.String(), path)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		refused("another user's", path)
		if err := os.Chown(path, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	pipe := path + ".pipe"
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a pipe", pipe)
	refused("a directory", t.TempDir())
	for what, make := range map[string]func(lock string) error{
		"a pipe for a lock":        func(lock string) error { return syscall.Mkfifo(lock, 0o600) },
		"another's file by a link": func(lock string) error { return os.Symlink(path, lock) },
	} {
		path := path + ".locked"
		if err := make(path + ".lock"); err != nil {
			t.Fatal(err)
		}
		refused(what, path)
		if err := os.Remove(path + ".lock"); err != nil {
			t.Fatal(err)
		}
	}
	o, _, _, err := openOutbox(path, testIssuer)
	if err != nil {
		t.Fatalf("the good twin: %v", err)
	}
	o.close()
}
