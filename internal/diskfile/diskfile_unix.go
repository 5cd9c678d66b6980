//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package diskfile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// Supported reports whether files have modes and owners here, and can be locked.
const Supported = true

func open(path string, flag int, others Others) (*os.File, error) {
	flag |= syscall.O_NONBLOCK
	if others == OthersMayNothing || flag&os.O_CREATE != 0 {
		flag |= syscall.O_NOFOLLOW
	}
	file, err := os.OpenFile(path, flag, 0o600)
	switch {
	case errors.Is(err, syscall.ENXIO): // a socket, or a device that is not there
		return nil, unsafe("not a regular file")
	case flag&syscall.O_NOFOLLOW != 0 && (errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK)):
		return nil, unsafe("it is a symbolic link")
	case err != nil:
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		err = check(info, others)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// IsAnothers reports whether a file or folder belongs to another user.
func IsAnothers(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) != os.Geteuid()
}

// A Lock keeps a file, or whatever it stands for, to one process, and one part of it.
type Lock struct{ file *os.File }

// TryLock takes the lock that the file at path is, which it makes if need be, and which
// nobody removes: who waits for it has it open. It never waits; the error matches
// [ErrLocked] if another has it. The lock ends with the process.
func TryLock(path string, others Others) (*Lock, error) {
	file, err := open(path, os.O_RDWR|os.O_CREATE, others)
	if err != nil {
		return nil, err
	}
	for err = syscall.EINTR; err == syscall.EINTR; {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		return &Lock{file}, nil
	}
	file.Close()
	if err == syscall.EWOULDBLOCK {
		return nil, ErrLocked
	}
	return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
}

// Unlock gives the lock up. To close the file would not do: a process that is just being
// started has it open too, until it runs its own program.
func (l *Lock) Unlock() {
	_ = syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
	l.file.Close()
}

// SyncFolder has the names in a folder on disk.
func SyncFolder(name string, sync func(*os.File) error) error {
	folder, err := os.Open(name)
	if err != nil {
		return err
	}
	defer folder.Close()
	return sync(folder)
}
