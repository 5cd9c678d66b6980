package wire

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"time"
	"unsafe"

	"github.com/hybridtoken/hybridtoken/internal/replica"
)

// Plain reads an event that looks as EncodeEvent writes nearly all of them: its members in
// its order, no spaces, no exceptions, and texts of ASCII without escapes. A replay reads
// little else, and this is several times as fast as to read JSON. What looks otherwise, or
// is not valid, is not ok and says nothing: [Decoder.Decode] reads it with all its rules.
// FuzzDecodeEvent holds the one to the other.
//
// The texts of the event are those bytes of data, which must not change while they are in
// use.
func (d *Decoder) Plain(subject string, data []byte, dst *replica.Received) (ok bool) {
	e := dst.Begin()
	if len(data) > MaxMessageBytes {
		return false
	}
	p := plain{rest: unsafe.String(unsafe.SliceData(data), len(data))}
	if !p.skip(`{"v":1`) {
		return false
	}
	p.text(`,"id":"`, &e.ID)
	if known, ok := d.plainIssuer(&p); ok {
		e.Issuer = known
	} else {
		p.text(`,"iss":"`, &e.Issuer)
	}
	var kind string
	p.text(`,"kind":"`, &kind)
	p.text(`,"value":"`, &e.Value)
	p.millis(`,"before":`, &e.Before)
	p.millis(`,"until":`, &e.Until)
	p.text(`,"reason":"`, &e.Reason)
	p.text(`,"actor":"`, &e.Actor)
	p.millis(`,"at":`, &e.At)
	if p.bad || p.rest != "}" {
		return false
	}
	if e.Kind, ok = replica.ParseKind(kind); !ok || !d.is(subject, e.Issuer, kind) {
		return false
	}
	return dst.Judge() == nil && dst.AllUsable()
}

// plainIssuer reads the issuer that was read last.
func (d *Decoder) plainIssuer(p *plain) (issuer string, ok bool) {
	const name = `,"iss":"`
	rest, ok := strings.CutPrefix(p.rest, name)
	if !ok || len(rest) <= len(d.issuer) || rest[:len(d.issuer)] != d.issuer || rest[len(d.issuer)] != '"' || !d.plain {
		return "", false
	}
	p.rest = rest[len(d.issuer)+1:]
	return d.issuer, true
}

// A plain reads members from the front of rest. A member that is not there is left
// out; one that is not plain makes it bad.
type plain struct {
	rest string
	bad  bool
}

func (p *plain) skip(name string) (found bool) {
	p.rest, found = strings.CutPrefix(p.rest, name)
	return found
}

// text reads up to the closing quote, which plain texts do not hold themselves.
func (p *plain) text(name string, dst *string) {
	if !p.skip(name) {
		return
	}
	end := plainLength(p.rest)
	if end == len(p.rest) || p.rest[end] != '"' {
		p.bad = true
		return
	}
	*dst, p.rest = p.rest[:end], p.rest[end+1:]
}

// plainLength returns how many bytes of s, from its first on, are ASCII that stands for
// itself in JSON: no quote, backslash or control character.
func plainLength(s string) int {
	const (
		each = 0x0101010101010101
		top  = 0x80 * each
	)
	n := 0
	// Eight bytes at once. x-each has the top bit of each byte that was zero, and
	// x-' '*each of each that was below a blank; a borrow may set others, but only above
	// such a one, and the lowest decides.
	for ; len(s)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(unsafe.Slice(unsafe.StringData(s[n:]), 8))
		quote, backslash, del := x^'"'*each, x^'\\'*each, x^0x7f*each
		odd := ((x-' '*each)&^x | (quote-each)&^quote | (backslash-each)&^backslash | (del-each)&^del | x) & top
		if odd != 0 {
			return n + bits.TrailingZeros64(odd)/8
		}
	}
	for ; n < len(s); n++ {
		if c := s[n]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			break
		}
	}
	return n
}

// maxPlainDigits keeps the number within an int64, and within the integers that JSON
// of any reader holds.
const maxPlainDigits = 15

func (p *plain) millis(name string, dst *time.Time) {
	if !p.skip(name) {
		return
	}
	ms, n := int64(0), 0
	for n < len(p.rest) && n <= maxPlainDigits && '0' <= p.rest[n] && p.rest[n] <= '9' {
		ms = ms*10 + int64(p.rest[n]-'0')
		n++
	}
	if n == 0 || n > maxPlainDigits || p.rest[0] == '0' {
		p.bad = true
		return
	}
	*dst, p.rest = time.UnixMilli(ms).UTC(), p.rest[n:]
}
