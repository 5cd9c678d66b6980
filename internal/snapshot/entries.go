package snapshot

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math"
)

// An Entry is one of a table.
type Entry struct {
	High   uint64 // of its identity, never zero
	Low    uint64 // the other 48 bits
	Until  uint32 // unix seconds, rounded up
	Before int64  // unix milliseconds; of kinds that are cutoffs
	Spared []Exception
}

// An Exception is a session that an entry spares: it is cut off at an earlier moment.
type Exception struct {
	High, Low uint64
	Before    int64 // unix milliseconds; [Never]: not at all
}

// Never is a cutoff that no token meets.
const Never = math.MinInt64

const (
	// MaxBefore is the last cutoff that has room.
	MaxBefore = 1<<44 - 2
	never     = 1<<48 - 1 // on the wire
	maxLow    = 1<<48 - 1
)

// A Source gives the entries of a snapshot. It is asked more than once and must give the
// same each time.
type Source interface {
	// Each yields the entries of a run of a table, in ascending order of their identities, of
	// which none is there twice. It stops when yield returns false.
	Each(table, run int, yield func(*Entry) bool)
}

// Describe fills in how many entries src has, and their part. m.Tables holds the keys.
func (m *Manifest) Describe(src Source) error {
	for i := range m.Tables {
		m.Tables[i].Runs, m.Tables[i].Spared = [Kinds]uint64{}, 0
	}
	part, err := m.encodeEntries(io.Discard, src, true)
	m.Entries = part
	return err
}

// WriteEntries writes the part that [Manifest.Describe] has described.
func (m *Manifest) WriteEntries(w io.Writer, src Source) error {
	part, err := m.encodeEntries(w, src, false)
	if err == nil && part != m.Entries {
		err = fmt.Errorf("snapshot: the entries changed while they were written")
	}
	return err
}

func (m *Manifest) encodeEntries(w io.Writer, src Source, count bool) (Part, error) {
	sum := sha256.New()
	e := entryWriter{w: bufio.NewWriterSize(io.MultiWriter(sum, w), 64<<10)}
	for i := range m.Tables {
		t := &m.Tables[i]
		for run := range Kinds {
			e.last = identity{}
			src.Each(i, run, func(x *Entry) bool {
				if count {
					t.Runs[run]++
					t.Spared += uint64(len(x.Spared))
				}
				e.entry(run, x)
				return e.err == nil
			})
		}
	}
	if e.err == nil {
		e.err = e.w.Flush()
	}
	return Part{Size: e.n, Sum: [sha256.Size]byte(sum.Sum(nil))}, e.err
}

type identity struct{ high, low uint64 }

func (a identity) less(b identity) bool { return a.high < b.high || a.high == b.high && a.low < b.low }

// An entryWriter encodes, and keeps the first error.
type entryWriter struct {
	w    *bufio.Writer
	buf  [cutoffBytes + 1 + MaxSpared*sparedBytes]byte
	last identity
	n    uint64
	err  error
}

func (w *entryWriter) entry(run int, e *Entry) {
	if err := e.check(run, w.last); err != nil {
		w.err = err
		return
	}
	w.last = identity{e.High, e.Low}
	b := w.buf[:0]
	b = appendIdentity(b, e.High, e.Low)
	b = binary.LittleEndian.AppendUint32(b, e.Until)
	if Cutoff(run) {
		b = appendSix(b, uint64(e.Before))
	}
	if run == Spared {
		b = append(b, byte(len(e.Spared)))
		for _, x := range e.Spared {
			b = appendIdentity(b, x.High, x.Low)
			before := uint64(x.Before)
			if x.Before == Never {
				before = never
			}
			b = appendSix(b, before)
		}
	}
	if _, err := w.w.Write(b); err != nil {
		w.err = err
	}
	w.n += uint64(len(b))
}

// check refuses what no event could have made, and an entry that is not behind the last.
func (e *Entry) check(run int, last identity) error {
	switch {
	case e.High == 0 || e.Low > maxLow:
		return Refuse(Impossible, "an entry without an identity")
	case !last.less(identity{e.High, e.Low}):
		return Refuse(Impossible, "entries out of order")
	case e.Until == 0:
		return Refuse(Impossible, "an entry without an end")
	case Cutoff(run) && (e.Before < 0 || e.Before > MaxBefore):
		return Refuse(Impossible, "a cutoff of %d", e.Before)
	case run == Spared && (len(e.Spared) == 0 || len(e.Spared) > MaxSpared):
		return Refuse(Impossible, "%d exceptions", len(e.Spared))
	case run != Spared && e.Spared != nil:
		return Refuse(Impossible, "exceptions where there are none")
	}
	for i, x := range e.Spared {
		switch {
		case x.High == 0 || x.Low > maxLow:
			return Refuse(Impossible, "an exception without an identity")
		case i > 0 && !(identity{e.Spared[i-1].High, e.Spared[i-1].Low}).less(identity{x.High, x.Low}):
			return Refuse(Impossible, "exceptions out of order")
		case x.Before != Never && (x.Before < 0 || x.Before >= e.Before):
			return Refuse(Impossible, "an exception that spares nothing")
		}
	}
	return nil
}

func appendIdentity(b []byte, high, low uint64) []byte {
	return appendSix(binary.LittleEndian.AppendUint64(b, high), low)
}

func appendSix(b []byte, x uint64) []byte {
	return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint32(b, uint32(x)), uint16(x>>32))
}

func six(b []byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint16(b[4:]))<<32
}

// ReadEntries reads the part with the entries, and not a byte more, and hands them to take,
// as [Source] gives them, in an Entry that it uses again. What take was given must not be
// used unless the error is nil: only then their digest is known to be right.
func (m *Manifest) ReadEntries(r io.Reader, take func(table, run int, e *Entry) error) error {
	d := partReader{r: r, left: m.Entries.Size, sum: sha256.New(), what: "entries"}
	var spared [MaxSpared]Exception
	for i := range m.Tables {
		t := &m.Tables[i]
		exceptions := t.Spared
		for run, n := range t.Runs {
			var e Entry
			var last identity
			for ; n > 0; n-- {
				size := int(bytesOf(run))
				b := d.next(size)
				if d.err != nil {
					return d.err
				}
				e = Entry{High: binary.LittleEndian.Uint64(b), Low: six(b[8:]), Until: binary.LittleEndian.Uint32(b[idBytes:])}
				if Cutoff(run) {
					e.Before = int64(six(b[plainBytes:]))
				}
				if run == Spared {
					count := uint64(b[cutoffBytes])
					if count > MaxSpared || count > exceptions {
						return Refuse(Impossible, "%d exceptions", count)
					}
					exceptions -= count
					e.Spared = spared[:count]
					for j := range e.Spared {
						b := d.next(sparedBytes)
						if d.err != nil {
							return d.err
						}
						x := Exception{High: binary.LittleEndian.Uint64(b), Low: six(b[8:]), Before: int64(six(b[idBytes:]))}
						if x.Before == never {
							x.Before = Never
						}
						e.Spared[j] = x
					}
				}
				if err := e.check(run, last); err != nil {
					return err
				}
				last = identity{e.High, e.Low}
				if err := take(i, run, &e); err != nil {
					return err
				}
			}
		}
		if exceptions != 0 {
			return Refuse(Impossible, "%d exceptions too few", exceptions)
		}
	}
	return d.end(m.Entries.Sum)
}

// A partReader reads a part in pieces and sums it up. It keeps the first error.
type partReader struct {
	r    io.Reader
	left uint64 // not read yet
	n    int64
	sum  hash.Hash
	what string
	buf  [64 << 10]byte
	from int
	to   int
	err  error
}

// next returns the next bytes, at most some thousand, until it is called again.
func (d *partReader) next(n int) []byte {
	if d.to-d.from < n {
		d.more(n)
	}
	b := d.buf[d.from : d.from+n]
	d.from += n
	return b
}

func (d *partReader) more(n int) {
	d.to = copy(d.buf[:], d.buf[d.from:d.to])
	d.from = 0
	want := int(min(uint64(len(d.buf)-d.to), d.left))
	if want < n-d.to {
		d.fail(Refuse(Impossible, "%s end too early", d.what))
		return
	}
	got, err := io.ReadAtLeast(d.r, d.buf[d.to:d.to+want], n-d.to)
	d.sum.Write(d.buf[d.to : d.to+got])
	d.n += int64(got)
	d.left -= uint64(got)
	d.to += got
	if err != nil {
		d.fail(short(err, d.what, d.n))
	}
}

// fail has zeros follow.
func (d *partReader) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	clear(d.buf[:])
	d.from, d.to = 0, len(d.buf)
}

// end reads what is left, of which there should be nothing, and compares the sum.
func (d *partReader) end(want [sha256.Size]byte) error {
	switch {
	case d.err != nil:
		return d.err
	case d.left > 0 || d.from < d.to:
		return Refuse(Impossible, "%s are longer than they should be", d.what)
	case [sha256.Size]byte(d.sum.Sum(nil)) != want:
		return Refuse(Damaged, "%s", d.what)
	}
	return nil
}
