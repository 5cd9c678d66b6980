package wire

import (
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// plainEvent reads an event that looks as EncodeEvent writes nearly all of them: its
// members in its order, no spaces, no exceptions, and texts of ASCII without escapes.
// A replay reads little else, and this is several times as fast as to read JSON. What
// looks otherwise, or is not valid, is not ok and says nothing: anyEvent reads it with
// all its rules. FuzzDecodeEvent holds the one to the other.
func plainEvent(data []byte) (received replica.Received, ok bool) {
	var e revoke.Event
	p := plain{rest: string(data)}
	if !p.skip(`{"v":1`) {
		return replica.Received{}, false
	}
	var kind string
	p.text(`,"id":"`, &e.ID)
	p.text(`,"iss":"`, &e.Issuer)
	p.text(`,"kind":"`, &kind)
	p.text(`,"value":"`, &e.Value)
	p.millis(`,"before":`, &e.Before)
	p.millis(`,"until":`, &e.Until)
	p.text(`,"reason":"`, &e.Reason)
	p.text(`,"actor":"`, &e.Actor)
	p.millis(`,"at":`, &e.At)
	if p.bad || p.rest != "}" {
		return replica.Received{}, false
	}
	if e.Kind, ok = replica.ParseKind(kind); !ok {
		return replica.Received{}, false
	}
	received, err := replica.Receive(e)
	return received, err == nil && received.AllUsable()
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
	end := strings.IndexByte(p.rest, '"')
	if end < 0 {
		p.bad = true
		return
	}
	s := p.rest[:end]
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '\\' {
			p.bad = true
			return
		}
	}
	*dst, p.rest = s, p.rest[end+1:]
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
