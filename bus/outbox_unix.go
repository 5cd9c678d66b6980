//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package bus

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockOutbox keeps two processes from one file. The lock ends with the process.
func lockOutbox(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: another Member has it open, or a List keeps its state there: %w", ErrOutbox, err)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return file, nil
}

// unlockOutbox gives the file up. To close it would not do: a process that is just being
// started has it open too, until it runs its own program.
func unlockOutbox(file *os.File) {
	_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
	file.Close()
}

// openPrivate opens a file to read, unless others could have written it ([ErrOutbox]). It
// does not wait for the other end of a pipe.
func openPrivate(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		owner, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case !info.Mode().IsRegular():
			err = fmt.Errorf("%w: not a regular file", ErrOutbox)
		case info.Mode().Perm()&0o022 != 0:
			err = fmt.Errorf("%w: others can write it (mode %s)", ErrOutbox, info.Mode().Perm())
		case ok && int(owner.Uid) != os.Geteuid():
			err = fmt.Errorf("%w: it belongs to another user", ErrOutbox)
		}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func syncFolder(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
