//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package revoke

import "os"

// openState opens the state file for reading. Who may write it is the directory's
// business here.
func openState(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err == nil {
		err = checkState(info)
	}
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// lockState locks nothing: to give each List its own file is the caller's business here.
func lockState(string) (*os.File, error) { return nil, nil }

func unlockState(*os.File) {}

// syncDirectory does nothing: directories are not synced here.
func syncDirectory(string) error { return nil }
