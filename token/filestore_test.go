//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package token_test

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

	"github.com/hybridtoken/hybridtoken/token"
)

// privateDir returns a directory that only its owner can write to, which
// t.TempDir does not promise.
func privateDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func fileStore(t testing.TB, path string) *token.FileStore {
	t.Helper()
	s, err := token.NewFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFileStore(t *testing.T) {
	path := filepath.Join(privateDir(t), "ring.json")
	for _, s := range []token.KeyStore{fileStore(t, path), new(token.MemoryStore)} {
		ctx := t.Context()
		if blob, revision, err := s.Load(ctx); blob != nil || revision != "" || err != nil {
			t.Errorf("%T: empty: %q, %q, error %v", s, blob, revision, err)
		}
		if err := s.Save(ctx, []byte("a"), "x"); !errors.Is(err, token.ErrKeyStoreConflict) {
			t.Errorf("%T: a revision of nothing: error %v", s, err)
		}
		given := []byte("a")
		if err := s.Save(ctx, given, ""); err != nil {
			t.Fatal(err)
		}
		given[0] = 'z' // it keeps nothing that it is given
		blob, first, err := s.Load(ctx)
		if string(blob) != "a" || first == "" || err != nil {
			t.Errorf("%T: %q, %q, error %v", s, blob, first, err)
		}
		if err := s.Save(ctx, []byte("b"), ""); !errors.Is(err, token.ErrKeyStoreConflict) || !errors.Is(err, token.ErrKeyStore) {
			t.Errorf("%T: created twice: error %v", s, err)
		}
		if err := s.Save(ctx, []byte("b"), first); err != nil {
			t.Error(err)
		}
		if err := s.Save(ctx, []byte("c"), first); !errors.Is(err, token.ErrKeyStoreConflict) {
			t.Errorf("%T: an old revision: error %v", s, err)
		}
		if blob, _, _ := s.Load(ctx); string(blob) != "b" {
			t.Errorf("%T: %q", s, blob)
		}
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		if _, _, err := s.Load(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, token.ErrKeyStore) {
			t.Errorf("%T: cancelled: error %v", s, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	files, _ := os.ReadDir(filepath.Dir(path))
	if len(files) != 2 {
		t.Errorf("files left: %v", files)
	}
}

func TestFileStoreRefuses(t *testing.T) {
	for name, mode := range map[string]os.FileMode{"good": 0o700, "group": 0o770, "others": 0o707, "readable": 0o755, "sticky": 0o777 | os.ModeSticky} {
		dir := filepath.Join(t.TempDir(), "keys")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := token.NewFileStore(filepath.Join(dir, "ring.json")); (err != nil) != (name == "group" || name == "others") || err != nil && !errors.Is(err, token.ErrKeyStore) {
			t.Errorf("directory %s: error %v", name, err)
		}
	}
	if _, err := token.NewFileStore(filepath.Join(t.TempDir(), "none", "ring.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: error %v", err)
	}

	// A ring that was there all along, now in a file that is not as it should be.
	good := filepath.Join(privateDir(t), "ring.json")
	openRing(t, fileStore(t, good), token.KeyringConfig{})
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
		ring, err := token.OpenKeyring(t.Context(), fileStore(t, path), token.KeyringConfig{})
		if name == "good" || name == "read-only" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else {
				ring.Close()
			}
			continue
		}
		if ring != nil || !errors.Is(err, token.ErrKeyStore) || leaks(err.Error(), string(blob)) != "" {
			t.Errorf("%s: error %v", name, err)
		}
		corrupt := name == "empty" || name == "cut short" || name == "huge"
		if errors.Is(err, token.ErrKeyStoreCorrupt) != corrupt {
			t.Errorf("%s: error %v", name, err)
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
	if err := s.Save(ctx, []byte("a"), ""); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, token.ErrKeyStore) {
		t.Errorf("locked: error %v", err)
	}
	saved := make(chan error)
	go func() { saved <- s.Save(t.Context(), []byte("a"), "") }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if err := <-saved; err != nil {
		t.Error(err)
	}
	if blob, _, err := s.Load(t.Context()); string(blob) != "a" || err != nil {
		t.Errorf("%q, error %v", blob, err)
	}
	if _, err := os.Stat(path + ".tmp"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left over: %v", err)
	}
}

// countTo counts a number in the store up, n times.
func countTo(ctx context.Context, s token.KeyStore, n int) (conflicts int, err error) {
	for done := 0; done < n; {
		blob, revision, err := s.Load(ctx)
		if err != nil {
			return conflicts, err
		}
		v, _ := strconv.Atoi(string(blob))
		switch err := s.Save(ctx, strconv.AppendInt(nil, int64(v)+1, 10), revision); {
		case err == nil:
			done++
		case errors.Is(err, token.ErrKeyStoreConflict):
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
	blob, _, err := fileStore(t, path).Load(t.Context())
	if string(blob) != strconv.Itoa(4*each) || err != nil {
		t.Errorf("counted to %s, want %d, error %v", blob, 4*each, err)
	}
	if conflicts == 0 {
		t.Error("no conflict: nothing was raced for")
	}
}

// A ring on disk is there after a restart, and shared by two instances.
func TestKeyringOnDisk(t *testing.T) {
	path := filepath.Join(privateDir(t), "ring.json")
	cfg := token.KeyringConfig{SealKeys: []*token.SealKey{sealKey(t, "a")}}
	one := openRing(t, fileStore(t, path), cfg)
	issued := issue(t, newIssuer(t, one, nil), request())
	one.Close()
	two := openRing(t, fileStore(t, path), cfg)
	if _, err := ringVerifier(t, two, token.EdDSA).Verify(t.Context(), issued.Token()); err != nil {
		t.Error(err)
	}
}
