package token

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// watches are those of the tokens of one issuer. While there are any, a single timer wakes them, at
// least once a second: for the next token that expires, for one whose grace is over, for a
// denylist that goes stale, for keys that are gone, and for a wall clock that jumped.
// Revocations do not wait for it: the denylist calls.
//
// A watch is young until its grace is over; then it is live.
type watches struct {
	mu      sync.Mutex
	heap    dues // by what is due next; one that is being looked at is not there
	live    []*watch
	keys    map[watchedKey]int // of the live ones, and how many have each
	a       *acceptor
	timer   *time.Timer
	armed   bool
	fires   int64 // when timer does, if it is armed, by the monotonic clock
	ticking bool
	asking  bool
	offset  int64          // of the wall clock from the monotonic one, when dues were set; 0: there are none
	asked   revoke.Instant // when keys were last looked up

	// These are of the goroutine that ticks.
	swept revoke.Instant // when all live ones were last looked at
	stale bool           // the denylist was, at the last tick

	clock func() revoke.Instant // of tests; nil: revoke.Now
}

func (s *watches) now() revoke.Instant {
	if s.clock != nil {
		return s.clock()
	}
	return revoke.Now()
}

const (
	// watchEvery bounds how late what is not an event is noticed.
	watchEvery = int64(time.Second)
	// watchJump is how far two clocks may drift apart before it counts as a jump.
	watchJump = int64(100 * time.Millisecond)
	// watchAtOnce bounds what is done under the lock at a time.
	watchAtOnce = 256
	// askTimeout bounds a look-up of a key.
	askTimeout = 10 * time.Second
)

type watchedKey struct {
	header     header
	thumbprint string
	issuer     string // of the tokens, whom the key must be published for, see tenants
}

// start begins w.
func (s *watches) start(w *watch) {
	now := s.now()
	if now.Mono >= w.graceUntil {
		s.enlist(w)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.push(w, w.graceUntil, now)
}

// push has w looked at when it is due. The caller holds mu.
func (s *watches) push(w *watch, due int64, now revoke.Instant) {
	if w.over {
		return
	}
	w.due = due
	heap.Push(&s.heap, w)
	s.arm(w.a, min(due, now.Mono+watchEvery), now)
}

// arm has the timer fire at that time, or before. The caller holds mu.
func (s *watches) arm(a *acceptor, at int64, now revoke.Instant) {
	if s.ticking || s.armed && s.fires <= at {
		return
	}
	if s.offset == 0 {
		s.offset = now.Wall - now.Mono
	}
	s.armed, s.fires = true, at
	after := time.Duration(max(at-now.Mono, 0))
	if s.timer == nil {
		s.a = a
		s.timer = time.AfterFunc(after, s.tick)
	} else {
		s.timer.Reset(after)
	}
}

// enlist makes w live.
func (s *watches) enlist(w *watch) {
	s.mu.Lock()
	if w.over {
		s.mu.Unlock()
		return
	}
	w.liveAt = len(s.live)
	s.live = append(s.live, w)
	if s.keys == nil {
		s.keys = make(map[watchedKey]int)
	}
	s.keys[w.key()]++
	s.mu.Unlock()

	now := s.now()
	var unlist func()
	if list := w.a.cfg.Revocations; list != nil {
		id := w.claims.Identity()
		p := new(replica.Prepare(list, &id))
		w.identity.Store(p)
		var err error
		if unlist, err = p.Watch(now, w.revoked); err != nil {
			w.revoked(err)
			return
		}
	}
	s.mu.Lock()
	over := w.over
	if !over {
		w.unlist = unlist
		s.push(w, w.nextDue(now), now)
	}
	s.mu.Unlock()
	if over {
		if unlist != nil {
			unlist()
		}
		return
	}
	if err := w.judge(now); err != nil {
		w.end(err)
	}
}

func (w *watch) key() watchedKey { return watchedKey{w.claims.header, w.claims.key, w.claims.issuer} }

// remove reports whether w was there, and returns what takes it off the denylist.
func (s *watches) remove(w *watch) (unlist func(), first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.over {
		return nil, false
	}
	w.over = true
	if w.heapAt >= 0 {
		heap.Remove(&s.heap, w.heapAt)
	}
	if w.liveAt >= 0 {
		// The last takes its place: see sweep.
		last := len(s.live) - 1
		s.live[w.liveAt] = s.live[last]
		s.live[w.liveAt].liveAt = w.liveAt
		s.live[last] = nil
		s.live = s.live[:last]
		w.liveAt = -1
		if k := w.key(); s.keys[k] > 1 {
			s.keys[k]--
		} else {
			delete(s.keys, k)
		}
	}
	unlist, w.unlist = w.unlist, nil
	return unlist, true
}

// tick is what the timer calls. It alone arms the timer again.
func (s *watches) tick() {
	now := s.now()
	s.mu.Lock()
	if s.ticking { // the timer was set anew when it had fired
		s.mu.Unlock()
		return
	}
	s.ticking = true
	offset := now.Wall - now.Mono
	jumped := max(offset-s.offset, s.offset-offset) >= watchJump
	if jumped {
		s.offset = offset
		for _, w := range s.heap {
			if w.liveAt >= 0 {
				w.due = w.nextDue(now)
			}
		}
		heap.Init(&s.heap)
	}
	s.mu.Unlock()

	for s.due(now) {
	}
	next := now.Mono + watchEvery
	if list := s.a.cfg.Revocations; list != nil {
		st := list.Status(now)
		stale := st.State != revoke.StateFresh
		if stale && (!s.stale || every(now, s.swept)) || jumped {
			s.swept = now
			s.sweep(func(w *watch) error { return w.judge(now) })
		}
		if s.stale = stale; !stale {
			next = min(next, now.Mono+int64(list.Config().MaxStaleness-st.Age)+int64(time.Millisecond))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) > 0 && !s.asking && every(now, s.asked) {
		s.asking, s.asked = true, now
		keys := make([]watchedKey, 0, len(s.keys))
		for k := range s.keys {
			keys = append(keys, k)
		}
		go s.ask(keys)
	}
	s.ticking, s.armed = false, false
	if len(s.heap) == 0 {
		s.offset = 0
		return
	}
	s.arm(s.a, min(next, s.heap[0].due), s.now())
}

// every reports whether it is time again for what happened last then.
func every(now, last revoke.Instant) bool {
	return last.IsZero() || now.Mono-last.Mono >= watchEvery
}

// due looks at some of those that are due, and reports whether there were any.
func (s *watches) due(now revoke.Instant) bool {
	var young, live []*watch
	s.mu.Lock()
	for len(s.heap) > 0 && s.heap[0].due <= now.Mono && len(young)+len(live) < watchAtOnce {
		w := heap.Pop(&s.heap).(*watch)
		if w.liveAt < 0 {
			young = append(young, w)
		} else {
			live = append(live, w)
		}
	}
	s.mu.Unlock()
	for _, w := range young {
		s.enlist(w)
	}
	for _, w := range live {
		if err := w.judge(now); err != nil {
			w.end(err)
			continue
		}
		s.mu.Lock()
		s.push(w, max(w.nextDue(now), now.Mono+int64(time.Millisecond)), now)
		s.mu.Unlock()
	}
	return len(young)+len(live) > 0
}

// sweep ends those live ones for which over returns a cause. It goes from the last to the
// first: whichever moves meanwhile, into the place of one that is removed, was the last, and
// has been seen or is still to come; those that are added behind have been judged.
func (s *watches) sweep(over func(*watch) error) {
	batch := make([]*watch, 0, watchAtOnce)
	for i := math.MaxInt; i > 0; {
		s.mu.Lock()
		i = min(i, len(s.live))
		from := max(i-watchAtOnce, 0)
		batch = append(batch[:0], s.live[from:i]...)
		i = from
		s.mu.Unlock()
		for _, w := range batch {
			if err := over(w); err != nil {
				w.end(err)
			}
		}
	}
}

// ask looks up the keys that verified live ones, as Recheck does. It may wait, for a key
// set of the caller's, and nothing waits for it.
func (s *watches) ask(keys []watchedKey) {
	var gone map[watchedKey]error
	for _, k := range keys {
		if err := s.a.holds(k); err != nil {
			if gone == nil {
				gone = make(map[watchedKey]error)
			}
			gone[k] = err
		}
	}
	if gone != nil {
		s.sweep(func(w *watch) error { return gone[w.key()] })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking = false
}

var errKeySetPanicked = errors.New("the key set panicked")

// holds returns why tokens that k verified would not be accepted any more. This goroutine is
// ours, so that a panic in a caller's KeySet would end the process.
func (a *acceptor) holds(k watchedKey) (err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("token: %w: %w", ErrKeysUnavailable, errKeySetPanicked)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	return a.holdsKey(ctx, k.header, k.thumbprint, k.issuer)
}

// dues is a heap.
type dues []*watch

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].due < d[j].due }
func (d dues) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].heapAt, d[j].heapAt = i, j
}

func (d *dues) Push(x any) {
	w := x.(*watch)
	w.heapAt = len(*d)
	*d = append(*d, w)
}

func (d *dues) Pop() any {
	last := len(*d) - 1
	w := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	w.heapAt = -1
	return w
}
