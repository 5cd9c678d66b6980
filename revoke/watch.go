package revoke

import (
	"context"
	"sync"
	"sync/atomic"
)

// Watch is for a token that stays in use after it was checked, as that of a connection
// does: revoked is called once, with the error that a check then returns, when an event is
// applied that revokes it. If there is one already, Watch returns that error instead, and a
// stop that does nothing. So no event is missed between a check and the waiting for the
// next event.
//
// revoked is called soon after the event, not by the goroutine that applied it, and must return at
// once, as a function that [context.WithCancelCause] made does: others wait behind it.
// stop ends the watch, whether the token was revoked or not, and may be called more than
// once; revoked may still run then. A watch that is not stopped stays as long as the List.
//
// Watch hears of events alone. That a token expires, or that the List is no longer fresh,
// the caller has to notice. An event costs the same however many watch: it finds those
// that it names by look-up.
func (p *prepared) Watch(now Instant, revoked context.CancelCauseFunc) (stop func(), err error) {
	s, w := &p.list.watches, &watch{of: p, revoked: revoked}
	s.add(w)
	// After w can be found: an event that this look-up does not see finds w.
	if k := p.lookup(p.list.replica, now); k != 0 && s.remove(w) {
		return func() {}, refusals[k]
	}
	return w.stop, nil
}

// A watch stands in the list of each of its keys.
type watch struct {
	of      *prepared
	revoked context.CancelCauseFunc
	links   [kinds - 1]watchLink // by kind, less one
	over    bool                 // guarded by watches.mu
}

// A watchLink is a place in the list of one key. One without a watch is a mark.
type watchLink struct {
	prev, next *watchLink
	watch      *watch
}

func (w *watch) stop() { w.of.list.watches.remove(w) }

// watches are those of a List, by key. Anyone who applies an event only leaves its key here;
// a goroutine that runs while there are any looks again for those who watch that key.
//
// As with versions, order is what loses no event. Anyone who applies one puts its data into
// the view first and then looks for watches. Anyone who watches adds the watch first and then
// looks into the view. One of the two finds the other.
type watches struct {
	count atomic.Int64 // of watches; changed under mu

	mu      sync.Mutex
	first   map[digest]*watchLink
	waiting map[digest]*news // those in queue that have not begun
	queue   []*news
	running bool   // the goroutine that tells
	touched uint64 // links looked at, for tests
}

// A news is an event, or several, of one key that is watched.
type news struct {
	key    digest
	before int64      // who was issued later is not concerned
	now    Instant    // of the last event
	mark   *watchLink // stands before the next to be told; nil: begin with the first
}

// tellAtOnce bounds how long an event that concerns many delays one that comes after it,
// and how long the lock is held.
const tellAtOnce = 256

func (s *watches) add(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.Add(1)
	if s.first == nil {
		s.first = make(map[digest]*watchLink)
	}
	for k := KindToken; k <= KindIssuer; k++ {
		if w.of.has[k] {
			l := &w.links[k-1]
			l.watch = w
			// First: a telling that is under way need not find it.
			s.insert(w.of.ids[k], l, s.first[w.of.ids[k]])
		}
	}
}

// remove reports whether w was still there.
func (s *watches) remove(w *watch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.over {
		return false
	}
	w.over = true
	for k := KindToken; k <= KindIssuer; k++ {
		if w.of.has[k] {
			s.unlink(w.of.ids[k], &w.links[k-1])
		}
	}
	s.count.Add(-1)
	s.shrink()
	return true
}

// shrink gives back the memory that the map keeps of what it held. The caller holds mu.
func (s *watches) shrink() {
	if len(s.first) == 0 {
		s.first = nil
	}
}

// insert puts l before next, which is nil if key has none.
func (s *watches) insert(key digest, l, next *watchLink) {
	l.next = next
	if next != nil {
		l.prev, next.prev = next.prev, l
	}
	if l.prev == nil {
		s.first[key] = l
	} else {
		l.prev.next = l
	}
}

func (s *watches) unlink(key digest, l *watchLink) {
	if l.next != nil {
		l.next.prev = l.prev
	}
	switch {
	case l.prev != nil:
		l.prev.next = l.next
	case l.next != nil:
		s.first[key] = l.next
	default:
		delete(s.first, key)
	}
	l.prev, l.next = nil, nil
}

// applied is called with the data of e in view.
func (s *watches) applied(now Instant, e *entry) {
	if s.count.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first[e.id] == nil {
		return
	}
	if t := s.waiting[e.id]; t != nil {
		t.before, t.now = max(t.before, e.before), now
		return
	}
	t := &news{key: e.id, before: e.before, now: now}
	if s.waiting == nil {
		s.waiting = make(map[digest]*news)
	}
	s.waiting[e.id] = t
	s.queue = append(s.queue, t)
	if !s.running {
		s.running = true
		go s.tell()
	}
}

// tell looks again for those whose keys are in the queue, a few of each in turn, until
// there are none.
func (s *watches) tell() {
	batch := make([]*watch, 0, tellAtOnce)
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.queue, s.waiting, s.running = nil, nil, false
			s.shrink()
			s.mu.Unlock()
			return
		}
		t := s.queue[0]
		s.queue = s.queue[1:]
		batch = s.next(t, batch[:0])
		if t.mark != nil {
			s.queue = append(s.queue, t)
		}
		s.mu.Unlock()
		for i, w := range batch {
			batch[i] = nil
			if k := w.of.lookup(w.of.list.replica, t.now); k != 0 && s.remove(w) {
				w.revoked(refusals[k])
			}
		}
	}
}

// next returns the next that t may concern. The caller holds mu.
func (s *watches) next(t *news, batch []*watch) []*watch {
	l := s.first[t.key]
	if t.mark == nil {
		delete(s.waiting, t.key) // what is applied from here on is told anew
	} else {
		l = t.mark.next
		s.unlink(t.key, t.mark)
		t.mark = nil
	}
	for n := 0; l != nil; l = l.next {
		if n++; n > tellAtOnce {
			t.mark = &watchLink{}
			s.insert(t.key, t.mark, l)
			break
		}
		s.touched++
		if l.watch != nil && l.watch.of.iat <= t.before {
			batch = append(batch, l.watch)
		}
	}
	return batch
}
