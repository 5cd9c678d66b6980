package revoke

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"time"
)

// The format of a state file, all numbers little-endian:
//
//	magic, 8 bytes; version, 8 bytes
//	key of the identities, 16 bytes; the digest of a known identity under it, 16 bytes
//	when it was written, and the two lifetimes, unix milliseconds and milliseconds, 8 bytes each
//	entries: three words, those of a slot, then, if it has exceptions, their
//	    number, and for each two words of sid and one of cutoff, 8 bytes each
//	a word of zeros
//	SHA-256 of all that, 32 bytes
//
// The known identity tells a version whose identities are made otherwise from this
// one, should somebody change them and forget the version.
const (
	stateMagic   = "\x89HTstate"
	stateVersion = 1
	stateHeader  = 16 + 32 + 24
	stateTrailer = sha256.Size

	// maxStateBytes bounds what is read and written: 40 million entries.
	maxStateBytes = 1 << 30
)

// A state is what a state file holds.
type state struct {
	key       hasher
	written   time.Time
	retention Retention
	entries   []entry
}

// newHasher returns a hasher with a random key.
func newHasher() hasher {
	var seed [16]byte
	rand.Read(seed[:]) // never fails
	return hasher{binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:])}
}

func (h hasher) known() digest { return h.digest(KindSubject, "state file", "known identity") }

func badState(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrStateFile, fmt.Sprintf(format, args...))
}

// readState reads a state file from outside. Nothing of it is believed before its
// checksum was right, and not much then: each entry must be one that an event could
// have made, and lives no longer than an event of the retention could. now bounds
// that, or the time of writing where that is later, because a clock that is behind
// must not shorten lives.
func readState(r io.Reader, now time.Time) (*state, error) {
	sum := sha256.New()
	br := bufio.NewReaderSize(io.LimitReader(r, maxStateBytes+1), 64<<10)
	d := stateReader{r: br, sum: sum}
	var magic [8]byte
	d.bytes(magic[:])
	if d.err == nil && string(magic[:]) != stateMagic {
		return nil, badState("not a state file")
	}
	if v := d.word(); d.err == nil && v != stateVersion {
		return nil, badState("version %d, this program knows %d", v, stateVersion)
	}
	s := &state{key: hasher{d.word(), d.word()}}
	if known := (digest{d.word(), d.word()}); d.err == nil && known != s.key.known() {
		return nil, badState("its identities are made otherwise")
	}
	written := d.word()
	s.retention = Retention{TokenLifetime: d.millis(), SessionLifetime: d.millis()}
	for d.err == nil {
		e, more := d.entry()
		if !more {
			break
		}
		s.entries = append(s.entries, e)
	}
	var want, have [stateTrailer]byte
	sum.Sum(have[:0])
	d.sum = nil
	d.bytes(want[:])
	switch {
	case d.n > maxStateBytes:
		return nil, badState("more than %d bytes", maxStateBytes)
	case errors.Is(d.err, io.EOF), errors.Is(d.err, io.ErrUnexpectedEOF):
		return nil, badState("cut short after %d bytes", d.n)
	case d.err != nil:
		return nil, fmt.Errorf("%w: %w", ErrStateFile, d.err)
	case want != have:
		return nil, badState("wrong checksum")
	}
	if n, err := br.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return nil, badState("something follows its end")
	}
	if written > maxStateMillis {
		return nil, badState("impossible time of writing")
	}
	s.written = time.UnixMilli(int64(written))
	if s.written.After(now) {
		now = s.written
	}
	for i := range s.entries {
		if err := s.entries[i].bound(now, s.retention); err != nil {
			return nil, badState("entry %d: %v", i, err)
		}
	}
	return s, nil
}

// maxStateMillis is in the year 2527, and ten years beyond do not overflow.
const maxStateMillis = forever

// bound refuses what no event could have made, and shortens what lives too long.
func (e *entry) bound(now time.Time, h Retention) error {
	switch {
	case !e.kind.valid():
		return fmt.Errorf("unknown kind %d", e.kind)
	case e.id.hi == 0:
		return errors.New("no identity")
	case e.until == 0:
		return errors.New("no end")
	case e.kind.Cutoff() == (e.before == forever):
		return fmt.Errorf("impossible cutoff for kind %s", e.kind)
	case e.keep != nil && e.kind != KindSubject:
		return fmt.Errorf("exceptions of kind %s", e.kind)
	}
	if e.kind.Cutoff() {
		if limit := now.Add(maxAhead + Retention{MaxSkew: MaxSkewLimit}.Slack()).UnixMilli(); e.before > limit {
			return errors.New("cutoff in the future")
		}
	}
	if e.keep != nil {
		for i, x := range e.keep.list {
			if x.before >= e.before || i > 0 && compareDigests(e.keep.list[i-1].sid, x.sid) >= 0 {
				return errors.New("impossible exceptions")
			}
		}
	}
	e.until = min(e.until, ceilSeconds(now.Add(h.Longest(e.kind))))
	return nil
}

// A stateReader decodes, and keeps the first error.
type stateReader struct {
	r   io.Reader
	sum hash.Hash // nil: not summed
	n   int64
	err error
	buf [24]byte
}

func (d *stateReader) bytes(b []byte) {
	if d.err != nil {
		clear(b)
		return
	}
	n, err := io.ReadFull(d.r, b)
	d.n += int64(n)
	if d.n > maxStateBytes && err == nil {
		err = io.ErrUnexpectedEOF
	}
	if d.err = err; err != nil {
		clear(b)
		return
	}
	if d.sum != nil {
		d.sum.Write(b)
	}
}

func (d *stateReader) word() uint64 {
	d.bytes(d.buf[:8])
	return binary.LittleEndian.Uint64(d.buf[:])
}

// millis reads a lifetime. One that no stream has is the longest that one may have.
func (d *stateReader) millis() time.Duration {
	if ms := d.word(); ms < uint64(MaxLifetime.Milliseconds()) {
		return time.Duration(ms) * time.Millisecond
	}
	return MaxLifetime
}

// entry reads one entry; more is false at the end.
func (d *stateReader) entry() (e entry, more bool) {
	s := slot{h: d.word()}
	if s.h == 0 || d.err != nil {
		return entry{}, false
	}
	d.bytes(d.buf[:16])
	s.b, s.u = binary.LittleEndian.Uint64(d.buf[:]), binary.LittleEndian.Uint64(d.buf[8:])
	e = entry{id: s.id(), kind: s.kind(), before: s.before(), until: s.until()}
	if !s.keeps() {
		return e, d.err == nil
	}
	n := d.word()
	if n == 0 || n > MaxKeep {
		if d.err == nil {
			d.err = fmt.Errorf("%d exceptions", n)
		}
		return entry{}, false
	}
	e.keep = &exceptions{list: make([]exception, n)}
	for i := range e.keep.list {
		d.bytes(d.buf[:24])
		b := d.buf[:]
		e.keep.list[i] = exception{
			sid:    digest{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])},
			before: int64(binary.LittleEndian.Uint64(b[16:])),
		}
	}
	return e, d.err == nil
}

// writeState writes what v holds and has not expired before live.
func writeState(w io.Writer, key hasher, now time.Time, h Retention, live uint32, v *view, newest []entry) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	sum := sha256.New()
	d := stateWriter{w: io.MultiWriter(bw, sum)}
	d.buf = append(d.buf, stateMagic...)
	known := key.known()
	d.words(stateVersion, key.k0, key.k1, known.hi, known.lo, uint64(max(now.UnixMilli(), 0)),
		uint64(h.TokenLifetime.Milliseconds()), uint64(h.SessionLifetime.Milliseconds()))
	for e := range v.base.entries {
		if e.until >= live {
			d.entry(e)
		}
	}
	for _, r := range v.memtables[:len(v.memtables)-1] {
		for i := range r.slots {
			if s := &r.slots[i]; s.h.Load() != 0 {
				d.entry(s.entry())
			}
		}
	}
	for _, e := range newest {
		d.entry(e)
	}
	d.words(0)
	d.flush()
	if d.err != nil {
		return d.err
	}
	if _, err := bw.Write(sum.Sum(nil)); err != nil {
		return err
	}
	return bw.Flush()
}

// A stateWriter encodes, and keeps the first error.
type stateWriter struct {
	w   io.Writer
	buf []byte
	n   int64
	err error
}

func (d *stateWriter) words(list ...uint64) {
	for _, x := range list {
		d.buf = binary.LittleEndian.AppendUint64(d.buf, x)
	}
	if len(d.buf) >= 32<<10 {
		d.flush()
	}
}

func (d *stateWriter) entry(e entry) {
	s := pack(&e)
	d.words(s.h, s.b, s.u)
	if e.keep == nil {
		return
	}
	d.words(uint64(len(e.keep.list)))
	for _, x := range e.keep.list {
		d.words(x.sid.hi, x.sid.lo, uint64(x.before))
	}
}

func (d *stateWriter) flush() {
	if d.n += int64(len(d.buf)); d.n > maxStateBytes-stateTrailer && d.err == nil {
		d.err = badState("more than %d bytes", maxStateBytes)
	}
	if d.err == nil {
		_, d.err = d.w.Write(d.buf)
	}
	d.buf = d.buf[:0]
}

// restore fills an empty List, which nobody uses yet, with what a state file held.
func (l *List) restore(s *state) {
	l.hasher = &s.key
	b := newBase(s.entries, l.layout)
	for _, e := range s.entries {
		u := &l.kindUntil[e.kind]
		u.Store(max(u.Load(), e.until))
	}
	for k, n := range b.kinds {
		if n > 0 { // the file holds no values
			l.prefilters[k].addAll()
		}
	}
	l.view.Store(&view{base: b, memtables: l.view.Load().memtables})
	l.sweepAt.Store(b.sweepAt)
	known := l.retention.Load().or(s.retention)
	l.retention.Store(&known)
	if !l.cfg.Local {
		l.streamOffset.Store(math.MinInt64) // nothing is forgotten until the stream has told its time
		return
	}
	// How long the process was away only the wall clock knows, which may be wrong just
	// after a start. The slower clock of this List goes on where the last one stopped.
	l.restoredOffset = s.written.UnixNano() - Now().Mono
}
