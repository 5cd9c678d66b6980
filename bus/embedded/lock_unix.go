//go:build unix && !solaris && !aix

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/nats-io/nats-server/v2/server"
)

// checkDir refuses a directory in which others can write, and one in which they could and
// have made the server's: they could take revocations out of it, or put another stream in
// its place. A sticky bit, as /tmp has, does not help, for names that are not there yet.
func checkDir(dir string) error {
	for _, name := range []string{dir, filepath.Join(dir, server.JetStreamStoreDir)} {
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) && name != dir {
			return nil
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is no directory", name)
		}
		if perm := info.Mode().Perm(); perm&0o022 != 0 {
			return fmt.Errorf("others can write in %s (mode %s): give it mode 0700, or name a directory in it, which is made so", name, perm)
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && name != dir && int(owner.Uid) != os.Geteuid() {
			return fmt.Errorf("%s belongs to another user", name)
		}
	}
	return nil
}

// A dirLock keeps two servers from writing into one directory, which would destroy
// it. It ends with the process, however that ends.
type dirLock struct{ file *os.File }

func lockDir(dir string) (*dirLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("directory %s is in use by another server: %w", dir, err)
	}
	return &dirLock{f}, nil
}

// unlock gives the directory up. To close the file would not do: a process that is just
// being started has it open too, until it runs its own program.
func (l *dirLock) unlock() error {
	_ = syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
	return l.file.Close()
}
