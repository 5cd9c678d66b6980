//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package bus

import "os"

// lockOutbox opens the lock's file and locks nothing: to give each Member its own outbox is
// the caller's business here.
func lockOutbox(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

func unlockOutbox(file *os.File) { file.Close() }

// openPrivate opens a file to read. Who may write it is the directory's business here.
func openPrivate(path string) (*os.File, error) { return os.Open(path) }

// syncFolder does nothing: directories are not synced here.
func syncFolder(string) error { return nil }
