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
// "payload":…,"signature":…,"gone":…,"seq":…}, {"op":"ack","id":…,"seq":…} and
// {"op":"drop","id":…}. A put is on the disk before the event is first sent; an ack may
// be lost, and then the event is published once more. Lines that cannot be read are
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

	syncing sync.Mutex
	synced  int64 // guarded by syncing: the turn up to which the disk has all
}

const (
	outboxVersion  = 1
	maxOutboxBytes = 512 << 20
	maxOutboxLine  = 4 * maxMessageBytes
	// compactAfter is the size from which on a file of which most is past is written anew.
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
	o = &outbox{path: path, issuer: issuer, lock: lock, open: map[string]*record{}}
	defer func() {
		if err != nil {
			lock.Close()
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
	defer func() {
		if err != nil {
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
	if err := syncFolder(filepath.Dir(o.path)); err != nil {
		return err
	}
	if o.file != nil {
		o.file.Close()
	}
	o.file, o.written = file, total
	return nil
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
	if len(o.open)+len(recs) > maxRemembered || o.held+int64(len(lines)) > maxRememberedBytes {
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
	// One writing to the disk serves all who wait for it.
	o.syncing.Lock()
	defer o.syncing.Unlock()
	if o.synced >= turn {
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
		o.mu.Unlock()
		return err
	}
	o.synced = turn
	return nil
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
	n, err := o.file.Write(b)
	o.written += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		o.failed++
		// The next line must not continue half of this one.
		_, _ = o.file.Write([]byte("\n"))
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
	if err := o.write(line); err != nil || o.written < compactAfter {
		return err
	}
	alive := keep()
	var size int64
	for _, rec := range alive {
		size += rec.memory()
	}
	if o.written < 4*size {
		return nil
	}
	for _, rec := range o.open {
		alive = append(alive, rec)
	}
	return o.rewrite(alive)
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
	o.lock.Close()
}
