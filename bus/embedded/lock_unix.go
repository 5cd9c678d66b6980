//go:build unix && !solaris && !aix

package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

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
