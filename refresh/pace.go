package refresh

import (
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A pace bounds how often something happens for each session, by a bucket of tokens. It goes
// by the monotonic clock: a wall clock that is set back must hold nobody up. It
// remembers a bounded number of sessions: those it forgets begin anew.
type pace struct {
	every time.Duration // between two, in the long run
	burst int           // at once

	mu   sync.Mutex
	next map[string]int64 // when the session's bucket is full again, by the monotonic clock
}

// maxPaces bounds the sessions that a pace remembers.
const maxPaces = 4096

func (p *pace) allow(sid string, now revoke.Instant) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	full, ok := p.next[sid]
	if !ok || full < now.Mono {
		full = now.Mono
	}
	if full-now.Mono > int64(p.every)*int64(p.burst-1) {
		return false
	}
	if !ok && len(p.next) >= maxPaces {
		p.forget(now)
	}
	if p.next == nil {
		p.next = make(map[string]int64)
	}
	p.next[sid] = full + int64(p.every)
	return true
}

// giveBack takes back what allow has counted last.
func (p *pace) giveBack(sid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if full, ok := p.next[sid]; ok {
		p.next[sid] = full - int64(p.every)
	}
}

// forget makes room: for whom nothing is counted any more, else for anybody.
func (p *pace) forget(now revoke.Instant) {
	for sid, full := range p.next {
		if full <= now.Mono {
			delete(p.next, sid)
		}
	}
	for sid := range p.next {
		if len(p.next) < maxPaces {
			return
		}
		delete(p.next, sid)
	}
}
