package bus

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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

// others knows the records that an outbox is to keep beside those that wait, which a
// [publisher] does. It is asked while the outbox's lock is held.
type others interface{ acknowledgedAlive() []*record }

const (
	outboxVersion  = 1
	maxOutboxBytes = 512 << 20
	maxOutboxLine  = 4 * wire.MaxMessageBytes
	// compactAfter is the size from which on a file is written anew when it has doubled.
	compactAfter = 16 << 20
)

// ErrOutbox is the family of errors for an outbox file that is not ours to use: another
// process's, another issuer's, of a version to come, no outbox at all, or open to others. A
// file that is damaged and a disk that fails are none: see [Config].OutboxFile.
var ErrOutbox = errors.New("outbox not usable")

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

// alive returns what the file is to hold. The caller holds mu.
func (o *outbox) alive() (list []*record) {
	if o.others != nil {
		list = o.others.acknowledgedAlive()
	}
	list = append(list, o.untold...)
	for _, rec := range o.open {
		list = append(list, rec)
	}
	return list
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

// maxAside bounds the damaged files that are kept.
const maxAside = 99

// setAside gives the damaged file a second name, under which it stays when it is written
// anew. The caller holds mu or has the outbox to itself.
func (o *outbox) setAside() (err error) {
	for i := range maxAside {
		name := fmt.Sprintf("%s.damaged.%d", o.path, i+1)
		if err = os.Link(o.path, name); err != nil && !errors.Is(err, fs.ErrExist) {
			err = copyFile(o.path, name) // where a file has one name only
		}
		if errors.Is(err, fs.ErrExist) && !isSameFile(o.path, name) { // it is, where it could not be written anew the last time
			continue
		}
		if err == nil || errors.Is(err, fs.ErrExist) {
			o.aside = name
			err = diskfile.SyncFolder(filepath.Dir(name), o.syncFile)
		}
		break
	}
	if err != nil {
		return fmt.Errorf("the damaged outbox cannot be set aside: %w", err)
	}
	return nil
}

// copyFile copies a file, as a whole or not at all, to a name that nothing has.
func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	_, err = diskfile.Create(to, (*os.File).Sync, func(w io.Writer) error {
		_, err := io.Copy(w, source)
		return err
	})
	return err
}

// rewrite replaces the file, as a whole, by one with those records. The caller holds mu
// or has the outbox to itself.
func (o *outbox) rewrite(alive []*record) (err error) {
	if o.damaged > 0 && o.aside == "" && !o.isEmpty() {
		if err := o.setAside(); err != nil {
			return err
		}
	}
	info, err := diskfile.Replace(o.path, o.syncFile, func(file io.Writer) error {
		head, err := outboxHead(o.issuers)
		if err != nil {
			return err
		}
		w := bufio.NewWriter(file)
		w.Write(outboxLine(head))
		for _, rec := range alive {
			line, err := encodeOutboxEntry(entryOf(rec))
			if err != nil {
				return err
			}
			w.Write(line)
		}
		return w.Flush() // which has the error of any write
	})
	if info == nil {
		return err
	}
	if o.file != nil {
		o.file.Close() // it has no name any more: whatever comes, the new one is the one
	}
	file, opening := os.OpenFile(o.path, os.O_WRONLY|os.O_APPEND, 0)
	if o.file = file; opening != nil {
		return opening
	}
	o.written, o.torn = info.Size(), false
	o.compactAt = max(compactAfter, 2*o.written)
	return err
}

// isEmpty reports whether there is nothing in the file to be kept.
func (o *outbox) isEmpty() bool {
	info, err := os.Stat(o.path)
	return err != nil || info.Size() == 0
}

// put has the records on disk before it returns; now is the time by which others have
// expired. An error keeps nobody from publishing: it is reported, and what is published
// counts.
func (o *outbox) put(now time.Time, recs ...*record) error {
	var lines []byte
	for _, rec := range recs {
		rec.id = rand.Text()
		line, err := encodeOutboxEntry(entryOf(rec))
		if err != nil {
			return err
		}
		lines = append(lines, line...)
	}
	o.mu.Lock()
	if o.file == nil {
		err := o.err
		if err == nil {
			err = os.ErrClosed
		}
		o.failed++
		o.mu.Unlock()
		for _, rec := range recs {
			rec.id = "" // not there
		}
		return err
	}
	full := func() bool {
		return len(o.open)+len(recs) > maxRemembered || o.held+int64(len(lines)) > maxRememberedBytes
	}
	if full() {
		o.sweep(now)
	}
	if full() {
		o.failed++
		o.err = errOutboxFull
		o.mu.Unlock()
		for _, rec := range recs {
			rec.id = "" // not there
		}
		return errOutboxFull
	}
	for _, rec := range recs {
		o.hold(rec)
	}
	err := o.write(lines)
	o.turn++
	turn := o.turn
	o.mu.Unlock()
	if err != nil {
		return err
	}
	return o.sync(turn)
}

// sync returns when the disk has all up to that turn. One writing to it serves all who
// wait, and so does one failure: the system tells of it once and calls the next good.
func (o *outbox) sync(turn int64) error {
	o.syncing.Lock()
	defer o.syncing.Unlock()
	switch {
	case turn <= o.unsynced:
		return o.syncErr
	case turn <= o.synced:
		return nil
	}
	o.mu.Lock()
	file := o.file
	turn = o.turn
	o.mu.Unlock()
	if file == nil {
		return os.ErrClosed
	}
	if err := o.syncFile(file); err != nil && !errors.Is(err, os.ErrClosed) { // closed: written anew, and synced
		o.mu.Lock()
		o.err = err
		o.failed++
		o.compactAt = 0 // the next acknowledgement has all of it written anew
		o.mu.Unlock()
		o.unsynced, o.syncErr = turn, err
		return err
	}
	o.synced = turn
	return nil
}

// sweep lets go of what was never acknowledged and has expired, now and then. The caller
// holds mu.
func (o *outbox) sweep(now time.Time) {
	if now.Sub(o.swept) < time.Second {
		return
	}
	o.swept = now
	for id, rec := range o.open {
		if !now.Before(rec.gone) {
			o.release(id)
		}
	}
}

// errOutboxFull: as many events wait for their acknowledgement as are remembered at all.
var errOutboxFull = errors.New("as many events as it takes are not acknowledged yet")

// hold and release keep account of what waits. The caller holds mu or has the outbox to
// itself.
func (o *outbox) hold(rec *record) {
	o.open[rec.id] = rec.stored()
	o.held += rec.memory()
}

func (o *outbox) release(id string) {
	if rec := o.open[id]; rec != nil {
		o.held -= rec.memory()
		delete(o.open, id)
	}
}

// write appends. The caller holds mu.
func (o *outbox) write(b []byte) error {
	if o.file == nil {
		return os.ErrClosed
	}
	if o.torn { // this line must not continue half of another
		b = append([]byte("\n"), b...)
	}
	err := error(errOutboxFull)
	if o.written+int64(len(b)) <= maxOutboxBytes { // nobody would read more
		var n int
		n, err = o.file.Write(b)
		o.written += int64(n)
		if err == nil && n < len(b) {
			err = io.ErrShortWrite
		}
		o.torn = err != nil
	}
	if err != nil {
		o.failed++
	}
	o.err = err
	return err
}

// settled takes note that a record was acknowledged in that era, or, with a sequence of
// zero, that it never will be.
func (o *outbox) settled(rec *record, seq, era uint64) error {
	if rec.id == "" {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if seq != 0 && era < o.era {
		return nil // the stream has lost it meanwhile, and lost has been written
	}
	e := &outboxEntry{op: "ack", id: rec.id, seq: seq}
	switch filed := o.open[rec.id]; {
	case seq == 0:
		e.op = "drop"
	case filed == nil || !bytes.Equal(filed.payload, rec.payload):
		// It was published with another time than stands in the file: what the stream
		// holds must be known to the byte, or it would seem lost.
		e = entryOf(rec)
		e.seq = seq
	}
	line, err := encodeOutboxEntry(e)
	if err != nil {
		return err
	}
	o.release(rec.id)
	if err := o.write(line); err != nil || o.written < o.compactAt {
		return err
	}
	if err := o.rewrite(o.alive()); err != nil {
		o.failed++
		o.err = err
		o.compactAt = o.written + compactAfter // it is long work: not for each event
		return err
	}
	return nil
}

// lost takes note that the stream has lost what was acknowledged before that era. Until all
// is published again, a process that ends must leave the rest to the next.
func (o *outbox) lost(era uint64) error {
	line, err := encodeOutboxEntry(&outboxEntry{op: "lost", id: "-"})
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.era = max(o.era, era)
	err = o.write(line)
	o.turn++
	turn := o.turn
	o.mu.Unlock()
	if err != nil {
		return err
	}
	return o.sync(turn)
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
