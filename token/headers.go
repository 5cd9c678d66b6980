package token

import (
	"strings"
	"sync/atomic"
)

// A lastHeader is the header of the token whose signature was found good last, by the exact
// bytes of its segment: all tokens of a key usually have the same, and need not be parsed
// each. Nothing is trusted for it, and the key is looked up for each token.
type lastHeader struct{ last atomic.Pointer[knownHeader] }

type knownHeader struct {
	segment string
	header  header
}

// find returns the header that segment encodes, if it is the last one.
func (l *lastHeader) find(segment string) (header, bool) {
	if k := l.last.Load(); k != nil && k.segment == segment {
		return k.header, true
	}
	return header{}, false
}

// learn remembers that segment encodes h. A token whose signature is good began with it.
func (l *lastHeader) learn(segment string, h header) {
	l.last.Store(&knownHeader{strings.Clone(segment), h})
}
