package bus

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// An outbox keeps on disk what a publisher must not forget with its process: events that
// were not acknowledged yet, and those that were, in case the stream loses them.
//
// The file is a log of lines, each a checksum (CRC-32C, eight hexadecimal digits), a
// space and a JSON object: first {"v":1,"iss":…}, then {"op":"put","id":…,"subject":…,
// "payload":…,"signature":…,"gone":…,"open":…,"seq":…}, {"op":"ack","id":…,"seq":…},
// {"op":"drop","id":…} and {"op":"lost","id":"-"}, after which no ack before it counts: the
// stream has lost what it says. A put is on the disk before the event is first sent; an
// ack may be lost, and then the event is published once more. Lines that cannot be read are
// skipped and counted, the last one, which a crash may have cut, without a word.
type outbox struct {
	path   string
	issuer string
	lock   *os.File

	mu      sync.Mutex
	file    *os.File
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

	syncFolder func(name string) error
	now        func() time.Time   // by which events have expired
	stands     func(*record) bool // the acknowledgement, in the era that has begun; nil: always
}

const (
	outboxVersion  = 1
	maxOutboxBytes = 512 << 20
	maxOutboxLine  = 4 * maxMessageBytes
	// compactAfter is the size from which on a file is written anew when it has doubled.
	compactAfter = 16 << 20
)

// ErrOutbox is the family of errors for an outbox file that cannot be used: another
// process's, another issuer's, too large, or open to others.
var ErrOutbox = errors.New("outbox not usable")

// openOutbox reads the file, if there is one, and writes it anew with what is alive.
func openOutbox(path, issuer string) (o *outbox, alive []*record, damaged int, err error) {
	lock, err := lockOutbox(path + ".lock")
	if err != nil {
		return nil, nil, 0, err
	}
	o = &outbox{path: path, issuer: issuer, lock: lock, open: map[string]*record{}, syncFolder: syncFolder, now: time.Now}
	defer func() {
		if err != nil {
			unlockOutbox(lock)
		}
	}()
	found := map[string]*record{}
	file, err := openPrivate(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, nil, 0, fmt.Errorf("%w: %w", ErrOutbox, err)
	default:
		found, damaged, err = readOutbox(file, issuer, time.Now())
		file.Close()
		if err != nil {
			return nil, nil, 0, err
		}
	}
	for _, rec := range found {
		alive = append(alive, rec)
		if rec.seq == 0 {
			o.hold(rec)
		}
	}
	if err := o.rewrite(alive); err != nil {
		return nil, nil, 0, fmt.Errorf("%w: %w", ErrOutbox, err)
	}
	return o, alive, damaged, nil
}

// rewrite replaces the file, as a whole, by one with those records. The caller holds mu
// or has the outbox to itself.
func (o *outbox) rewrite(alive []*record) (err error) {
	name := o.path + ".tmp"
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		if err != nil && !renamed {
			file.Close()
			os.Remove(name)
		}
	}()
	head, err := json.Marshal(map[string]any{"v": outboxVersion, "iss": o.issuer})
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	n, err := w.Write(outboxLine(head))
	if err != nil {
		return err
	}
	total := int64(n)
	for _, rec := range alive {
		line, err := encodeOutboxEntry(entryOf(rec))
		if err != nil {
			return err
		}
		if n, err = w.Write(line); err != nil {
			return err
		}
		total += int64(n)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(name, o.path); err != nil {
		return err
	}
	renamed = true // the old file has no name any more: whatever comes, this is the one
	if o.file != nil {
		o.file.Close()
	}
	o.file, o.written, o.torn = file, total, false
	o.compactAt = max(compactAfter, 2*total)
	return o.syncFolder(filepath.Dir(o.path))
}

// put has the records on disk before it returns. An error keeps nobody from publishing:
// it is reported, and what is published counts.
func (o *outbox) put(recs ...*record) error {
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
	full := func() bool {
		return len(o.open)+len(recs) > maxRemembered || o.held+int64(len(lines)) > maxRememberedBytes
	}
	if full() {
		o.sweep(o.now())
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
	if err := file.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // closed: written anew, and synced
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

// settled takes note that a record was acknowledged, or, with a sequence of zero, that it
// never will be. keep returns what else is known to be alive, for when the file is written
// anew.
func (o *outbox) settled(rec *record, seq uint64, keep func() []*record) error {
	if rec.id == "" {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if seq != 0 && o.stands != nil && !o.stands(rec) {
		return nil // the stream has lost it meanwhile, and lost has been written, or will be
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
	alive := keep()
	for _, rec := range o.open {
		alive = append(alive, rec)
	}
	if err := o.rewrite(alive); err != nil {
		o.failed++
		o.err = err
		o.compactAt = o.written + compactAfter // it is long work: not for each event
		return err
	}
	return nil
}

// lost takes note that the stream has lost what was acknowledged. Until all is published
// again, a process that ends must leave the rest to the next.
func (o *outbox) lost() error {
	line, err := encodeOutboxEntry(&outboxEntry{op: "lost", id: "-"})
	if err != nil {
		return err
	}
	o.mu.Lock()
	err = o.write(line)
	o.turn++
	turn := o.turn
	o.mu.Unlock()
	if err != nil {
		return err
	}
	return o.sync(turn)
}

func (o *outbox) status() (failed uint64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed, o.err
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil {
		return
	}
	_ = o.file.Sync() // puts are synced; an ack that is lost costs a duplicate
	o.file.Close()
	o.file = nil
	unlockOutbox(o.lock)
}
