package refresh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Turns have the logins of one subject write its record one after the other. The
// compare-and-set decides all the same, between the instances of the service too: a turn
// only spares writes that it would refuse. Nothing of the application's is called in one.
type turns struct {
	mu sync.Mutex
	of map[string]*turn // guarded by mu: those that somebody has, or waits for
}

type turn struct {
	free  chan struct{} // holds one element while nobody has it
	users int           // guarded by turns.mu
}

// take waits for the turn; waited says that somebody else had it.
func (t *turns) take(ctx context.Context, key string) (release func(), waited bool, err error) {
	t.mu.Lock()
	if t.of == nil {
		t.of = map[string]*turn{}
	}
	x := t.of[key]
	if x == nil {
		x = &turn{free: make(chan struct{}, 1)}
		x.free <- struct{}{}
		t.of[key] = x
	}
	x.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if x.users--; x.users == 0 {
			delete(t.of, key)
		}
	}
	select {
	case <-x.free:
	default:
		waited = true
		select {
		case <-x.free:
		case <-ctx.Done():
			leave()
			return nil, true, context.Cause(ctx)
		}
	}
	return func() {
		x.free <- struct{}{}
		leave()
	}, waited, nil
}

// errJudgeAnew means that the subject was perhaps logged out everywhere since the login
// was judged.
var errJudgeAnew = errors.New("the subject's record has changed")

// join adds a session to its subject's list, as sub was when the login was judged. What
// others have changed meanwhile does not matter while no logout everywhere is among it.
func (m *Manager) join(ctx context.Context, l *Login, sub storedSubject, v verdict, s *session) error {
	ctx, tell := m.tellLater(ctx)
	defer tell() // once the turn is given up
	release, waited, err := m.take(ctx, l.Subject)
	if err != nil {
		return fmt.Errorf("%w: other logins of the subject are under way: %w", ErrBusy, err)
	}
	defer release()
	for try := range maxTries {
		if waited || try > 0 {
			if v != passed {
				return errJudgeAnew // what was checked may be another password now
			}
			judged := sub.subject
			if sub, err = m.loadSubject(ctx, l.Subject); err != nil {
				return err
			}
			if sub.Cutoff != judged.Cutoff || sub.Op != judged.Op || sub.understood() != nil || m.judge(sub.Cutoff, m.millis(), l) != passed {
				return errJudgeAnew
			}
		}
		next := *sub.subject
		if next.Live, err = m.room(ctx, sub.Live, m.millis()); err != nil {
			return err
		}
		next.Live = append(next.Live, live{SID: s.SID, Until: s.Until})
		switch _, err = m.saveSubject(ctx, sub, &next); {
		case err == nil:
			return nil
		case errors.Is(err, ErrConflict):
			if err := m.backOff(ctx, try); err != nil {
				return fmt.Errorf("%w: %w", ErrBusy, err)
			}
		default:
			// It may have happened all the same. If it did not, nobody has a token of it.
			if again, failed := m.loadSubject(ctx, l.Subject); failed != nil || !again.has(s.SID) {
				return err
			}
			return nil
		}
	}
	return ErrBusy
}

// A later is what the application is to be told once a turn is given up.
type later struct {
	mu       sync.Mutex
	replayed []Session // guarded by mu
}

type laterKey struct{}

// tellLater returns a context under which the application is told of replays by tell, and
// not before.
func (m *Manager) tellLater(ctx context.Context) (under context.Context, tell func()) {
	l := new(later)
	return context.WithValue(ctx, laterKey{}, l), func() {
		l.mu.Lock()
		found := l.replayed
		l.mu.Unlock()
		for _, s := range found {
			m.cfg.OnReplay(ctx, s)
		}
	}
}

// backOff waits for a while that grows with the number of tries, so that instances that
// write the same record come one after the other.
func backOff(ctx context.Context, try int) error {
	return wait(ctx, rand.N(time.Millisecond<<min(try+1, 7)))
}
