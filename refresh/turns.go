package refresh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/pause"
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
func (m *Manager) join(ctx context.Context, l *Login, sub *subject, v verdict, s *session) error {
	ctx, tell := m.tellLater(ctx)
	defer tell() // once the turn is given up
	release, waited, err := m.take(ctx, l.Subject)
	if err != nil {
		return fmt.Errorf("%w: other logins of the subject are under way: %w", errBusy, err)
	}
	defer release()
	load, backOff := m.loadingSubject(l.Subject), m.backingOff(ctx, errBusy)
	if !waited {
		load = beginning(sub, load)
	}
	_, err = update[*subject]{
		before: func(try int) error {
			if err := backOff(try); err != nil {
				return err
			}
			if (waited || try > 0) && v != passed {
				return errJudgeAnew // what was checked may be another password now
			}
			return nil
		},
		load: load,
		change: func(r *subject) (*subject, error) {
			if r != sub && (r.Cutoff != sub.Cutoff || r.Op != sub.Op || r.understood() != nil || m.judge(r.Cutoff, m.millis(), l) != passed) {
				return nil, errJudgeAnew
			}
			next, err := *r, error(nil)
			if next.Live, err = m.room(ctx, r.Live, m.millis()); err != nil {
				return nil, err
			}
			next.Live = append(next.Live, live{SID: s.SID, Until: s.Until})
			return &next, nil
		},
		landed: func(found, _ *subject) error {
			if found.has(s.SID) {
				return nil
			}
			return errUnsure // others may have taken it out. If not, nobody has a token of it
		},
	}.do(ctx, m)
	return err
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
			m.onReplay(ctx, s)
		}
	}
}

// backOff waits for a while that grows with the number of tries, so that instances that
// write the same record come one after the other.
func backOff(ctx context.Context, try int) error {
	return pause.Wait(ctx, pause.Between(0, pause.Growing(2*time.Millisecond, 128*time.Millisecond, try)))
}
