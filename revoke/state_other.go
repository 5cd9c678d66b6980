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

// syncDirectory does nothing: directories are not synced here.
func syncDirectory(string) error { return nil }
