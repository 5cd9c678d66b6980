package token

import (
	"math"
	"sync/atomic"
)

// satisfied are options that a remembered token was found to satisfy, by their numbers. What
// depends on more than the token and the options is never among them, see [demands.lasting].
// There are as many as fit: what finds no room is asked for each time. None makes room for another, so
// that a token that comes under many routes has not each of them write to what the others read.
type satisfied [3]atomic.Uint32

// holds reports whether what d asks for was found in the token.
func (s *satisfied) holds(d *demands) bool {
	n := d.number.Load()
	return n > usedOnce && (s[0].Load() == n || s[1].Load() == n || s[2].Load() == n)
}

// add notes that the token satisfies d.
func (s *satisfied) add(d *demands) {
	if !d.lasting() {
		return
	}
	n := d.numbered()
	for i := 0; n != 0 && i < len(s); i++ {
		if s[i].CompareAndSwap(0, n) || s[i].Load() == n {
			return
		}
	}
}

// usedOnce stands for the number of options that were asked for once: those of a call that made
// them for itself get none.
const usedOnce = 1

// numbers counts those that were given.
var numbers atomic.Uint64

// numbered returns the number of d, which no other demands have or will have; 0: none.
func (d *demands) numbered() uint32 {
	switch n := d.number.Load(); n {
	case 0:
		d.number.CompareAndSwap(0, usedOnce)
		return 0
	case usedOnce:
		next := usedOnce + numbers.Add(1)
		if next > math.MaxUint32 { // they are used up
			return 0
		}
		d.number.CompareAndSwap(usedOnce, uint32(next))
		return d.number.Load()
	default:
		return n
	}
}

// lasting reports whether a token that satisfies d does so for good: scope and acr are of the
// token, how long ago its user was authenticated is of the time.
func (d *demands) lasting() bool { return d.maxAge == 0 }
