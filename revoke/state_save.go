package revoke

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/diskfile"
)

// A StateFileStatus tells what became of a List's state file.
type StateFileStatus struct {
	Restored bool      // the file was there and was read
	Entries  int       // in it
	Ignored  error     // why a file that was there is not used, in the family [ErrStateFile]
	Saved    time.Time // when it was last written; zero: not yet
	Bytes    int64     // written then
	Failures uint64    // to read or to write it
	Err      error     // of the last attempt to write it; nil if that went well
}

// A stateFile is a List's side of it.
type stateFile struct {
	status atomic.Pointer[StateFileStatus] // immutable, replaced by who holds mu

	mu    sync.Mutex // held while writing; readers and Apply never take it
	saved uint64     // guarded by mu: events applied before the file was last written

	fed  bool           // guarded by mu: a feed is open, and lock, once it is had, held for as long
	lock *diskfile.Lock // guarded by mu: nil while it is not held, and where none is to be had
	seen fs.FileInfo    // guarded by mu: of the file as it was read or last written; nil: there was none
}

// takeState locks the file for a feed. Where another List has it, the feed does without it
// and SaveState tries again: only a restart needs the file.
func (l *List) takeState() {
	f := &l.stateFile
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.cfg.StateFile == "" {
		return
	}
	f.fed = true
	if err := f.hold(l.cfg.StateFile); err != nil {
		next := *f.status.Load()
		next.Err = fmt.Errorf("revoke: %w", err)
		next.Failures++
		f.status.Store(&next)
		l.cfg.Logger.Warn(forgetful, "error", next.Err)
	}
}

// hold locks the file, unless it is held already. It fails only if another has the lock, or
// could: where no lock is to be had, for want of a directory, say, the file cannot be written
// either, and that is reported. The caller holds mu.
func (f *stateFile) hold(path string) error {
	if f.lock != nil {
		return nil
	}
	lock, err := diskfile.TryLock(path+".lock", diskfile.OthersMayRead)
	switch {
	case errors.Is(err, diskfile.ErrLocked):
		return fmt.Errorf("%s: %w", path, badState("another List keeps its state there, or a Member its outbox"))
	case errors.Is(err, diskfile.ErrUnsafe):
		return fmt.Errorf("%s.lock: %w", path, badState("%v", err))
	}
	f.lock = lock
	return nil
}

// release gives the file up. The caller holds mu.
func (f *stateFile) release() {
	if f.lock != nil {
		f.lock.Unlock()
		f.lock = nil
	}
}

const forgetful = "revocation replica: what is known will be forgotten by a restart without a bus"

// leave unlocks it, when it is not being written any more.
func (f *stateFile) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.release()
	f.fed = false
}

// StateFile tells what became of the state file. It never waits.
func (l *List) StateFile() StateFileStatus { return *l.stateFile.status.Load() }

// loadState reads the state file. The List is not in use yet.
func (l *List) loadState() {
	var s *state
	if info, err := os.Lstat(l.cfg.StateFile); err == nil {
		l.stateFile.seen = info
	}
	file, err := diskfile.Open(l.cfg.StateFile, diskfile.OthersMayRead)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err == nil:
		if err = checkStateSize(file); err == nil {
			s, err = readState(file, time.Now())
		}
		file.Close()
	}
	if err != nil {
		if !errors.Is(err, ErrStateFile) {
			err = fmt.Errorf("%w: %w", ErrStateFile, err)
		}
		err = fmt.Errorf("revoke: read %s: %w", l.cfg.StateFile, err)
		l.stateFile.status.Store(&StateFileStatus{Ignored: err, Failures: 1})
		l.cfg.Logger.Warn("revocation replica: known revocations pass until the bus answers", "error", err)
		return
	}
	l.restore(s)
	l.stateFile.status.Store(&StateFileStatus{Restored: true, Entries: len(s.entries)})
	l.cfg.Logger.Info("revocation replica: state file read", "entries", len(s.entries), "written", s.written.UTC())
}

// checkStateSize spares the reading of a file that is too large.
func checkStateSize(file *os.File) error {
	info, err := file.Stat()
	if err == nil && info.Size() > maxStateBytes {
		err = badState("%d bytes, more than %d", info.Size(), maxStateBytes)
	}
	return err
}

// SaveState writes the state file, if Config names one and something was applied since
// it was last written. Followers call it now and then, and when they are closed; who
// uses a Local List calls it himself. The file is replaced as a whole, once the new
// one is on disk. A List that has neither been fresh nor read a state file knows too
// little: it leaves alone what is there. So does one whose file another List keeps its
// state in ([ErrStateFile]): is followed, or, if this one is Local, has written it
// since this one read it.
//
// It is slow, for a large List, and does not hold up [List.Check] or [List.Apply]. An
// error is also reported by [List.StateFile] and, when it is news, logged.
func (l *List) SaveState(now Instant) error {
	l.tidy(now)
	f := &l.stateFile
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.status.Load()
	if l.cfg.StateFile == "" || !old.Restored && !l.everFresh.Load() && !l.cfg.Local {
		return nil
	}
	applied := l.applied() // before the view: what comes later is saved the next time
	if applied == f.saved && (old.Restored || !old.Saved.IsZero()) && old.Err == nil {
		return nil
	}
	next := *old
	n, err := l.saveState(now)
	if err != nil {
		next.Err = fmt.Errorf("revoke: write the state file: %w", err)
		next.Failures++
		if old.Err == nil {
			l.cfg.Logger.Warn(forgetful, "error", next.Err)
		}
	} else {
		f.saved = applied
		next.Saved, next.Bytes, next.Err = now.Time(), n, nil
		if old.Err != nil {
			l.cfg.Logger.Info("revocation replica: state file written again")
		}
	}
	f.status.Store(&next)
	return next.Err
}

// applied counts the events applied so far.
func (l *List) applied() (n uint64) {
	for k := range l.counters.applied {
		n += l.counters.applied[k].Load()
	}
	return n
}

// snapshot returns what the List holds; the last memtable, which still changes, is
// copied.
func (l *List) snapshot() (v *view, newest []entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v = l.view.Load()
	active := v.memtables[len(v.memtables)-1]
	newest = make([]entry, 0, active.used)
	for i := range active.slots {
		if s := &active.slots[i]; s.h.Load() != 0 {
			newest = append(newest, s.entry())
		}
	}
	return v, newest
}

func (l *List) saveState(now Instant) (n int64, err error) {
	path := l.cfg.StateFile
	f := &l.stateFile
	if err := f.hold(path); err != nil {
		return 0, err
	}
	if !f.fed {
		defer f.release()
	}
	if info, err := os.Lstat(path); err == nil && l.cfg.Local && !sameState(info, f.seen) {
		return 0, fmt.Errorf("%s: %w", path, badState("another List, or somebody else, has written it since this one did"))
	}
	info, err := diskfile.Replace(path, (*os.File).Sync, func(file io.Writer) error {
		v, newest := l.snapshot()
		return writeState(file, *l.hasher, l.written(now), *l.retention.Load(), clampSeconds(l.effective(now)), v, newest)
	})
	if info != nil {
		f.seen, n = info, info.Size()
	}
	return n, err
}

// written is the time of writing that a state file names, from which a Local List that
// reads it goes on: by the slower clock too, but by that of this process alone, since
// what every restart has added would add up.
func (l *List) written(now Instant) time.Time {
	return time.Unix(0, min(now.Wall, now.Mono+l.slowest(now)))
}

// sameState reports whether nobody has written between two looks at the file.
func sameState(x, y fs.FileInfo) bool {
	return y != nil && os.SameFile(x, y) && x.Size() == y.Size() && x.ModTime().Equal(y.ModTime())
}

// Ready reports whether a service that judges by p should be sent requests: once the
// List has been fresh, or, unless p is [Deny], once a state file was read; and from
// then on, stale or not, as long as somebody feeds it: a replica whose follower was closed, or
// that was told [ReasonClosed], can never be fresh again and is not ready under any policy.
// It answers the question of a load balancer. It is no sign of life: a stale replica
// recovers by itself, and a restart only loses what it knows.
func (l *List) Ready(p Policy) bool {
	if l.cfg.Local {
		return true
	}
	if l.proof.Load().reason == ReasonClosed {
		return false
	}
	return l.everFresh.Load() || !p.IsDeny() && l.stateFile.status.Load().Restored
}
