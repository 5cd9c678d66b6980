//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package revoke

import (
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

func syncDirectory(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
