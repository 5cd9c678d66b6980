package follow

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const (
	// A replica remembers the records that it applied last: the question comes after
	// the event has been acknowledged, often after it has been applied.
	maxMarks = 4096

	maxQuestions  = 256 // waiting for their message, for as long as the question says
	questionQueue = 256 // not looked at yet
	maxAskers     = 16  // told when the replica is closed

	// Answers a second, and at once. Anyone who may ask must not make all replicas flood
	// an inbox.
	answerRate  = 500
	answerBurst = 500

	// announceAgain is when a member that may not announce itself tries again.
	announceAgain = 10 * time.Minute
)

// A Announcement is bus.Announcement, which says what its fields mean.
type Announcement struct {
	Listening bool
	Answered  uint64
	Dropped   uint64
	Err       error
}

// Announcement returns how the follower's announcing goes. Freshness does not depend
// on it.
func (f *Follower) Announcement() Announcement {
	a := &f.announcer
	s := Announcement{Listening: a.listening.Load(), Answered: a.answered.Load(), Dropped: a.dropped.Load()}
	if err := a.err.Load(); err != nil {
		s.Err = *err
	}
	return s
}

// An announcer answers for one replica. The follower's goroutine tells it what was
// applied; its own goroutine talks to those who ask.
type announcer struct {
	t    *transport.Transport
	cfg  *Config
	list *revoke.List
	id   string

	mu      sync.Mutex
	marks   []mark               // guarded by mu: a ring once it is full, sequences ascending from next
	next    int                  // guarded by mu: where the oldest stands, and the next one goes
	newest  uint64               // guarded by mu: sequence
	waiting map[uint64][]pending // guarded by mu: by sequence
	open    int                  // guarded by mu: how many wait
	ready   []pending            // guarded by mu: to be answered
	wake    chan struct{}        // holds a token while ready is not empty

	// The announcer's goroutine's own.
	askers []string // where answers were sent last, one for each inbox, newest last
	denied []denial // inboxes to which answers were refused, oldest first
	tokens float64  // answers that may be given at once
	filled time.Time
	before error // the connection's last error before something was sent

	listening         atomic.Bool
	answered, dropped atomic.Uint64
	err               atomic.Pointer[error]
}

func (a *announcer) init(t *transport.Transport, cfg *Config, list *revoke.List) {
	a.t, a.cfg, a.list = t, cfg, list
	a.id = rand.Text()
	a.waiting = map[uint64][]pending{}
	a.wake = make(chan struct{}, 1)
	a.tokens = answerBurst
}

// run answers until ctx ends.
func (a *announcer) run(ctx context.Context) {
	if a.cfg.NoAnnouncements {
		return
	}
	for ctx.Err() == nil {
		err := a.serve(ctx)
		a.listening.Store(false)
		switch {
		case err == nil:
			return
		case errors.Is(err, errRenewed):
			continue
		}
		if old := a.err.Swap(&err); old == nil || (*old).Error() != err.Error() {
			a.t.Log.Info("bus: not announced; roll calls will not wait for this replica", "error", err)
		}
		renewed := a.t.Conn.Renewed.Wait()
		if a.t.Conn.Over() {
			return
		}
		timer := time.NewTimer(announceAgain)
		if l := a.t.Conn.Link.Load(); l != nil && l.Conn.IsClosed() {
			timer.Reset(transport.MaxRedial) // if the other link was there before renewed was asked for
		}
		select {
		case <-timer.C:
		case <-renewed:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// serve listens for questions until ctx ends, or the server refuses something.
func (a *announcer) serve(ctx context.Context) error {
	questions := make(chan *nats.Msg, questionQueue)
	renewed := a.t.Conn.Renewed.Wait()
	if a.t.Conn.Link.Load() == nil {
		select {
		case <-renewed:
			return errRenewed
		case <-ctx.Done():
			return nil
		}
	}
	nc := a.t.NATS()
	a.before = nc.LastError()
	sub, err := nc.ChanSubscribe(wire.AppliedSubject, questions)
	if err != nil {
		return fmt.Errorf("bus: announce: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only if it is over already
	defer transport.ListenForEchoes(nc, wire.AppliedSubject, func(m *nats.Msg) {
		select {
		case questions <- m:
		default:
			a.dropped.Add(1)
		}
	})()
	defer a.farewell()
	a.listening.Store(true)
	overflowed := 0
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case m := <-questions:
			a.take(m)
		case <-a.wake:
			a.mu.Lock()
			ready := a.ready
			a.ready = nil
			a.mu.Unlock()
			for _, p := range ready {
				if a.isDenied(p.reply) {
					continue
				}
				at := time.Unix(0, p.found.at)
				outcome := p.found.outcome(p.Digest)
				if outcome != wire.OutcomeApplied {
					at = time.Time{}
				}
				a.answer(p.reply, outcome, at)
			}
		case now := <-look.C:
			a.expire(now)
			if n, err := sub.Dropped(); err == nil {
				a.dropped.Add(uint64(n - overflowed))
				overflowed = n
			}
			if err := a.refusal(now); err != nil {
				return err
			}
			if a.t.Conn.Over() {
				return fmt.Errorf("bus: announce: %w", nats.ErrConnectionClosed)
			}
			if sub.IsValid() && a.err.Load() != nil && len(a.denied) == 0 && a.t.Conn.IsConnected() {
				a.err.Store(nil)
			}
		case <-renewed:
			return errRenewed
		case <-ctx.Done():
			return nil
		}
	}
}

// errRenewed means that there is another link, on which to listen.
var errRenewed = errors.New("bus: announce: the connection was dialled again")

// A denial is an inbox that this connection may not answer to.
type denial struct {
	inbox string
	since time.Time
}

// maxDenied bounds how many of them are remembered.
const maxDenied = 64

// refusal returns the server's word that this connection may not listen. That it may not
// answer to one inbox keeps it from answering there for a while, and nowhere else: anyone who
// may ask could name one that it has no right to, and have it answer nobody.
func (a *announcer) refusal(now time.Time) error {
	a.denied = slices.DeleteFunc(a.denied, func(d denial) bool { return now.Sub(d.since) >= announceAgain })
	err := a.t.NATS().LastError()
	if err == a.before || !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	// To ask there is another right, which a publisher over the same connection may lack.
	text := err.Error()
	if strings.Contains(text, `Subscription to "`+wire.AppliedSubject+`"`) {
		a.askers = nil
		return fmt.Errorf("bus: announce: %w", err)
	}
	i := slices.IndexFunc(a.askers, func(reply string) bool { return strings.Contains(text, `"`+inboxOf(reply)) })
	if i < 0 {
		return nil
	}
	a.before = err
	err = fmt.Errorf("bus: announce: %w", err)
	if len(a.denied) == 0 {
		a.t.Log.Info("bus: an answer to a roll call is refused; who asks there does not hear of this replica", "error", err)
	}
	a.err.Store(&err)
	if len(a.denied) == maxDenied {
		a.denied = slices.Delete(a.denied, 0, 1)
	}
	a.denied = append(a.denied, denial{inboxOf(a.askers[i]), now})
	a.askers = slices.Delete(a.askers, i, i+1)
	return nil
}

func (a *announcer) isDenied(reply string) bool {
	return slices.ContainsFunc(a.denied, func(d denial) bool { return d.inbox == inboxOf(reply) })
}

// take reads one question and answers it.
func (a *announcer) take(m *nats.Msg) {
	q, ok := wire.DecodeQuestion(m.Data)
	if !ok || !wire.IsInbox(m.Reply) || a.isDenied(m.Reply) {
		a.dropped.Add(1)
		return
	}
	now := time.Now()
	a.tokens = min(a.tokens+now.Sub(a.filled).Seconds()*answerRate, answerBurst)
	a.filled = now
	if a.tokens < 1 {
		a.dropped.Add(1)
		return
	}
	a.tokens--
	a.askers = slices.DeleteFunc(a.askers, func(reply string) bool { return inboxOf(reply) == inboxOf(m.Reply) })
	if len(a.askers) == maxAskers {
		a.askers = slices.Delete(a.askers, 0, 1)
	}
	a.askers = append(a.askers, m.Reply)
	outcome, at := a.ask(q, m.Reply, now)
	a.answer(m.Reply, outcome, at)
}

func (a *announcer) answer(reply, outcome string, at time.Time) {
	nc := a.t.NATS()
	data, err := wire.EncodeAnswer(wire.Answer{
		ID: a.id, Name: a.cfg.Name, Outcome: outcome, At: at,
		Staleness: a.list.Config().MaxStaleness, State: a.list.Status(revoke.Now()).State,
	})
	if err == nil {
		err = nc.Publish(reply, data)
	}
	if err != nil {
		a.dropped.Add(1)
		return
	}
	a.answered.Add(1)
	transport.Echo(nc, &nats.Msg{Subject: reply, Data: data})
}

// farewell tells those who asked not to wait any longer.
func (a *announcer) farewell() {
	for _, reply := range a.askers {
		a.answer(reply, wire.OutcomeGone, time.Time{})
	}
}

// inboxOf is what all replies to one inbox begin with.
func inboxOf(reply string) string { return reply[:strings.LastIndexByte(reply, '.')+1] }
