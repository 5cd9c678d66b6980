package token

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A headerMemo remembers headers that stood in tokens whose signature was good, by
// the exact bytes of their segment: all tokens of a key usually have the same. What it
// saves is decoding and parsing; nothing is trusted for it, and the key is looked up
// for each token. Strangers cannot fill it: it learns from good signatures alone, one
// header for a key.
type headerMemo struct {
	known atomic.Pointer[[]knownHeader] // immutable
	mu    sync.Mutex                    // serialises what replaces known
}

type knownHeader struct {
	segment string
	header  header
	key     string // thumbprint
	changes int    // of segment
}

const (
	maxKnownHeaders  = 16
	maxHeaderChanges = 16 // of one key: then no two of its tokens are alike, and learning is in vain
)

// find returns the header that segment encodes, if it is known.
func (m *headerMemo) find(segment string) (header, bool) {
	if known := m.known.Load(); known != nil {
		for i := range *known {
			if k := &(*known)[i]; k.segment == segment {
				return k.header, true
			}
		}
	}
	return header{}, false
}

// learn remembers that segment encodes h. A token that key signed began with it.
func (m *headerMemo) learn(segment string, h header, key *Key) {
	if !m.mu.TryLock() {
		return // another time
	}
	defer m.mu.Unlock()
	var known []knownHeader
	if old := m.known.Load(); old != nil {
		known = slices.Clone(*old)
	}
	fresh := knownHeader{strings.Clone(segment), h, key.Thumbprint(), 0}
	i := slices.IndexFunc(known, func(k knownHeader) bool { return k.key == fresh.key && k.header.alg == h.alg })
	switch {
	case i >= 0 && known[i].changes == maxHeaderChanges:
		return
	case i >= 0:
		fresh.changes = known[i].changes + 1
		known[i] = fresh
	case len(known) == maxKnownHeaders:
		known = append(known[1:], fresh) // the oldest; keys come and go
	default:
		known = append(known, fresh)
	}
	m.known.Store(&known)
}

// shared returns segment as it is remembered, or a copy of it.
func (m *headerMemo) shared(segment string) string {
	if known := m.known.Load(); known != nil {
		for i := range *known {
			if k := &(*known)[i]; k.segment == segment {
				return k.segment
			}
		}
	}
	return strings.Clone(segment)
}
