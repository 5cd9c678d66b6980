//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package diskfile

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// within fails where f waits, as for the other end of a pipe.
func within(t *testing.T, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		t.Fatalf("%s: it waits", what)
		return nil
	}
}

// A file that others could have written, or that is no regular file, is opened neither to
// read nor as a lock; a secret, and its lock, others may not even read.
func TestUnsafeFiles(t *testing.T) {
	file := func(mode fs.FileMode) func(path string) error {
		return func(path string) error {
			return errors.Join(os.WriteFile(path, []byte("a"), 0o600), os.Chmod(path, mode))
		}
	}
	const ok, secret, unsafe = 0, 1, 2 // good for both, refused as a secret, refused
	for name, c := range map[string]struct {
		make func(path string) error
		read int
		lock int
	}{
		"its own":                {file(0o600), ok, ok},
		"others can read it":     {file(0o644), secret, secret},
		"the group can read it":  {file(0o640), secret, secret},
		"others can run it":      {file(0o701), secret, secret},
		"the group can write it": {file(0o620), unsafe, unsafe},
		"others can write it":    {file(0o602), unsafe, unsafe},
		"a directory":            {func(path string) error { return os.Mkdir(path, 0o700) }, unsafe, unsafe},
		"a pipe":                 {func(path string) error { return syscall.Mkfifo(path, 0o600) }, unsafe, unsafe},
		"a device":               {func(path string) error { return os.Symlink("/dev/zero", path) }, unsafe, unsafe},
		"a link to its own":      {func(path string) error { return errors.Join(file(0o600)(path+"2"), os.Symlink(path+"2", path)) }, secret, unsafe},
		"a link to what is not":  {func(path string) error { return os.Symlink(path+"2", path) }, secret, unsafe},
		"a link to a pipe": {func(path string) error {
			return errors.Join(syscall.Mkfifo(path+"2", 0o600), os.Symlink(path+"2", path))
		}, unsafe, unsafe},
		"a socket":                {func(path string) error { _, err := net.Listen("unix", path); return err }, unsafe, unsafe},
		"another user's, if root": {func(path string) error { return errors.Join(file(0o600)(path), os.Chown(path, 65534, 65534)) }, unsafe, unsafe},
	} {
		if name == "another user's, if root" && os.Geteuid() != 0 {
			continue
		}
		dir, err := os.MkdirTemp("", "d") // short, for the socket
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "f")
		if err := c.make(path); err != nil {
			t.Fatal(name, err)
		}
		for others, worst := range map[Others]int{OthersMayRead: unsafe, OthersMayNothing: secret} {
			err := within(t, name, func() error {
				f, err := Open(path, others)
				if err == nil {
					f.Close()
				}
				return err
			})
			if name == "a link to what is not" && others == OthersMayRead {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: read: %v", name, err)
				}
			} else if refused := c.read >= worst; errors.Is(err, ErrUnsafe) != refused || !refused && err != nil {
				t.Errorf("%s, others %d: read: %v", name, others, err)
			}
			err = within(t, name, func() error {
				l, err := TryLock(path, others)
				if err == nil {
					l.Unlock()
				}
				return err
			})
			refused := c.lock >= worst
			if errors.Is(err, ErrUnsafe) != refused && !errors.Is(err, syscall.EISDIR) || (err != nil) != refused {
				t.Errorf("%s, others %d: lock: %v", name, others, err)
			}
		}
		if _, err := os.Lstat(path + "2"); name == "a link to what is not" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a lock was made elsewhere: %v", err)
		}
	}
}

// One has the lock at a time, and the next has it at once, also while a child process that
// is being started holds what its parent had open.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := TryLock(path, OthersMayNothing)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	child, err := syscall.Dup(int(l.file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(child)
	if _, err := TryLock(path, OthersMayNothing); !errors.Is(err, ErrLocked) {
		t.Fatalf("two have it: %v", err)
	}
	l.Unlock()
	if l, err = TryLock(path, OthersMayNothing); err != nil {
		t.Fatal(err)
	}
	l.Unlock()
	if _, err := TryLock(filepath.Join(path, "none"), OthersMayRead); err == nil || errors.Is(err, ErrLocked) || errors.Is(err, ErrUnsafe) {
		t.Errorf("no directory: %v", err)
	}
}

// A new file takes the place of the old one as a whole, once it is on disk: whatever fails
// before leaves what was there, and nothing beside it.
func TestReplace(t *testing.T) {
	broken := errors.New("input/output error")
	write := func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }
	synced := func(f *os.File) error { return f.Sync() }
	for name, c := range map[string]struct {
		before func(path string) error
		sync   func(*os.File) error
		write  func(io.Writer) error
		want   string // in the file afterwards
		fails  bool
	}{
		"good":                   {nil, synced, write, "new", false},
		"it is not written":      {nil, synced, func(w io.Writer) error { write(w); return broken }, "old", true},
		"it is not synced":       {nil, func(*os.File) error { return broken }, write, "old", true},
		"the folder is not":      {nil, func(f *os.File) error { return onlyFiles(f, broken) }, write, "new", true},
		"left over":              {func(path string) error { return os.WriteFile(path+".tmp", []byte("half"), 0o600) }, synced, write, "new", false},
		"a link is left over":    {func(path string) error { return os.Symlink(path, path+".tmp") }, synced, write, "new", false},
		"something in the way":   {func(path string) error { return os.MkdirAll(path+".tmp/in the way", 0o700) }, synced, write, "old", true},
		"the name is a folder's": {func(path string) error { return errors.Join(os.Remove(path), os.MkdirAll(path+"/in it", 0o700)) }, synced, write, "", true},
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
		if c.before != nil {
			if err := c.before(path); err != nil {
				t.Fatal(err)
			}
		}
		info, err := Replace(path, c.sync, c.write)
		if (err != nil) != c.fails || (info != nil) != (c.want == "new") {
			t.Errorf("%s: %v, error %v", name, info, err)
		}
		now, err := os.ReadFile(path)
		if c.want != "" && (err != nil || string(now) != c.want) {
			t.Errorf("%s: %q, error %v", name, now, err)
		}
		if info != nil {
			if got, err := os.Stat(path); err != nil || !os.SameFile(got, info) || info.Size() != 3 || got.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		}
		if _, err := os.Lstat(path + ".tmp"); name != "something in the way" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: left behind: %v", name, err)
		}
	}
}

func onlyFiles(f *os.File, otherwise error) error {
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return otherwise
	}
	return f.Sync()
}

// What a name stands for already is left alone.
func TestCreateLeavesOthersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := errors.Join(os.WriteFile(path, []byte("old"), 0o600), os.Symlink(path+".none", path+".link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".link"} {
		_, err := Create(name, (*os.File).Sync, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err })
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != "old" {
		t.Errorf("%q, error %v", now, err)
	}
	if _, err := os.Stat(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("made behind a link: %v", err)
	}
}
