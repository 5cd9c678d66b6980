//go:build !unix || solaris || aix

package embedded

// A dirLock does nothing where there is no flock: the caller sees to it that a
// directory has one server.
type dirLock struct{}

func lockDir(string) (*dirLock, error) { return &dirLock{}, nil }

func (*dirLock) unlock() error { return nil }
