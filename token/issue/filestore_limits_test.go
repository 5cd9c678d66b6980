//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package issue

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
)

func limitsStore(t *testing.T) *FileStore {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := NewFileStore(filepath.Join(dir, "records"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A value of as many bytes as may be is saved and read again; one byte more is refused, and
// what was there stays.
func TestFileStoreValueAtItsLimit(t *testing.T) {
	f := limitsStore(t)
	n, err := f.Save(t.Context(), "k", bytes.Repeat([]byte("x"), maxRingBytes), 0, recordstore.Never)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Save(t.Context(), "k", make([]byte, maxRingBytes+1), n, recordstore.Never); !errors.Is(err, ErrStore) || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("one byte more: error %v", err)
	}
	if r, err := f.Load(t.Context(), "k"); err != nil || len(r.Value) != maxRingBytes || r.Value[maxRingBytes-1] != 'x' || r.Revision != n {
		t.Errorf("%d bytes, revision %d, error %v", len(r.Value), r.Revision, err)
	}
}

// sizedContent is a content whose file has exactly that many bytes.
func sizedContent(t *testing.T, size int) *fileContent {
	t.Helper()
	c := &fileContent{1, map[string]fileRecord{}}
	for _, key := range strings.Split("abcdefghijk", "") {
		c.records[key] = fileRecord{make([]byte, maxRingBytes), 1, 5}
	}
	encoded := func(key string, n int) int {
		c.records[key] = fileRecord{make([]byte, n), 1, 5}
		defer delete(c.records, key)
		file, err := c.encode(time.UnixMilli(0))
		if err != nil {
			t.Fatal(err)
		}
		return len(file)
	}
	n := (size-encoded("z", 0))/4*3 - 3
	key := "z" + strings.Repeat("z", size-encoded("z", n)) // for the bytes that no value has
	c.records[key] = fileRecord{make([]byte, n), 1, 5}
	return c
}

// A file of as many bytes as may be is written and read; one byte more is neither, and what
// was there stays.
func TestFileAtItsLimit(t *testing.T) {
	c := sizedContent(t, maxFileBytes)
	file, err := c.encode(time.UnixMilli(0))
	if err != nil || len(file) != maxFileBytes {
		t.Fatalf("%d bytes of %d, error %v", len(file), maxFileBytes, err)
	}
	f := limitsStore(t)
	if err := os.WriteFile(f.path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := f.read(); err != nil || len(got.records) != len(c.records) {
		t.Fatalf("a file at the limit: error %v", err)
	}

	for key, r := range c.records {
		if strings.HasPrefix(key, "z") {
			delete(c.records, key)
			c.records[key+"z"] = r
		}
	}
	if _, err := c.encode(time.UnixMilli(0)); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("a byte more is written: error %v", err)
	}
	body := append(bytes.Clone(file[len(fileHead)+len(fileSum(nil))+1:]), ' ') // white space: its checksum is good
	over := append([]byte(fileHead+fileSum(body)+"\n"), body...)
	if _, err := decodeFile(over); len(over) != maxFileBytes+1 || err != nil {
		t.Fatalf("%d bytes, whatever their number: error %v", len(over), err)
	}
	if err := os.WriteFile(f.path, over, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.read(); !errors.Is(err, ErrStoreCorrupt) || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a byte more is read: error %v", err)
	}
}

// What does not fit into the file is refused, and what was saved before is there.
func TestFileStoreFull(t *testing.T) {
	f := limitsStore(t)
	var saved []string
	var err error
	for _, key := range strings.Split("abcdefghijklm", "") {
		if _, err = f.Save(t.Context(), key, make([]byte, maxRingBytes), 0, recordstore.Never); err != nil {
			break
		}
		saved = append(saved, key)
	}
	if !errors.Is(err, ErrStore) || errors.Is(err, ErrStoreCorrupt) || len(saved) != 11 {
		t.Fatalf("%d saved, error %v", len(saved), err)
	}
	for _, key := range saved {
		if r, err := f.Load(t.Context(), key); err != nil || len(r.Value) != maxRingBytes {
			t.Errorf("%s: %d bytes, error %v", key, len(r.Value), err)
		}
	}
}

// The file of an earlier version, whatever its digest, has a revision that this version can
// write down: a record saved beside it leaves both readable.
func TestFormerFileIsWrittenDown(t *testing.T) {
	high := 0
	for i := range 64 {
		f := limitsStore(t)
		former := []byte(`{"v":1}` + strings.Repeat(" ", i))
		if err := os.WriteFile(f.path, former, 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := f.Load(t.Context(), ringKey(""))
		if err != nil || before.Revision < formerRevisions {
			t.Fatalf("revision %d, error %v", before.Revision, err)
		}
		if before.Revision&(formerRevisions>>1) != 0 {
			high++
		}
		if _, err := f.Save(t.Context(), "beside", []byte("x"), 0, recordstore.Never); err != nil {
			t.Fatal(err)
		}
		after, err := f.Load(t.Context(), ringKey(""))
		if err != nil || !bytes.Equal(after.Value, former) || after.Revision != before.Revision {
			t.Fatalf("beside another record: %q, revision %d after %d, error %v", after.Value, after.Revision, before.Revision, err)
		}
		if r, err := f.Load(t.Context(), "beside"); err != nil || string(r.Value) != "x" {
			t.Errorf("%q, error %v", r.Value, err)
		}
	}
	if high == 0 || high == 64 {
		t.Errorf("%d of 64 digests have the highest bit: not both kinds were seen", high)
	}
}

// A path below a file, and one that cannot be looked at, are refused as what they are: neither
// is "make the directory first".
func TestFileStoreBelowAFile(t *testing.T) {
	f := limitsStore(t)
	if err := os.WriteFile(f.path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewFileStore(filepath.Join(f.path, "dir", "records")); !errors.Is(err, ErrStore) || errors.Is(err, os.ErrNotExist) {
		t.Errorf("below a file: error %v", err)
	}
	// What is there is no file any more: a loop of links, which no open follows.
	if err := errors.Join(os.Remove(f.path), os.Mkdir(f.path, 0o700)); err != nil {
		t.Fatal(err)
	}
	under := &FileStore{filepath.Join(f.path, strings.Repeat("n", 4096))}
	if _, err := under.Load(t.Context(), "k"); !errors.Is(err, ErrStore) || errors.Is(err, recordstore.ErrNotFound) {
		t.Errorf("a name longer than any: error %v", err)
	}
}

// The path is what a FileStore shows, printed and logged.
func TestFileStoreShowsItsPath(t *testing.T) {
	f := limitsStore(t)
	if got := f.LogValue().String(); got != f.path {
		t.Errorf("logged as %q", got)
	}
	if got := f.String(); !strings.Contains(got, f.path) {
		t.Errorf("printed as %q", got)
	}
}
