package issue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/diskfile"
	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/recordstore"
)

// A FileStore is a [Store] in one file, for the instances on one machine. Beside path it
// uses path.lock and path.tmp. It needs a local file system of a Unix: elsewhere, and
// over NFS, locks cannot be relied on.
//
// It is made for rings: each Save writes the file anew and waits for the disk. It takes
// values of up to 1 MiB, and 16 MiB in all. A record is forgotten five minutes after it
// has expired. The file carries a checksum: one that was damaged is refused, with an error
// that matches [ErrStoreCorrupt].
//
// A file that an earlier version has written, which holds one ring and nothing else, is
// read, and written in the form of this version with the next change.
type FileStore struct {
	path string
}

// lockPoll is how often a lock that another process holds is tried.
const lockPoll = 10 * time.Millisecond

// NewFileStore returns the store in the file at path, which need not exist; its
// directory must, and nobody but its owner may be able to write to it (mode 0700,
// say), unless it has the sticky bit. The file is made with mode 0600; one that others
// can read, that belongs to another user or that is no regular file is refused, each
// time it is read. A file is replaced atomically and synced to disk first. The error
// matches [ErrStore], and [errors.ErrUnsupported] where there is no such store.
func NewFileStore(path string) (*FileStore, error) {
	if !diskfile.Supported {
		return nil, fileError("no FileStore on this system: %w", errors.ErrUnsupported)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, storeError("the path", err)
	}
	if err := checkDirectory(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return &FileStore{path}, nil
}

// String returns the path.
func (f *FileStore) String() string { return "issue.FileStore{" + f.path + "}" }

// LogValue logs the path.
func (f *FileStore) LogValue() slog.Value { return slog.StringValue(f.path) }

func fileError(format string, args ...any) error {
	return fmt.Errorf("issue: %w: %w", ErrStore, fmt.Errorf(format, args...))
}

func checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fileError("make the directory first, with mode 0700: %w", err)
	case err != nil:
		return fileError("%w", err)
	case !info.IsDir():
		return fileError("%s is no directory", dir)
	case diskfile.OthersCanWrite(info) && info.Mode()&fs.ModeSticky == 0:
		return fileError("others can write to %s (mode %s): give the keys a directory with mode 0700", dir, info.Mode().Perm())
	}
	return nil
}

// Load implements [Store].
func (f *FileStore) Load(ctx context.Context, key string) (recordstore.Record, error) {
	err := recordstore.Check(key, nil)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return recordstore.Record{}, fileError("reading: %w", err)
	}
	content, err := f.read() // a rename is atomic: no lock is needed
	if err != nil {
		return recordstore.Record{}, err
	}
	r, ok := content.live(key, time.Now())
	if !ok {
		return recordstore.Record{}, fileError("%w", recordstore.ErrNotFound)
	}
	return recordstore.Record{Value: r.value, Revision: r.revision}, nil
}

// read returns the content, which is empty if there is no file.
func (f *FileStore) read() (*fileContent, error) {
	file, err := diskfile.Open(f.path, diskfile.OthersMayNothing)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &fileContent{records: map[string]fileRecord{}}, nil
	case errors.Is(err, diskfile.ErrUnsafe):
		return nil, fileError("%s: %w; it needs mode 0600, and keys that others could read are to be replaced", f.path, err)
	case err != nil:
		return nil, fileError("%w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	switch {
	case err != nil:
		return nil, fileError("%w", err)
	case len(data) > maxFileBytes:
		return nil, f.corrupt(fmt.Errorf("more than %d bytes", maxFileBytes))
	case len(data) == 0:
		return nil, f.corrupt(errors.New("empty"))
	}
	content, err := decodeFile(data)
	if err != nil {
		return nil, f.corrupt(err)
	}
	return content, nil
}

func (f *FileStore) corrupt(err error) error {
	return fmt.Errorf("issue: %w: %s: %w", ErrStoreCorrupt, f.path, err)
}

// Save implements [Store].
func (f *FileStore) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	err := recordstore.Check(key, nil)
	if err == nil && len(value) > maxRingBytes {
		err = fmt.Errorf("a value of %d bytes, more than %d", len(value), maxRingBytes)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return 0, fileError("writing: %w", err)
	}
	lock, err := f.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer lock.Unlock()
	content, err := f.read()
	if err != nil {
		return 0, err
	}
	now := time.Now()
	old, ok := content.live(key, now)
	if ok && old.revision != revision || !ok && revision != 0 {
		return 0, fileError("%w", recordstore.ErrConflict)
	}
	content.revision = content.next(now)
	content.records[key] = fileRecord{value, content.revision, min(expires.UnixMilli(), recordstore.Never.UnixMilli())}
	data, err := content.encode(now)
	if err != nil {
		return 0, fileError("%w", err)
	}
	defer clear(data)
	if _, err := diskfile.Replace(f.path, (*os.File).Sync, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}); err != nil {
		return content.revision, fileError("%w", err)
	}
	return content.revision, nil
}

// lock waits until no other process, and nobody else in this one, holds the lock.
func (f *FileStore) lock(ctx context.Context) (*diskfile.Lock, error) {
	for {
		lock, err := diskfile.TryLock(f.path+".lock", diskfile.OthersMayNothing)
		switch {
		case err == nil:
			return lock, nil
		case !errors.Is(err, diskfile.ErrLocked):
			return nil, fileError("%s.lock: %w", f.path, err)
		}
		if pause.Wait(ctx, lockPoll) != nil {
			return nil, fileError("waiting for the lock: %w", ctx.Err())
		}
	}
}
