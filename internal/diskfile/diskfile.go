// Package diskfile keeps files that other users, other processes and crashes must not
// spoil: it reads none that others could have written, gives a file to one process at a
// time, and replaces a file as a whole, once the new one is on disk.
//
// Where there are no file modes, owners and locks of a Unix ([Supported]), access to the
// directory is the caller's business, and nothing is locked.
package diskfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

var (
	// ErrUnsafe is the family of errors for a file that is refused: other users can change
	// it, or read what is secret, or it is no regular file.
	ErrUnsafe = errors.New("unsafe file")
	// ErrLocked says that another process, or another part of this one, holds the lock.
	ErrLocked = errors.New("locked by another")
)

// Others says what other users may do with a file.
type Others uint8

const (
	// OthersMayRead is for a file that only its owner writes. Its path may be a symbolic link.
	OthersMayRead Others = iota
	// OthersMayNothing is for a secret. Its path must not be a symbolic link.
	OthersMayNothing
)

// Open opens a regular file to read. It refuses one that belongs to another user, or with
// which others may do more than that ([ErrUnsafe]), and does not wait for the other end of
// a pipe. The caller bounds what it reads.
func Open(path string, others Others) (*os.File, error) {
	return open(path, os.O_RDONLY, others)
}

// Create makes a file with mode 0600 that is on disk as a whole, or not there. Another of
// that name is left alone, with an error that matches [fs.ErrExist]. The folder is not synced.
func Create(path string, sync func(*os.File) error, write func(io.Writer) error) (fs.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	err = write(file)
	if err == nil {
		err = sync(file)
	}
	info, failed := file.Stat()
	if err == nil {
		err = failed
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		os.Remove(path)
		return nil, err
	}
	return info, nil
}

// Replace writes path.tmp and, once it is on disk, gives it the name path. The caller holds
// the lock of path: what stands under the temporary name is left over. With an error, info
// says which file has the name: it is nil if the new one has not.
func Replace(path string, sync func(*os.File) error, write func(io.Writer) error) (info fs.FileInfo, err error) {
	name := path + ".tmp"
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if info, err = Create(name, sync, write); err != nil {
		return nil, err
	}
	if err := os.Rename(name, path); err != nil {
		os.Remove(name)
		return nil, err
	}
	return info, SyncFolder(filepath.Dir(path), sync)
}

// Same reports whether both names are of one file or folder that exists.
func Same(x, y string) bool {
	a, err := os.Stat(x)
	if err != nil {
		return false
	}
	b, err := os.Stat(y)
	return err == nil && os.SameFile(a, b)
}

// OthersCanWrite reports whether other users can write to a file or in a folder.
func OthersCanWrite(info fs.FileInfo) bool { return Supported && info.Mode().Perm()&0o022 != 0 }

// check refuses an open file with which others may do more than they should.
func check(info fs.FileInfo, others Others) error {
	switch {
	case !info.Mode().IsRegular():
		return unsafe("not a regular file")
	case OthersCanWrite(info):
		return unsafe("others can write it (mode %s)", info.Mode().Perm())
	case Supported && others == OthersMayNothing && info.Mode().Perm()&0o077 != 0:
		return unsafe("others can use it (mode %s)", info.Mode().Perm())
	case IsAnothers(info):
		return unsafe("it belongs to another user")
	}
	return nil
}

func unsafe(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsafe, fmt.Sprintf(format, args...))
}
