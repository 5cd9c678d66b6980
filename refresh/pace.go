package refresh

import (
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A pace bounds how often something happens for each session, by a bucket of tokens. It
// remembers a bounded number of sessions: those it forgets begin anew.
type pace struct {
	every time.Duration // between two, in the long run
	burst int           // at once

	mu   sync.Mutex
	next map[string]revoke.Instant // when the session's bucket is full again
}

// maxPaces bounds the sessions that a pace remembers.
const maxPaces = 4096

func (p *pace) allow(sid string, now revoke.Instant) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	full, ok := p.next[sid]
	if !ok || full.Since(now) < 0 {
		full = now
	}
	if full.Since(now) > time.Duration(p.burst-1)*p.every {
		return false
	}
	if !ok && len(p.next) >= maxPaces {
		p.forget(now)
	}
	if p.next == nil {
		p.next = make(map[string]revoke.Instant)
	}
	p.next[sid] = full.Add(p.every)
	return true
}

// forget makes room: for whom nothing is counted any more, else for anybody.
func (p *pace) forget(now revoke.Instant) {
	for sid, full := range p.next {
		if full.Since(now) <= 0 {
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
