package revoke_test

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// fullDisk makes writing a file beyond that size fail, after what fits, until the test
// ends or calls mend.
func fullDisk(t *testing.T, size int64) (mend func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(size), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	mend = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(mend)
	return mend
}

// A disk that is full in the middle of a writing costs what is new and nothing that was
// there before.
func TestStateFileDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	l, _ := stateful(t, path)
	refused, spared := secretive(t, l)
	freshen(t, l)
	if err := l.SaveState(revoke.Now()); err != nil {
		t.Fatal(err)
	}
	for i := range 20_000 {
		if err := l.Apply(revoke.Now(), revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: fmt.Sprint("sid-", i)}); err != nil {
			t.Fatal(err)
		}
	}
	mend := fullDisk(t, 64<<10)
	err := l.SaveState(revoke.Now())
	mend()
	if err == nil || l.StateFile().Err == nil {
		t.Errorf("no error: %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 2 { // the lock
		t.Errorf("left behind: %v", entries)
	}
	again, _ := stateful(t, path)
	requireKnown(t, again, refused, spared)
	if err := l.SaveState(revoke.Now()); err != nil {
		t.Fatal(err)
	}
	if again, _ = stateful(t, path); again.StateFile().Entries < 20_000 {
		t.Errorf("%+v", again.StateFile())
	}
}

// What is no file of ours alone is not read, and nobody waits for the other end of a pipe.
func TestStateFileOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	l, _ := stateful(t, path)
	refused, spared := secretive(t, l)
	freshen(t, l)
	if err := l.SaveState(revoke.Now()); err != nil {
		t.Fatal(err)
	}
	l, _ = stateful(t, path)
	requireKnown(t, l, refused, spared) // the good twin
	for _, mode := range []os.FileMode{0o620, 0o602} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if l, _ := stateful(t, path); l.StateFile().Restored {
			t.Errorf("read with mode %s", mode)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if l, _ := stateful(t, path); l.StateFile().Restored {
			t.Error("read from another user")
		}
	}
	pipe := path + ".pipe"
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		l, err := revoke.NewList(revoke.Config{StateFile: pipe})
		done <- err == nil && l.StateFile().Ignored != nil
	}()
	select {
	case ok := <-done:
		if !ok {
			t.Error("a pipe was read")
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for the other end of a pipe")
		if w, err := os.OpenFile(pipe, os.O_WRONLY, 0); err == nil { // let it go
			w.Close()
		}
		<-done
	}
}
