package publish

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// An outboxReading is what is known of a file while it is read.
type outboxReading struct {
	issuers []string // whose events it may hold
	now     time.Time
	decoder wire.Decoder
	alive   map[string]*record
	named   []string          // the issuers of its first line
	others  map[string]string // issuers of those alive that are none of issuers, by id

	headed  bool  // its first line was found
	good    bool  // anything checked out
	damaged int   // stretches that do not check out
	why     error // the first of them
	refused error // it is sound, and not for us
}

// readOutbox returns what is alive in a file, by id, in no order, and how much of it is
// damaged. Damage costs the lines that it meets and no others: whatever checks out is
// found, also behind a line's end that is gone, or any length of zeros. What stands before
// damage counts as not acknowledged, because what it took may have said that the stream
// had lost it.
//
// An error means that the file is another's, or of a version to come.
func readOutbox(r io.Reader, issuers []string, now time.Time) (alive map[string]*record, damaged int, why, err error) {
	f := outboxReading{issuers: issuers, now: now, alive: map[string]*record{}, others: map[string]string{}}
	br := bufio.NewReaderSize(io.LimitReader(r, maxOutboxBytes+1), maxOutboxLine)
	first, _ := br.Peek(4 << 10)
	first = bytes.Clone(first)
	var (
		total int64
		carry []byte // of a line longer than any: what a whole one may begin in
		long  bool
	)
	for f.refused == nil {
		line, err := br.ReadSlice('\n')
		total += int64(len(line))
		if len(carry) > 0 {
			carry = append(carry, line...)
			line = carry
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			if !long {
				f.damage("a line of more than %d bytes", maxOutboxLine)
			}
			long = true
			used := f.salvage(line)
			f.lost()
			carry = bytes.Clone(line[max(used, len(line)-maxOutboxLine):])
			continue
		}
		if err == nil {
			f.line(bytes.TrimSuffix(line, []byte("\n")), long)
			carry, long = nil, false
			continue
		}
		f.last(line, long)
		switch {
		case !errors.Is(err, io.EOF):
			f.damage("it cannot be read to its end: %w", err)
		case total > maxOutboxBytes:
			f.damage("more than %d bytes, the rest of which are not read", maxOutboxBytes)
		}
		break
	}
	for id, iss := range f.others {
		if f.alive[id] != nil && f.refused == nil {
			f.refused = fmt.Errorf("%w: it holds events of issuer %q", ErrOutbox, iss)
		}
	}
	switch {
	case f.refused != nil:
		return nil, 0, nil, f.refused
	case f.headed:
	case !f.good && isAnothers(first, issuers):
		return nil, 0, nil, fmt.Errorf("%w: not an outbox", ErrOutbox)
	case total == 0:
		f.damage("it is empty, and not even an outbox of nothing is")
	case f.damaged == 0:
		f.damage("its first line is not there")
	}
	f.refuseCredentials()
	return f.alive, f.damaged, f.why, nil
}

// damage takes note of a stretch that does not check out.
func (f *outboxReading) damage(format string, args ...any) {
	if f.damaged++; f.why == nil {
		f.why = fmt.Errorf(format, args...)
	}
	f.lost()
}

// lost takes back every acknowledgement so far.
func (f *outboxReading) lost() {
	for _, rec := range f.alive {
		rec.seq = 0
	}
}

// line reads a whole line, or the end of one that was too long, which is damage already.
func (f *outboxReading) line(line []byte, long bool) {
	if body, ok := unwrapOutboxLine(line); ok && f.take(body) || len(line) == 0 { // an empty one follows half a line
		return
	}
	if !long {
		f.damage("a line that does not check out")
	}
	f.salvage(line)
	f.lost() // also what stands in this line before its damage
}

// last reads what stands behind the last line's end: a line that a crash has cut, without
// a word, unless it cannot be that.
func (f *outboxReading) last(line []byte, long bool) {
	if body, ok := unwrapOutboxLine(line); ok && f.take(body) || len(line) == 0 {
		return
	}
	if used := f.salvage(line); used == 0 && isCut(line) || long {
		return
	}
	f.damage("what follows the last line")
}

// isCut reports whether a line may have begun so.
func isCut(line []byte) bool {
	for i, c := range line {
		switch {
		case i < 8:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		case i == 8 && c != ' ', i == 9 && c != '{', c < ' ':
			return false
		}
	}
	return len(line) <= 9 || objectEnd(line[9:]) == 0
}

// salvage takes whatever checks out within a line that does not, and returns where the
// last of it ends.
func (f *outboxReading) salvage(line []byte) (end int) {
	const mark = ` {"` // between the checksum and the first name
	budget := 64 * len(line)
	for at := 0; f.refused == nil && budget > 0; {
		i := bytes.Index(line[at:], []byte(mark))
		if i < 0 {
			return end
		}
		begin := at + i - 8
		at += i + len(mark)
		if begin < end {
			continue
		}
		n := objectEnd(line[begin+9:])
		if budget -= n; n == 0 {
			budget -= 1 << 10
			continue
		}
		if body, ok := unwrapOutboxLine(line[begin : begin+9+n]); ok && f.take(body) {
			end = begin + 9 + n
			at = end
		}
	}
	return end
}

// objectEnd returns where the JSON object ends that b begins with, or 0. Ours hold no
// other objects.
func objectEnd(b []byte) int {
	text := false
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '}':
			return i + 1
		case c == '{', c == '[', c == '\\':
			return 0
		}
	}
	return 0
}

// take takes up what a line says whose checksum is right, and reports whether it says
// anything that we understand.
func (f *outboxReading) take(body []byte) bool {
	e, ok := decodeOutboxEntry(body)
	if !ok {
		var named []string
		if named, f.refused = checkOutboxHead(body, f.issuers); named != nil {
			ok, f.named = true, named
		}
		f.headed, f.good = f.headed || ok, f.good || ok
		return ok || f.refused != nil
	}
	f.good = true
	switch e.op {
	case "put":
		// What is published is decided here and not by who can write the file.
		msg, fault := f.decoder.Decode(e.subject, []byte(e.payload))
		iss := msg.Event.Issuer
		ours := slices.Contains(f.issuers, iss)
		if fault != 0 || msg.Beat || !ours && !slices.Contains(f.named, iss) {
			return false
		}
		if delete(f.others, e.id); !ours {
			f.others[e.id] = iss
		}
		f.alive[e.id] = &record{
			subject: e.subject, payload: []byte(e.payload), signature: e.signature, gone: e.gone, limit: limitMass, id: e.id, seq: e.seq, open: e.open,
		}
	case "ack":
		if rec := f.alive[e.id]; rec != nil {
			rec.seq = e.seq
		}
	case "drop":
		delete(f.alive, e.id)
	case "lost":
		f.lost()
	}
	// Whether one that was never acknowledged has expired is not for our clock alone
	// to say.
	if rec := f.alive[e.id]; rec != nil && rec.seq != 0 && !f.now.Before(rec.gone) {
		delete(f.alive, e.id)
	}
	return true
}

// isAnothers reports whether a file of which nothing checks out is rather another
// program's, named by mistake, than an outbox that is damaged: a List's state file, or a
// text without any trace of ours. In doubt it is ours: to set it aside keeps it, and to
// refuse it keeps a service down.
func isAnothers(first []byte, issuers []string) bool {
	if bytes.HasPrefix(first, []byte("\x89HTstate")) {
		return true
	}
	if len(bytes.TrimSpace(first)) == 0 || bytes.ContainsFunc(first, func(r rune) bool {
		return r == utf8.RuneError || r < ' ' && r != '\n' && r != '\r' && r != '\t'
	}) {
		return false
	}
	for _, trace := range []string{`"op":"`, `{"gone":`, `{"id":"`, `{"iss":`, `,"v":1}`} {
		if bytes.Contains(first, []byte(trace)) {
			return false
		}
	}
	head := outboxHead(issuers)
	n, same := min(len(head), len(first)), 0
	for i := range n {
		if head[i] == first[i] {
			same++
		}
	}
	return 2*same < n
}

// refuseCredentials takes out what a version that looked less closely has left in the
// file and must not be published. An event whose value has the form of a credential revokes
// nothing, and goes. Of others what is for people goes, unless it is signed: that would
// leave nothing that a replica heeds. What was acknowledged is in the stream already, to
// the byte.
func (f *outboxReading) refuseCredentials() {
	for id, rec := range f.alive {
		msg, fault := f.decoder.Decode(rec.subject, rec.payload)
		if e := &msg.Event; rec.seq == 0 && fault == 0 && errors.Is(e.Validate(), revoke.ErrCredential) {
			e.ID, e.Reason, e.Actor = "", "", ""
			payload, err := wire.EncodeEvent(e)
			switch {
			case err != nil, errors.Is(e.Validate(), revoke.ErrCredential):
				delete(f.alive, id)
				if f.damaged++; f.why == nil {
					f.why = errors.New("an event whose value has the form of a credential")
				}
			case rec.signature == "":
				rec.payload = payload
			}
		}
	}
}
