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

// Load implements [KeyStore].
func (f *FileStore) Load(ctx context.Context) (blob []byte, revision string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", fileError("reading: %w", err)
	}
	blob, err = f.read() // a rename is atomic: no lock is needed
	if err != nil || blob == nil {
		return nil, "", err
	}
	return blob, revisionOf(blob), nil
}

// read returns the content, or nil if there is no file.
func (f *FileStore) read() ([]byte, error) {
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, syscall.ELOOP):
		return nil, fileError("%s is a symbolic link", f.path)
	case err != nil:
		return nil, fileError("%w", err)
	}
	defer file.Close()
	if err := checkPrivate(file); err != nil {
		return nil, err
	}
	blob, err := io.ReadAll(io.LimitReader(file, maxRingBytes+1))
	switch {
	case err != nil:
		return nil, fileError("%w", err)
	case len(blob) > maxRingBytes:
		return nil, fmt.Errorf("token: %w: %s has more than %d bytes", ErrKeyStoreCorrupt, f.path, maxRingBytes)
	case len(blob) == 0:
		return nil, fmt.Errorf("token: %w: %s is empty", ErrKeyStoreCorrupt, f.path)
	}
	return blob, nil
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

// Save implements [KeyStore].
func (f *FileStore) Save(ctx context.Context, blob []byte, revision string) error {
	if len(blob) == 0 || len(blob) > maxRingBytes {
		return fileError("a value of %d bytes", len(blob))
	}
	lock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close() // which unlocks it
	old, err := f.read()
	if err != nil {
		return err
	}
	current := ""
	if old != nil {
		current = revisionOf(old)
	}
	if current != revision {
		return fmt.Errorf("token: %w", ErrKeyStoreConflict)
	}
	return f.replace(blob)
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
