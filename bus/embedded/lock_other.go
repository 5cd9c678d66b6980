//go:build !unix || solaris || aix

package embedded

// checkDir checks nothing: who may write in the directory is the caller's business here.
func checkDir(string) error { return nil }

// A dirLock does nothing where there is no flock: the caller sees to it that a
// directory has one server.
type dirLock struct{}

func lockDir(string) (*dirLock, error) { return &dirLock{}, nil }

func (*dirLock) unlock() error { return nil }
