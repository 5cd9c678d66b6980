package token

import (
	"log/slog"
	"path/filepath"
	"time"
)

// A FileStore is a [Store] in one file, for the instances on one machine. Beside path it
// uses path.lock and path.tmp. It needs a local file system of a Unix: elsewhere, and
// over NFS, locks cannot be relied on.
//
// It is made for rings: each Save writes the file anew and waits for the disk. It takes
// values of up to 1 MiB, and 16 MiB in all. A record is forgotten five minutes after it
// has expired. The file carries a checksum: one that was damaged is refused, with an error
// that matches [ErrKeyStoreCorrupt].
//
// A file that an earlier version has written, which holds one ring and nothing else, is
// read, and written in the form of this version with the next change.
type FileStore struct {
	path string
}

// lockPoll is how often a lock that another process holds is tried.
const lockPoll = 10 * time.Millisecond

// NewFileStore returns the store in the file at path, which need not exist; its
// directory must, and nobody but its owner may be able to write to it (mode 0700,
// say), unless it has the sticky bit. The file is made with mode 0600; one that others
// can read, that belongs to another user or that is no regular file is refused, each
// time it is read. A file is replaced atomically and synced to disk first. The error
// matches [ErrKeyStore], and [errors.ErrUnsupported] where there is no such store.
func NewFileStore(path string) (*FileStore, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, storeError("the path", err)
	}
	if err := checkDirectory(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return &FileStore{path}, nil
}

// String returns the path.
func (f *FileStore) String() string { return "token.FileStore{" + f.path + "}" }

// LogValue logs the path.
func (f *FileStore) LogValue() slog.Value { return slog.StringValue(f.path) }
