//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package diskfile

import (
	"io/fs"
	"os"
)

// Supported reports whether files have modes and owners here, and can be locked.
const Supported = false

func open(path string, flag int, others Others) (*os.File, error) {
	info, err := os.Stat(path) // before it is opened, which may wait
	if err == nil {
		err = check(info, others)
	}
	if err != nil {
		return nil, err
	}
	return os.OpenFile(path, flag, 0)
}

// IsAnothers reports whether a file or folder belongs to another user.
func IsAnothers(fs.FileInfo) bool { return false }

// A Lock locks nothing here: to give each process its own file is the caller's business.
type Lock struct{}

// TryLock does nothing here.
func TryLock(string, Others) (*Lock, error) { return &Lock{}, nil }

// Unlock does nothing here.
func (*Lock) Unlock() {}

// SyncFolder does nothing: folders are not synced here.
func SyncFolder(string, func(*os.File) error) error { return nil }
