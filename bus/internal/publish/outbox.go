package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/diskfile"
)

// An outbox keeps on disk what a publisher must not forget with its process: events that
// were not acknowledged yet, and those that were, in case the stream loses them.
//
// The file is a log of lines, each a checksum (CRC-32C, eight hexadecimal digits), a
// space and a JSON object: first {"v":1,"iss":…}, where several issuers stand in one string with "\n" between them, then {"op":"put","id":…,"subject":…,
// "payload":…,"signature":…,"gone":…,"open":…,"seq":…}, {"op":"ack","id":…,"seq":…},
// {"op":"drop","id":…} and {"op":"lost","id":"-"}, after which no ack before it counts: the
// stream has lost what it says. A put is on the disk before the event is first sent; an
// ack may be lost, and then the event is published once more. Of a file that is damaged
// whatever checks out counts, and the file is kept beside the new one; the last line, which
// a crash may have cut, goes without a word. A disk that fails keeps nobody from opening
// the outbox: it is tried again, and until then what is put is an error.
type outbox struct {
	path    string
	issuers []string

	mu      sync.Mutex
	lock    *diskfile.Lock     // guarded by mu: nil until it is had
	file    *os.File           // guarded by mu: nil while it cannot be written
	loaded  bool               // guarded by mu: what was in the file is known
	closed  bool               // guarded by mu
	tried   time.Time          // guarded by mu: when it was last tried to begin
	damaged int                // guarded by mu: stretches of the file, as it was read
	why     error              // guarded by mu: the first of them
	aside   string             // guarded by mu: where that file is kept
	untold  []*record          // guarded by mu: what was in the file, until the user has taken it up
	open    map[string]*record // guarded by mu: put, neither acknowledged nor dropped
	held    int64              // guarded by mu: bytes of open
	written int64              // guarded by mu: bytes in the file
	err     error              // guarded by mu: of the last write; nil if it went well
	failed  uint64             // guarded by mu: writes
	turn    int64              // guarded by mu: counts puts
	torn    bool               // guarded by mu: the file may end within a line

	compactAt int64     // guarded by mu: the size at which the file is written anew
	swept     time.Time // guarded by mu: when open was last rid of what has expired

	syncing  sync.Mutex
	synced   int64 // guarded by syncing: the turn up to which the disk has all
	unsynced int64 // guarded by syncing: the turn up to which it may lack some
	syncErr  error // guarded by syncing: because of this

	era uint64 // guarded by mu: the ledger's, in which acknowledgements count

	syncFile func(*os.File) error
	others   others // what is alive beside open; nil: nothing
}

const (
	outboxVersion  = 1
	maxOutboxBytes = 512 << 20
	maxOutboxLine  = 4 * wire.MaxMessageBytes
	// compactAfter is the size from which on a file is written anew when it has doubled.
	compactAfter = 16 << 20
)

// reopenPause is the least time between two attempts to open an outbox.
const reopenPause = time.Second

// openOutbox opens the outbox and returns what is alive in it. Its errors are of the
// family [ErrOutbox]; what else goes wrong is reported by status, and tried again.
func openOutbox(path string, issuers ...string) (o *outbox, alive []*record, damaged int, err error) {
	o = &outbox{path: path, issuers: issuers, open: map[string]*record{}, syncFile: (*os.File).Sync}
	alive, err = o.begin()
	if errors.Is(err, ErrOutbox) {
		return nil, nil, 0, err
	}
	return o, alive, o.damaged, nil
}

// begin makes the outbox ready to be written: it takes the lock, reads the file, if there
// is one, and writes it anew with what is alive. The caller holds mu or has the outbox to
// itself.
func (o *outbox) begin() (found []*record, err error) {
	o.tried = time.Now()
	defer func() {
		if o.err = err; err != nil {
			o.failed++
		}
		if errors.Is(err, ErrOutbox) && o.lock != nil {
			o.lock.Unlock()
			o.lock = nil
		}
	}()
	if o.lock == nil {
		if o.lock, err = diskfile.TryLock(o.path+".lock", diskfile.OthersMayRead); err != nil {
			return nil, notUsable(err)
		}
	}
	var alive []*record
	if o.loaded {
		alive = o.alive()
	} else {
		if found, err = o.load(); err != nil {
			return nil, err
		}
		alive = found
	}
	if err = o.rewrite(alive); err == nil || o.file != nil {
		return found, err
	}
	// What is there stays, and what comes is written behind it, as soon as that can be.
	file, opening := os.OpenFile(o.path, os.O_WRONLY|os.O_APPEND, 0)
	if opening != nil {
		return found, err
	}
	if info, e := file.Stat(); e == nil {
		o.written = info.Size()
	}
	o.file, o.torn, o.compactAt = file, true, o.written+compactAfter
	return found, err
}

// notUsable has what is another's in the family of [ErrOutbox].
func notUsable(err error) error {
	switch {
	case errors.Is(err, diskfile.ErrLocked):
		return fmt.Errorf("%w: another Member has it open, or a List keeps its state there: %w", ErrOutbox, err)
	case errors.Is(err, diskfile.ErrUnsafe):
		return fmt.Errorf("%w: %w", ErrOutbox, err)
	}
	return err
}

// load reads the file. The caller holds mu or has the outbox to itself.
func (o *outbox) load() (found []*record, err error) {
	file, err := diskfile.Open(o.path, diskfile.OthersMayRead)
	if errors.Is(err, fs.ErrNotExist) {
		o.loaded = true
		return nil, nil
	}
	if err != nil {
		return nil, notUsable(err)
	}
	defer file.Close()
	alive, damaged, why, err := readOutbox(file, o.issuers, time.Now())
	if err != nil {
		return nil, err
	}
	o.loaded, o.damaged, o.why = true, damaged, why
	for _, rec := range alive {
		found = append(found, rec)
		if rec.seq == 0 {
			o.hold(rec)
		}
	}
	return found, nil
}

// mend tries to open the outbox if that has failed, now and then. It returns whether that
// has gone well, or what was in the file is known; the caller takes that up, and says so by
// takenUp.
func (o *outbox) mend() (found []*record, opened bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil || o.closed || time.Since(o.tried) < reopenPause {
		return nil, false
	}
	found, err := o.begin()
	o.untold = found
	return found, err == nil || len(found) > 0
}

// takenUp ends what mend began.
func (o *outbox) takenUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.untold = nil
}

// An outboxStatus is what [Publishing] says of it.
type outboxStatus struct {
	failed  uint64
	err     error
	damaged int
	why     error
	aside   string
}

func (o *outbox) status() outboxStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	return outboxStatus{o.failed, o.err, o.damaged, o.why, o.aside}
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.file != nil {
		_ = o.file.Sync() // puts are synced; an ack that is lost costs a duplicate
		o.file.Close()
		o.file = nil
	}
	if o.lock != nil {
		o.lock.Unlock()
		o.lock = nil
	}
}
