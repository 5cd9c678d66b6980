//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package revoke_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func mustFeed(t *testing.T, l *revoke.List) *replica.Feed {
	t.Helper()
	f, err := replica.NewFeed(l)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// busy fails unless l has a Feed that may not write its state file, and says why.
func busy(t *testing.T, l *revoke.List) {
	t.Helper()
	freshen(t, l)
	for _, err := range []error{l.StateFile().Err, l.SaveState(revoke.Now())} {
		if !errors.Is(err, revoke.ErrStateFile) || !strings.Contains(err.Error(), l.Config().StateFile) || !strings.Contains(err.Error(), "another List") {
			t.Errorf("%s: %v", l.Config().StateFile, err)
		}
	}
}

// Two Lists that keep their state in one file would each undo what the other has
// written: the second follows, and does not write for as long as the first follows, too
// (invariant 3).
func TestStateFileOfTwoLists(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	first, _ := stateful(t, path)
	feed := mustFeed(t, first)
	for _, spelling := range []string{path, dir + "/./state", filepath.Join(link, "state")} {
		second, _ := stateful(t, spelling)
		busy(t, second)
		if _, err := replica.NewFeed(first); !errors.Is(err, revoke.ErrFollowed) {
			t.Errorf("its own: %v", err)
		}
	}
	// Good twins: another file; and the same one, once it is left.
	other, _ := stateful(t, filepath.Join(dir, "other"))
	mustFeed(t, other).Close(revoke.Now())
	feed.Close(revoke.Now())
	feed.Close(revoke.Now())
	second, _ := stateful(t, path)
	next := mustFeed(t, second)
	busy(t, first) // come back
	// What the first has left to write would be written over the second's.
	refused, spared := secretive(t, first)
	if err := first.SaveState(revoke.Now()); !errors.Is(err, revoke.ErrStateFile) {
		t.Errorf("saved while another has the file: %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("it was written:", err)
	}
	next.Close(revoke.Now())
	if err := first.SaveState(revoke.Now()); err != nil || first.StateFile().Err != nil {
		t.Errorf("it is free: %v, %v", err, first.StateFile().Err)
	}
	third, _ := stateful(t, path)
	requireKnown(t, third, refused, spared)
}

// A child process that is being started while a Feed is closed holds what its parent had
// open for a moment. The next Feed need not wait for that.
func TestStateFileLeftWhileForking(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	first, _ := stateful(t, path)
	feed := mustFeed(t, first)
	var ours syscall.Stat_t
	if err := syscall.Stat(path+".lock", &ours); err != nil {
		t.Fatal(err)
	}
	child := -1
	for fd := range 1024 {
		var st syscall.Stat_t
		if syscall.Fstat(fd, &st) == nil && st.Ino == ours.Ino && st.Dev == ours.Dev {
			var err error
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
	second, _ := stateful(t, path)
	busy(t, second) // the good twin: two have it
	feed.Close(revoke.Now())
	mustFeed(t, second)
	if err := second.SaveState(revoke.Now()); err != nil {
		t.Error(err)
	}
}

// A lock that is no file of ours may be another's to hold: the file is left alone.
func TestStateFileLockOfOthers(t *testing.T) {
	for name, make := range map[string]func(lock string) error{
		"good":     func(lock string) error { return os.WriteFile(lock, nil, 0o600) },
		"a pipe":   func(lock string) error { return syscall.Mkfifo(lock, 0o600) },
		"a link":   func(lock string) error { return os.Symlink(lock+".elsewhere", lock) },
		"writable": func(lock string) error { return errors.Join(os.WriteFile(lock, nil, 0o600), os.Chmod(lock, 0o602)) },
	} {
		path := filepath.Join(t.TempDir(), "state")
		if err := make(path + ".lock"); err != nil {
			t.Fatal(err)
		}
		l, _ := stateful(t, path)
		freshen(t, l)
		secretive(t, l)
		for _, err := range []error{l.StateFile().Err, l.SaveState(revoke.Now())} {
			if (err == nil) != (name == "good") || err != nil && !errors.Is(err, revoke.ErrStateFile) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := os.Stat(path); (err == nil) != (name == "good") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A Local List has no Feed, and its file is all that it will know after a restart: it does
// not write over what another has written there since it read it.
func TestStateFileOfTwoLocalLists(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	local := func() *revoke.List {
		l, err := revoke.NewList(revoke.Config{Local: true, StateFile: path})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	revokeHere := func(l *revoke.List, sid string) {
		if err := l.Apply(revoke.Now(), revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: sid}); err != nil {
			t.Fatal(err)
		}
	}
	first, second := local(), local()
	revokeHere(first, "one")
	revokeHere(second, "two")
	if err := first.SaveState(revoke.Now()); err != nil {
		t.Fatal(err)
	}
	if err := second.SaveState(revoke.Now()); !errors.Is(err, revoke.ErrStateFile) || !strings.Contains(err.Error(), "another List") {
		t.Errorf("the second: %v", err)
	}
	if s := second.StateFile(); s.Err == nil || s.Failures != 1 {
		t.Errorf("%+v", s)
	}
	revokeHere(first, "three")
	if err := first.SaveState(revoke.Now()); err != nil {
		t.Errorf("the good twin, the second time: %v", err)
	}
	next := local() // a restart
	revokeHere(next, "four")
	if err := next.SaveState(revoke.Now()); err != nil {
		t.Error(err)
	}
	last := local()
	for sid, want := range map[string]bool{"one": true, "two": false, "three": true, "four": true} {
		err := last.Check(revoke.Now(), &revoke.Identity{Issuer: iss, Session: sid}, revoke.Deny())
		if errors.Is(err, revoke.ErrRevoked) != want {
			t.Errorf("%s: %v", sid, err)
		}
	}
}
