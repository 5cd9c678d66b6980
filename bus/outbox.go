package bus

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
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

// An entry is what one line says.
type outboxEntry struct {
	op, id, subject, payload, signature string
	gone                                time.Time
	seq                                 uint64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func outboxLine(b []byte) []byte {
	line := make([]byte, 0, len(b)+10)
	sum := crc32.Checksum(b, castagnoli)
	line = fmt.Appendf(line, "%08x ", sum)
	line = append(line, b...)
	return append(line, '\n')
}

// unwrapOutboxLine returns the JSON of a line whose checksum is right.
func unwrapOutboxLine(line []byte) ([]byte, bool) {
	if len(line) < 10 || line[8] != ' ' {
		return nil, false
	}
	var sum [4]byte
	if _, err := hex.Decode(sum[:], line[:8]); err != nil {
		return nil, false
	}
	body := line[9:]
	want := crc32.Checksum(body, castagnoli)
	return body, want == uint32(sum[0])<<24|uint32(sum[1])<<16|uint32(sum[2])<<8|uint32(sum[3])
}

func encodeOutboxEntry(e *outboxEntry) ([]byte, error) {
	m := map[string]any{"op": e.op, "id": e.id}
	if e.op == "put" {
		m["subject"], m["payload"], m["gone"] = e.subject, e.payload, e.gone.UnixMilli()
		if e.signature != "" {
			m["signature"] = e.signature
		}
	}
	if e.seq != 0 {
		m["seq"] = e.seq
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return outboxLine(b), nil
}

// decodeOutboxEntry reads the JSON of one line.
func decodeOutboxEntry(body []byte) (e outboxEntry, ok bool) {
	ok = true
	err := strictjson.Object(body, func(name string, v strictjson.Value) error {
		text := func(dst *string) {
			s, is := v.Text()
			*dst, ok = s, ok && is
		}
		switch name {
		case "op":
			text(&e.op)
		case "id":
			text(&e.id)
		case "subject":
			text(&e.subject)
		case "payload":
			text(&e.payload)
		case "signature":
			text(&e.signature)
		case "gone":
			ok = instant(v, &e.gone) && ok
		case "seq":
			n, is := v.Int()
			e.seq, ok = uint64(n), ok && is && n > 0
		}
		return nil
	})
	switch {
	case err != nil || !ok || e.id == "" || len(e.id) > 64:
		return outboxEntry{}, false
	case e.op == "put":
		return e, !e.gone.IsZero() && len(e.payload) <= maxEventBytes
	case e.op == "ack":
		return e, e.seq != 0
	}
	return e, e.op == "drop"
}

// readOutbox returns what is alive in a file: by id, in no order.
func readOutbox(r io.Reader, issuer string, now time.Time) (alive map[string]*record, damaged int, err error) {
	br := bufio.NewReaderSize(io.LimitReader(r, maxOutboxBytes+1), maxOutboxLine)
	alive = map[string]*record{}
	var total int64
	for first := true; ; first = false {
		line, err := br.ReadSlice('\n')
		total += int64(len(line))
		switch {
		case total > maxOutboxBytes:
			return nil, 0, fmt.Errorf("%w: more than %d bytes", ErrOutbox, maxOutboxBytes)
		case errors.Is(err, io.EOF):
			return alive, damaged, nil // what stands there a crash has cut
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, 0, fmt.Errorf("%w: a line of more than %d bytes: not an outbox", ErrOutbox, maxOutboxLine)
		case err != nil:
			return nil, 0, fmt.Errorf("%w: %w", ErrOutbox, err)
		}
		body, ok := unwrapOutboxLine(bytes.TrimSuffix(line, []byte("\n")))
		if first {
			if err := checkOutboxHead(body, ok, issuer); err != nil {
				return nil, 0, err
			}
			continue
		}
		e, good := outboxEntry{}, false
		if ok {
			e, good = decodeOutboxEntry(body)
		}
		if !good {
			damaged++
			continue
		}
		switch e.op {
		case "put":
			// What is published is decided here and not by who can write the file.
			msg, fault := decode(e.subject, []byte(e.payload))
			if fault != 0 || msg.beat || msg.event.Issuer != issuer {
				damaged++
				continue
			}
			alive[e.id] = &record{
				subject: e.subject, payload: []byte(e.payload), signature: e.signature, gone: e.gone, limit: limitMass, id: e.id, seq: e.seq,
			}
		case "ack":
			if rec := alive[e.id]; rec != nil {
				rec.seq = e.seq
			}
		case "drop":
			delete(alive, e.id)
		}
		if rec := alive[e.id]; rec != nil && !now.Before(rec.gone) {
			delete(alive, e.id)
		}
	}
}

func checkOutboxHead(body []byte, ok bool, issuer string) error {
	var v, iss strictjson.Value
	if ok {
		ok = strictjson.Object(body, func(name string, value strictjson.Value) error {
			switch name {
			case "v":
				v = value
			case "iss":
				iss = value
			}
			return nil
		}) == nil
	}
	version, ok1 := v.Int()
	name, ok2 := iss.Text()
	switch {
	case !ok || !ok1 || !ok2:
		return fmt.Errorf("%w: not an outbox", ErrOutbox)
	case version != outboxVersion:
		return fmt.Errorf("%w: version %d, this program knows %d", ErrOutbox, version, outboxVersion)
	case name != issuer:
		return fmt.Errorf("%w: it is of issuer %q", ErrOutbox, name)
	}
	return nil
}

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
			o.open[rec.id] = rec.stored()
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

// stored is a copy of what the file holds: the record itself changes under other locks.
func (r *record) stored() *record {
	return &record{subject: r.subject, payload: r.payload, signature: r.signature, gone: r.gone, id: r.id, seq: r.seq}
}

func entryOf(rec *record) *outboxEntry {
	return &outboxEntry{op: "put", id: rec.id, subject: rec.subject, payload: string(rec.payload), signature: rec.signature, gone: rec.gone, seq: rec.seq}
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
	for _, rec := range recs {
		o.open[rec.id] = rec.stored()
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
	delete(o.open, rec.id)
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
