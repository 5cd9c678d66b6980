package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A history is what the processes wrote: for each incarnation of each process one
// file of records of equal size. Who is killed leaves a record in part at most, at
// the end, which is ignored.
const recordSize = 40

// What a publisher writes: before it sends, after it was told, and when its
// republishing after a loss is over.
type publication struct {
	kind   pubKind
	number uint32  // of the event; of a settled: events that a loss would no longer find
	at     instant // of an attempt: before it. Of an acknowledgement: A(e), after Publish returned
	before int64   // of cutoffs, milliseconds
	losses uint32  // of a settled: how often the stream had lost events so far

	sequence uint64 // of an acknowledgement: the event's place in the stream
}

type pubKind uint8

const (
	pubAttempt pubKind = iota + 1
	pubAcked
	pubFailed
	pubLossy   // a loss was noticed; what is known is being republished
	pubSettled // nothing is left to be republished
)

func (p publication) encode(b []byte) {
	clear(b[:recordSize])
	b[0] = byte(p.kind)
	binary.LittleEndian.PutUint32(b[4:], p.number)
	binary.LittleEndian.PutUint64(b[8:], uint64(p.at))
	binary.LittleEndian.PutUint64(b[16:], uint64(p.before))
	binary.LittleEndian.PutUint32(b[24:], p.losses)
	binary.LittleEndian.PutUint64(b[28:], p.sequence)
}

func decodePublication(b []byte) (publication, error) {
	p := publication{
		kind:   pubKind(b[0]),
		number: binary.LittleEndian.Uint32(b[4:]),
		at:     instant(binary.LittleEndian.Uint64(b[8:])),
		before: int64(binary.LittleEndian.Uint64(b[16:])),
		losses: binary.LittleEndian.Uint32(b[24:]),

		sequence: binary.LittleEndian.Uint64(b[28:]),
	}
	if p.kind < pubAttempt || p.kind > pubSettled || p.at <= 0 {
		return p, fmt.Errorf("no publication: kind %d at %d", p.kind, p.at)
	}
	return p, nil
}

// What a verifier writes: one check.
type checked struct {
	begin  instant
	took   uint32  // nanoseconds
	proven instant // P(R) when it began; 0: nothing was proven
	event  ref     // whose token it is
	role   role
	iat    int64 // of the token, milliseconds
	answer verdict
	state  uint8 // revoke.State when it began
	reason uint8 // revoke.Reason
	whole  bool  // the token was signed, and went through token.Verifier
	skewed bool  // the wall clock was wrong
}

type verdict uint8

const (
	accepted verdict = iota + 1
	revoked
	stale
	failed // anything else
)

func (v verdict) String() string {
	return [...]string{"nothing", "accepted", "revoked", "stale", "failed"}[min(v, failed)]
}

func (c checked) encode(b []byte) {
	binary.LittleEndian.PutUint64(b[0:], uint64(c.begin))
	binary.LittleEndian.PutUint64(b[8:], uint64(c.proven))
	binary.LittleEndian.PutUint64(b[16:], uint64(c.iat))
	binary.LittleEndian.PutUint32(b[24:], c.event.number)
	binary.LittleEndian.PutUint32(b[28:], c.took)
	binary.LittleEndian.PutUint16(b[32:], c.event.publisher)
	b[34], b[35], b[36], b[37] = byte(c.role), byte(c.answer), c.state, c.reason
	b[38], b[39] = 0, 0xc5
	if c.whole {
		b[38] |= 1
	}
	if c.skewed {
		b[38] |= 2
	}
}

func decodeChecked(b []byte) (checked, error) {
	c := checked{
		begin:  instant(binary.LittleEndian.Uint64(b[0:])),
		proven: instant(binary.LittleEndian.Uint64(b[8:])),
		iat:    int64(binary.LittleEndian.Uint64(b[16:])),
		event:  ref{number: binary.LittleEndian.Uint32(b[24:]), publisher: binary.LittleEndian.Uint16(b[32:])},
		took:   binary.LittleEndian.Uint32(b[28:]),
		role:   role(b[34]), answer: verdict(b[35]), state: b[36], reason: b[37],
		whole: b[38]&1 != 0, skewed: b[38]&2 != 0,
	}
	if b[39] != 0xc5 || c.begin <= 0 || c.answer < accepted || c.answer > failed || c.role >= roles {
		return c, fmt.Errorf("no check: answer %d at %d", c.answer, c.begin)
	}
	return c, nil
}

// fileName names the history of one incarnation, a number that no other has.
func fileName(dir, what string, incarnation int) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%05d.history", what, incarnation))
}

// histories lists the incarnations of that sort that left a history.
func histories(dir, what string) ([]int, error) {
	names, err := filepath.Glob(filepath.Join(dir, what+"-*.history"))
	if err != nil {
		return nil, err
	}
	var list []int
	for _, name := range names { // sorted
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(name), what+"-"), ".history"))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, n)
	}
	return list, nil
}

// eachRecord calls f with each whole record from offset, and returns where the rest begins.
func eachRecord(r io.ReaderAt, offset int64, f func(b []byte) error) (int64, error) {
	buf := make([]byte, 1024*recordSize)
	for {
		n, err := r.ReadAt(buf, offset)
		whole := n - n%recordSize
		for i := 0; i < whole; i += recordSize {
			if err := f(buf[i : i+recordSize]); err != nil {
				return offset + int64(i), fmt.Errorf("record at %d: %w", offset+int64(i), err)
			}
		}
		offset += int64(whole)
		if err == io.EOF {
			return offset, nil
		}
		if err != nil {
			return offset, err
		}
	}
}

// A recorder appends records to a file. With a delay it collects them first: what a
// kill takes then are checks that nobody will hear of, never what was published.
type recorder struct {
	mu   sync.Mutex
	f    *os.File
	buf  []byte
	last time.Time
	wait time.Duration
}

func newRecorder(name string, wait time.Duration) (*recorder, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return &recorder{f: f, wait: wait}, err
}

func (r *recorder) add(encode func([]byte)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.buf)
	r.buf = append(r.buf, make([]byte, recordSize)...)
	encode(r.buf[n:])
	if now := time.Now(); r.wait == 0 || now.Sub(r.last) >= r.wait {
		r.last = now
		return r.flushLocked()
	}
	return nil
}

func (r *recorder) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flushLocked()
}

func (r *recorder) flushLocked() error {
	_, err := r.f.Write(r.buf)
	r.buf = r.buf[:0]
	return err
}

func (r *recorder) close() error {
	if err := r.flush(); err != nil {
		return err
	}
	return r.f.Close()
}
