//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
)

func fileError(format string, args ...any) error {
	return fmt.Errorf("token: %w: %w", ErrKeyStore, fmt.Errorf(format, args...))
}

func checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fileError("%w", err)
	case !info.IsDir():
		return fileError("%s is no directory", dir)
	case info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0:
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
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &fileContent{records: map[string]fileRecord{}}, nil
	case errors.Is(err, syscall.ELOOP):
		return nil, fileError("%s is a symbolic link", f.path)
	case err != nil:
		return nil, fileError("%w", err)
	}
	defer file.Close()
	if err := checkPrivate(file); err != nil {
		return nil, err
	}
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
	return fmt.Errorf("token: %w: %s: %w", ErrKeyStoreCorrupt, f.path, err)
}

// checkPrivate refuses an open file that others could have read or written.
func checkPrivate(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fileError("%w", err)
	}
	switch owner, ok := info.Sys().(*syscall.Stat_t); {
	case !info.Mode().IsRegular():
		return fileError("%s is no regular file", file.Name())
	case info.Mode().Perm()&0o077 != 0:
		return fileError("others can use %s (mode %s): its keys are to be replaced, and it needs mode 0600", file.Name(), info.Mode().Perm())
	case ok && int(owner.Uid) != os.Geteuid():
		return fileError("%s belongs to another user", file.Name())
	}
	return nil
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
	defer lock.Close() // which unlocks it
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
	return content.revision, f.replace(data)
}

// lock waits until no other process, and nobody else in this one, holds the lock.
// The lock file is never removed: whoever waits has it open already.
func (f *FileStore) lock(ctx context.Context) (*os.File, error) {
	file, err := os.OpenFile(f.path+".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fileError("%w", err)
	}
	for err = checkPrivate(file); err == nil; {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return file, nil
		case errors.Is(err, syscall.EWOULDBLOCK), errors.Is(err, syscall.EINTR):
			if err = pause(ctx, lockPoll); err != nil {
				err = fileError("waiting for the lock: %w", err)
			}
		default:
			err = fileError("locking %s: %w", file.Name(), err)
		}
	}
	file.Close()
	return nil, err
}

// replace writes blob beside the file, and puts it in its place when it is on disk.
// The lock is held, so that what stands there under the temporary name is left over.
func (f *FileStore) replace(blob []byte) (err error) {
	name := f.path + ".tmp"
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError("%w", err)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fileError("%w", err)
	}
	_, err = file.Write(blob)
	if err == nil {
		err = file.Sync()
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(name, f.path)
	}
	if err != nil {
		os.Remove(name)
		return fileError("%w", err)
	}
	return syncDirectory(filepath.Dir(f.path))
}

func syncDirectory(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return fileError("%w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fileError("%w", err)
	}
	return nil
}
