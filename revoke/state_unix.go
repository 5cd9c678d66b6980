//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package revoke

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openState opens the state file for reading, unless others could have written it.
// It does not wait for the other end of a pipe.
func openState(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		err = checkState(info)
	}
	if err == nil {
		err = checkOwner(info)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func checkOwner(info fs.FileInfo) error {
	if info.Mode().Perm()&0o022 != 0 {
		return badState("others can write it (mode %s)", info.Mode().Perm())
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		return badState("it belongs to another user")
	}
	return nil
}

// lockState keeps two Lists, of one process or two, from writing one file. It fails only
// if another has the lock, which ends with the process: where no lock is to be had, for
// want of a directory, say, the file cannot be written either, and that is reported.
func lockState(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, badState("another List keeps its state there, or a Bus its outbox")
		}
		return nil, nil
	}
	return file, nil
}

// unlockState gives the file up. To close it would not do: a process that is just being
// started has it open too, until it runs its own program.
func unlockState(file *os.File) {
	if file != nil {
		_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
		file.Close()
	}
}

func syncDirectory(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
