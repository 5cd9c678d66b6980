package transport

import (
	"sync"
)

// A Signal wakes everyone who waits for a change.
type Signal struct {
	mu sync.Mutex
	ch chan struct{} // guarded by mu: closed at the next change; nil: nobody waits
}

// Wait returns a channel that is closed at the next change. Look at the state after
// wait returned, not before.
func (s *Signal) Wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *Signal) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
