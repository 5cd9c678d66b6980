//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package issue_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/refresh/storetest"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A FileStore keeps what every Store keeps, also where two have one file.
func TestFileStore(t *testing.T) {
	var path string
	storetest.Run(t, func(t *testing.T) issue.Store {
		path = filepath.Join(privateDir(t), "records")
		return fileStore(t, path)
	}, storetest.Config{
		Virtual: true, Linger: 6 * time.Minute,
		Another: func(t *testing.T, _ issue.Store) issue.Store { return fileStore(t, path) },
	})
}

// The file is its owner's, nothing is left beside it, and its errors are of this package's
// family, too.
func TestFileStoreFile(t *testing.T) {
	path := filepath.Join(privateDir(t), "ring.json")
	s := fileStore(t, path)
	if _, err := s.Load(t.Context(), "k"); !errors.Is(err, issue.ErrStore) || !errors.Is(err, recordstore.ErrNotFound) {
		t.Errorf("no file: error %v", err)
	}
	n, err := s.Save(t.Context(), "k", []byte("a"), 0, later())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Save(t.Context(), "k", []byte("b"), n+1, later()); !errors.Is(err, issue.ErrStore) || !errors.Is(err, recordstore.ErrConflict) {
		t.Errorf("another revision: error %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Load(ended, "k"); !errors.Is(err, issue.ErrStore) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 2 {
		t.Errorf("files left: %v", files)
	}
	// A revision of a file that was deleted, or put back to a copy, is none of the next.
	copied, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	later1, err := s.Save(t.Context(), "k", []byte("b"), n, later())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() error{
		"put back": func() error { return os.WriteFile(path, copied, 0o600) },
		"deleted":  func() error { return os.Remove(path) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		r, err := s.Load(t.Context(), "k")
		if err != nil && name == "put back" {
			t.Fatal(err)
		}
		if got, err := s.Save(t.Context(), "k", []byte("c"), r.Revision, later()); err != nil || got == n || got == later1 {
			t.Errorf("%s: revision %d after %d and %d, error %v", name, got, n, later1, err)
		}
	}
}

// A file that was damaged is refused, before a key of it is used; TestDecodeFileDamaged has
// every bit of it.
func TestFileStoreDamaged(t *testing.T) {
	for _, cfg := range []issue.KeyringConfig{{}, {SealKeys: []*issue.SealKey{sealKey(t, "a")}}} {
		path := filepath.Join(privateDir(t), "ring.json")
		openRing(t, fileStore(t, path), cfg).Close()
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{0, 5, 30, len(good) / 2, len(good) - 40, len(good) - 1} {
			bad := bytes.Clone(good)
			bad[i] ^= 1
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if ring, err := issue.OpenKeyring(t.Context(), fileStore(t, path), cfg); ring != nil || !errors.Is(err, issue.ErrStoreCorrupt) || forge.Leaks(err.Error(), string(bad)) != "" {
				t.Fatalf("byte %d changed: error %v", i, err)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		openRing(t, fileStore(t, path), cfg)
	}
}

func TestFileStoreRefuses(t *testing.T) {
	for name, mode := range map[string]os.FileMode{"good": 0o700, "group": 0o770, "others": 0o707, "readable": 0o755, "sticky": 0o777 | os.ModeSticky} {
		dir := filepath.Join(t.TempDir(), "keys")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := issue.NewFileStore(filepath.Join(dir, "ring.json")); (err != nil) != (name == "group" || name == "others") || err != nil && !errors.Is(err, issue.ErrStore) {
			t.Errorf("directory %s: error %v", name, err)
		}
	}
	if _, err := issue.NewFileStore(filepath.Join(t.TempDir(), "none", "ring.json")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "make the directory first, with mode 0700") {
		t.Errorf("no directory: error %v", err)
	}

	file := filepath.Join(privateDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := issue.NewFileStore(filepath.Join(file, "ring.json")); !errors.Is(err, issue.ErrStore) || !strings.Contains(err.Error(), "is no directory") {
		t.Errorf("a file for a directory: error %v", err)
	}

	// A ring that was there all along, now in a file that is not as it should be.
	good := filepath.Join(privateDir(t), "ring.json")
	openRing(t, fileStore(t, good), issue.KeyringConfig{})
	blob, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(path string) error{
		"good":            func(path string) error { return os.WriteFile(path, blob, 0o600) },
		"read-only":       func(path string) error { return os.WriteFile(path, blob, 0o400) },
		"others can read": func(path string) error { return errors.Join(os.WriteFile(path, blob, 0o600), os.Chmod(path, 0o604)) },
		"group can read":  func(path string) error { return errors.Join(os.WriteFile(path, blob, 0o600), os.Chmod(path, 0o640)) },
		"symbolic link":   func(path string) error { return os.Symlink(good, path) },
		"directory":       func(path string) error { return os.Mkdir(path, 0o700) },
		"pipe":            func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"empty":           func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"cut short":       func(path string) error { return os.WriteFile(path, blob[:len(blob)/2], 0o600) },
		"huge":            func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 2<<20), 0o600) },
	} {
		path := filepath.Join(privateDir(t), "ring.json")
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		ring, err := openWithin(t, fileStore(t, path))
		if name == "good" || name == "read-only" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else {
				ring.Close()
			}
			continue
		}
		if ring != nil || !errors.Is(err, issue.ErrStore) || forge.Leaks(err.Error(), string(blob)) != "" {
			t.Errorf("%s: error %v", name, err)
		}
		corrupt := name == "empty" || name == "cut short" || name == "huge"
		if errors.Is(err, issue.ErrStoreCorrupt) != corrupt {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// openWithin opens a ring, and fails where that waits, as for the other end of a pipe.
func openWithin(t *testing.T, s *issue.FileStore) (ring *issue.Keyring, err error) {
	t.Helper()
	done := make(chan bool)
	go func() {
		defer close(done)
		ring, err = issue.OpenKeyring(t.Context(), s, issue.KeyringConfig{})
	}()
	select {
	case <-done:
		return ring, err
	case <-time.After(time.Minute):
		t.Fatal("it waits")
		return nil, nil
	}
}

// A lock that is no file of the owner's alone is refused: another could hold it for ever.
func TestFileStoreLockOfOthers(t *testing.T) {
	for name, make := range map[string]func(lock string) error{
		"good":            func(lock string) error { return os.WriteFile(lock, nil, 0o600) },
		"others can read": func(lock string) error { return errors.Join(os.WriteFile(lock, nil, 0o600), os.Chmod(lock, 0o604)) },
		"symbolic link":   func(lock string) error { return os.Symlink(lock+".elsewhere", lock) },
		"pipe":            func(lock string) error { return syscall.Mkfifo(lock, 0o600) },
	} {
		path := filepath.Join(privateDir(t), "ring.json")
		if err := make(path + ".lock"); err != nil {
			t.Fatal(err)
		}
		ring, err := openWithin(t, fileStore(t, path))
		if (err == nil) != (name == "good") || err != nil && !errors.Is(err, issue.ErrStore) {
			t.Errorf("%s: error %v", name, err)
		}
		if ring != nil {
			ring.Close()
		}
	}
}

// A lock that somebody else holds is waited for, as long as the caller can; what a
// crash left behind is in nobody's way.
func TestFileStoreLock(t *testing.T) {
	path := filepath.Join(privateDir(t), "ring.json")
	s := fileStore(t, path)
	if err := os.WriteFile(path+".tmp", []byte("left over"), 0o600); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.Save(ctx, "k", []byte("a"), 0, later()); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, issue.ErrStore) {
		t.Errorf("locked: error %v", err)
	}
	saved := make(chan error)
	go func() {
		_, err := s.Save(t.Context(), "k", []byte("a"), 0, later())
		saved <- err
	}()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if err := <-saved; err != nil {
		t.Error(err)
	}
	if r, err := s.Load(t.Context(), "k"); string(r.Value) != "a" || err != nil {
		t.Errorf("%q, error %v", r.Value, err)
	}
	if _, err := os.Stat(path + ".tmp"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left over: %v", err)
	}
}

// A child process that is being started while something is saved holds what its parent had
// open for a moment. The next Save need not wait for that.
func TestFileStoreSavedWhileForking(t *testing.T) {
	path := filepath.Join(privateDir(t), "ring.json")
	s := fileStore(t, path)
	n, err := s.Save(t.Context(), "k", []byte("a"), 0, later())
	if err != nil {
		t.Fatal(err)
	}
	var lock syscall.Stat_t
	if err := syscall.Stat(path+".lock", &lock); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	held := make(chan int, 1)
	go func() {
		defer close(held)
		for ctx.Err() == nil {
			for fd := range 64 {
				var st syscall.Stat_t
				if syscall.Fstat(fd, &st) != nil || st.Ino != lock.Ino || st.Dev != lock.Dev {
					continue
				}
				child, err := syscall.Dup(fd)
				if err != nil {
					continue // it was closed meanwhile
				}
				if syscall.Fstat(child, &st) == nil && st.Ino == lock.Ino {
					held <- child
					return
				}
				syscall.Close(child)
			}
		}
	}()
	child := -1
	for child < 0 {
		if n, err = s.Save(ctx, "k", []byte("b"), n, later()); err != nil {
			t.Fatal(err) // also where it waits for the child
		}
		select {
		case fd, ok := <-held:
			if !ok {
				t.Fatal("the lock was never seen open")
			}
			child = fd
		default:
		}
	}
	defer syscall.Close(child)
	if _, err := s.Save(ctx, "k", []byte("c"), n, later()); err != nil {
		t.Error(err)
	}
}

// countTo counts a number in the store up, n times.
func countTo(ctx context.Context, s issue.Store, n int) (conflicts int, err error) {
	for done := 0; done < n; {
		r, err := s.Load(ctx, "k")
		if err != nil && !errors.Is(err, recordstore.ErrNotFound) {
			return conflicts, err
		}
		v, _ := strconv.Atoi(string(r.Value))
		switch _, err := s.Save(ctx, "k", strconv.AppendInt(nil, int64(v)+1, 10), r.Revision, later()); {
		case err == nil:
			done++
		case errors.Is(err, recordstore.ErrConflict):
			conflicts++
		default:
			return conflicts, err
		}
	}
	return conflicts, nil
}

// Processes and goroutines that count one number up lose no count.
func TestFileStoreRace(t *testing.T) {
	const each = 25
	if path := os.Getenv("HYBRIDTOKEN_TEST_FILESTORE"); path != "" { // this is the other process
		fmt.Println("ready")
		bufio.NewReader(os.Stdin).ReadString('\n')
		conflicts, err := countTo(t.Context(), fileStore(t, path), each)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("conflicts", conflicts)
		return
	}
	path := filepath.Join(privateDir(t), "ring.json")
	var wg sync.WaitGroup
	begin := make(chan struct{})
	var mu sync.Mutex
	conflicts := 0
	note := func(n int, err error) {
		mu.Lock()
		defer mu.Unlock()
		conflicts += n
		if err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFileStoreRace$", "-test.v")
		cmd.Env = append(os.Environ(), "HYBRIDTOKEN_TEST_FILESTORE="+path)
		in, err1 := cmd.StdinPipe()
		out, err2 := cmd.StdoutPipe()
		if err := errors.Join(err1, err2, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != "ready" {
		}
		wg.Go(func() {
			<-begin
			fmt.Fprintln(in, "go")
			got := -1
			for lines.Scan() {
				if n, ok := strings.CutPrefix(lines.Text(), "conflicts "); ok {
					got, _ = strconv.Atoi(n)
				}
			}
			err := cmd.Wait()
			if got < 0 && err == nil {
				err = errors.New("the other process said nothing")
			}
			note(max(got, 0), err)
		})
	}
	for range 2 {
		wg.Go(func() {
			<-begin
			note(countTo(t.Context(), fileStore(t, path), each))
		})
	}
	close(begin)
	wg.Wait()
	r, err := fileStore(t, path).Load(t.Context(), "k")
	if string(r.Value) != strconv.Itoa(4*each) || err != nil {
		t.Errorf("counted to %s, want %d, error %v", r.Value, 4*each, err)
	}
	if conflicts == 0 {
		t.Error("no conflict: nothing was raced for")
	}
}

// A ring on disk is there after a restart, and shared by two instances.
func TestKeyringOnDisk(t *testing.T) {
	path := filepath.Join(privateDir(t), "ring.json")
	cfg := issue.KeyringConfig{SealKeys: []*issue.SealKey{sealKey(t, "a")}}
	one := openRing(t, fileStore(t, path), cfg)
	issued := forge.Issue(t, forge.NewIssuer(t, one, nil), forge.Request())
	one.Close()
	two := openRing(t, fileStore(t, path), cfg)
	if _, err := forge.RingVerifier(t, two, token.EdDSA).Verify(t.Context(), issued.Raw()); err != nil {
		t.Error(err)
	}
}
