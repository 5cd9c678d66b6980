package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hybridtoken/hybridtoken/internal/diskfile"
	"github.com/nats-io/nats-server/v2/server"
)

// checkDir refuses a directory in which others can write, and one in which they could and
// have made the server's: they could take revocations out of it, or put another stream in
// its place. A sticky bit, as /tmp has, does not help, for names that are not there yet.
// Where there are no modes, who may write in the directory is the caller's business.
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
		if diskfile.OthersCanWrite(info) {
			return fmt.Errorf("others can write in %s (mode %s): give it mode 0700, or name a directory in it, which is made so", name, info.Mode().Perm())
		}
		if name != dir && diskfile.IsAnothers(info) {
			return fmt.Errorf("%s belongs to another user", name)
		}
	}
	return nil
}

// lockDir keeps two servers from writing into one directory, which would destroy it.
func lockDir(dir string) (*diskfile.Lock, error) {
	lock, err := diskfile.TryLock(filepath.Join(dir, "lock"), diskfile.OthersMayRead)
	if errors.Is(err, diskfile.ErrLocked) {
		return nil, fmt.Errorf("directory %s is in use by another server: %w", dir, err)
	}
	return lock, err
}
