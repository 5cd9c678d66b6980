package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"time"
)

// Read reads a manifest from outside, and not a byte more. Nothing that it says may be
// believed unless the error is nil: then its digest is right and, unless verify is nil,
// which is for files that nobody else can write, its signature counts.
func Read(r io.Reader, verify Verify) (*Manifest, error) {
	var head [len(magic) + 8]byte
	if err := fill(r, head[:], "manifest"); err != nil {
		return nil, err
	}
	if string(head[:len(magic)]) != magic {
		return nil, Refuse(UnknownVersion, "it is no snapshot")
	}
	if v := binary.LittleEndian.Uint32(head[len(magic):]); v != Version {
		return nil, Refuse(UnknownVersion, "version %d, this program knows %d", v, Version)
	}
	size := binary.LittleEndian.Uint32(head[len(magic)+4:])
	if size > maxBody {
		return nil, Refuse(Impossible, "a manifest of %d bytes, more than %d", size, maxBody)
	}
	var buf bytes.Buffer // grows as bytes come
	n, err := io.CopyN(&buf, r, int64(size)+sha256.Size+1)
	if err != nil {
		return nil, short(err, "manifest", n)
	}
	body := buf.Bytes()[:size]
	m := new(Manifest)
	sum := sha256.New()
	sum.Write(head[:])
	sum.Write(body)
	sum.Sum(m.sum[:0])
	if m.sum != [sha256.Size]byte(buf.Bytes()[size:]) {
		return nil, Refuse(Damaged, "manifest")
	}
	switch signed := buf.Bytes()[int(size)+sha256.Size]; {
	case signed > 1:
		return nil, Refuse(Impossible, "%d signatures", signed)
	case signed == 1:
		var s [keyIDBytes + signatureBytes]byte
		if err := fill(r, s[:], "signature"); err != nil {
			return nil, err
		}
		m.Signer = KeyID(s[:])
		if verify != nil && !verify(m.Signer, message(m.sum), s[keyIDBytes:]) {
			return nil, Refuse(Forged, "key %x", m.Signer)
		}
	case verify != nil:
		return nil, Refuse(Forged, "no signature")
	}
	if err := m.decode(body); err != nil {
		return nil, err
	}
	return m, m.check()
}

// fill reads len(b) bytes.
func fill(r io.Reader, b []byte, what string) error {
	if n, err := io.ReadFull(r, b); err != nil {
		return short(err, what, int64(n))
	}
	return nil
}

func short(err error, what string, n int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Refuse(Truncated, "%s, after %d bytes", what, n)
	}
	return &Error{Fault: Unreadable, Detail: what, Cause: err}
}

// End refuses what follows where a snapshot ends.
func End(r io.Reader) error {
	n, err := io.CopyN(io.Discard, r, 1)
	switch {
	case n > 0:
		return Refuse(Impossible, "something follows its end")
	case err != nil && !errors.Is(err, io.EOF):
		return short(err, "end", 0)
	}
	return nil
}

// A fields reads a body, and remembers whether that was too short.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) take(n int) []byte {
	if n > len(f.b) {
		f.short = true
		return make([]byte, n)
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) word() uint64 { return binary.LittleEndian.Uint64(f.take(8)) }

// count reads how many items follow, each of at least size bytes; more than there can be are
// none.
func (f *fields) count(size int) int {
	n := int(binary.LittleEndian.Uint16(f.take(2)))
	if n*size > len(f.b) {
		f.short = true
		return 0
	}
	return n
}

func (f *fields) nanos() time.Time {
	if n := int64(f.word()); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// maxMillis is what fits a time.Duration; no lifetime and no time of writing comes near.
const maxMillis = math.MaxInt64 / uint64(time.Millisecond)

func (m *Manifest) decode(body []byte) error {
	f := &fields{b: body}
	written, newest := f.word(), f.word()
	if written > maxMillis || newest > maxMillis {
		return Refuse(Impossible, "a time")
	}
	m.Written = time.UnixMilli(int64(written))
	if newest > 0 {
		m.Newest = time.UnixMilli(int64(newest))
	}
	for _, d := range [...]*time.Duration{&m.TokenLifetime, &m.SessionLifetime, &m.MaxSkew} {
		ms := f.word()
		if ms > maxMillis {
			return Refuse(Impossible, "a lifetime")
		}
		*d = time.Duration(ms) * time.Millisecond
	}
	l := &m.Log
	l.Stream = string(f.take(f.count(1)))
	l.Created = f.nanos()
	l.Sequence = f.word()
	l.Anchors = make([]Anchor, f.count(56))
	for i := range l.Anchors {
		a := Anchor{Sequence: f.word(), Time: f.nanos()}
		if s := int64(f.word()); s != 0 {
			a.Expires = time.Unix(s, 0)
		}
		a.Hash = [32]byte(f.take(32))
		l.Anchors[i] = a
	}
	l.Issuers = make([][16]byte, f.count(16))
	for i := range l.Issuers {
		l.Issuers[i] = [16]byte(f.take(16))
	}
	l.Digest.Algorithm = binary.LittleEndian.Uint16(f.take(2))
	l.Digest.Marks = make([]Mark, f.count(48))
	for i := range l.Digest.Marks {
		l.Digest.Marks[i] = Mark{f.word(), f.word(), [32]byte(f.take(32))}
	}
	l.Digest.Groups = make([]Group, f.count(48))
	for i := range l.Digest.Groups {
		l.Digest.Groups[i] = Group{int64(f.word()), f.word(), [32]byte(f.take(32))}
	}
	m.Tables = make([]Table, f.count(32+9*8+Kinds*4))
	for i := range m.Tables {
		t := &m.Tables[i]
		t.Key, t.Known = [16]byte(f.take(16)), [16]byte(f.take(16))
		for run := range t.Runs {
			t.Runs[run] = f.word()
		}
		t.Spared = f.word()
		for k := range t.Blocks {
			t.Blocks[k] = binary.LittleEndian.Uint32(f.take(4))
		}
	}
	for _, p := range [...]*Part{&m.Entries, &m.Filter} {
		p.Size = f.word()
		p.Sum = [sha256.Size]byte(f.take(sha256.Size))
	}
	switch {
	case f.short:
		return Refuse(Impossible, "its manifest is shorter than what it says")
	case len(f.b) > 0:
		return Refuse(Impossible, "%d bytes too many in its manifest", len(f.b))
	}
	return nil
}
