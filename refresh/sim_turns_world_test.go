package refresh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A turnWorld is three instances of a service, a store and a clock.
type turnWorld struct {
	t       *testing.T
	table   *turnsTable
	profile *turnsProfile
	planted string
	lives   Lifetimes
	rng     *rand.Rand
	clock   time.Time
	began   time.Time
	inst    []*turnInstance
	records map[string]Record
	next    uint64
	down    map[string]bool // by what is down
	unsure  bool            // the next write is done, and not confirmed

	graced, lated bool // what became of the last call
	answers       map[string]int
	first         map[string]time.Time

	counts turnCounts
	bad    []string
	trace  []string
}

type turnInstance struct {
	*Manager
	feed *replica.Feed
	sub  replica.Subscription
	seq  uint64
	off  time.Duration
}

var turnLives = map[string]Lifetimes{"Web": Web, "Consumer": Consumer, "HighSecurity": HighSecurity, "HighSecurity, bound to a key": HighSecurity}

func newTurnWorld(t *testing.T, table *turnsTable, p *turnsProfile, planted string) *turnWorld {
	w := &turnWorld{t: t, table: table, profile: p, planted: planted, lives: turnLives[p.Name]}
	w.counts.outages, w.counts.turns = map[string]int{}, map[time.Duration]int{}
	return w
}

// begin makes the world anew: its clock would come to the end of time.
func (w *turnWorld) begin() {
	w.began = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	w.clock, w.records, w.inst = w.began, map[string]Record{}, nil
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: simRing(w.t)})
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range 3 {
		list, err := revoke.NewList(revoke.Config{})
		if err != nil {
			w.t.Fatal(err)
		}
		in := &turnInstance{off: time.Duration(i-1) * time.Duration(w.table.Skew)}
		if in.feed, err = replica.NewFeed(list); err != nil {
			w.t.Fatal(err)
		}
		in.Manager, err = newManager(Config{
			Issuer: issuer, Store: turnStore{w}, Revocations: list, Publisher: turnPublisher{w}, Lifetimes: w.lives,
			Ask: func(context.Context, Session) (Answer, error) {
				if w.down["application"] {
					return Answer{}, errSim
				}
				return Answer{}, nil
			},
			OnGrace: func(context.Context, Session) { w.graced = true },
			OnLate:  func(context.Context, Session) { w.lated = true },
		})
		if err != nil {
			w.t.Fatal(err)
		}
		if w.planted == "late retries without a ration" {
			in.cfg.Lifetimes.LateEvery = time.Millisecond
		}
		in.now = func() revoke.Instant {
			at := w.clock.Add(in.off).UnixNano()
			return revoke.Instant{Wall: at, Mono: at}
		}
		in.wait = func(_ context.Context, d time.Duration) error { w.pass(d); return nil }
		in.mint = func(_ context.Context, r issue.Request) (minted, error) {
			return minted{"token", r.IssuedAt.Add(r.Lifetime)}, nil
		}
		in.sub = in.feed.Begin(in.now(), replica.LogInfo{Retention: list.Retention(), Time: w.clock})
		w.inst = append(w.inst, in)
	}
}

// beat proves the instance's replica fresh.
func (w *turnWorld) beat(in *turnInstance) {
	in.seq++
	nonce := [16]byte{byte(in.seq), byte(in.seq >> 8), byte(in.seq >> 16), byte(in.seq >> 24)}
	now := in.now()
	in.feed.Sent(now, nonce)
	if err := in.feed.Heartbeat(now, replica.Record{Generation: in.sub.Generation, Delivery: in.seq, Sequence: in.seq, Time: w.clock}, replica.Heartbeat{Nonce: nonce, Time: now.Time()}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *turnWorld) pass(d time.Duration) { w.clock = w.clock.Add(d) }

func (w *turnWorld) between(d [2]duration) time.Duration {
	return time.Duration(d[0]) + w.upTo(time.Duration(d[1]-d[0]))
}

func (w *turnWorld) upTo(d time.Duration) time.Duration {
	return time.Duration(w.rng.Int64N(int64(d) + 1))
}

func (w *turnWorld) note(format string, args ...any) {
	w.trace = append(w.trace, w.clock.Format("01-02 15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (w *turnWorld) violation(format string, args ...any) {
	w.bad = append(w.bad, fmt.Sprintf(format, args...))
	w.note("VIOLATION "+format, args...)
}

// A turnStore is the world's store as an instance sees it.
type turnStore struct{ w *turnWorld }

func (s turnStore) Load(_ context.Context, key string) (Record, error) {
	if s.w.down["store"] {
		return Record{}, errSim
	}
	r, ok := s.w.records[key]
	if !ok {
		return Record{}, ErrNotFound
	}
	return r, nil
}

func (s turnStore) Save(_ context.Context, key string, value []byte, revision uint64, _ time.Time) (uint64, error) {
	w := s.w
	if w.down["store"] {
		return 0, errSim
	}
	if w.records[key].Revision != revision {
		return 0, ErrConflict
	}
	w.next++
	w.records[key] = Record{Value: value, Revision: w.next}
	if w.unsure && key[0] == 's' {
		w.unsure, w.down["store"] = false, true // nor can it be asked what became of it
		return 0, errSim
	}
	return w.next, nil
}

type turnPublisher struct{ w *turnWorld }

func (p turnPublisher) Publish(_ context.Context, e revoke.Event) (revoke.Receipt, error) {
	if p.w.down["bus"] {
		return revoke.Receipt{}, errSim
	}
	return revoke.Receipt{ID: "event", Event: e}, nil
}

// probe is what each instance's background does twice a second while it has seen the store
// fail.
func (w *turnWorld) probe() {
	for _, in := range w.inst {
		if in.outages.dirty(in.millis()) != nil && !w.down["store"] {
			w.pass(probeEvery / 3)
			if err := in.tellOutages(context.Background()); err != nil {
				w.violation("outages are not told: %v", err)
			}
		}
	}
}

// session lives through one.
func (w *turnWorld) session(number uint64) {
	w.rng = rand.New(rand.NewPCG(w.profile.Seed, number))
	if w.inst == nil || w.clock.Sub(w.began) > 40*365*24*time.Hour {
		w.begin()
	}
	maps.DeleteFunc(w.records, func(key string, _ Record) bool { return key[0] != 'r' }) // without what the store holds of itself it would seem to be restored
	w.down, w.trace = map[string]bool{}, nil
	w.answers, w.first = map[string]int{}, map[string]time.Time{}
	w.counts.sessions++
	s := &turnSession{w: w}
	if w.profile.Bound {
		s.binding = token.Binding{KeyThumbprint: strings.Repeat("A", 43)}
	}
	in := w.inst[w.rng.IntN(len(w.inst))]
	w.beat(in)
	g, err := in.Login(context.Background(), Login{Subject: "user", Client: "web", Audience: []string{"api"}, AuthTime: in.now().Time(), Binding: s.binding})
	if err != nil {
		w.t.Fatal(err)
	}
	s.sid, s.tok = g.SessionID, g.RefreshToken()
	var menu []string
	for _, what := range []string{"plain", "tabs", "lost", "sleep", "store", "application", "bus", "tabs in an outage", "before", "unconfirmed"} {
		for range w.profile.Weights[what] {
			menu = append(menu, what)
		}
	}
	for range w.table.Rounds[0] + w.rng.IntN(w.table.Rounds[1]-w.table.Rounds[0]+1) {
		w.pass(w.between(w.profile.Pause))
		if at, _ := s.record().deadline(&w.lives); w.clock.Add(6*time.Minute).UnixMilli() > at {
			break // the longest that a round may take, but for sleep
		}
		s.behave(menu[w.rng.IntN(len(menu))])
		if len(w.bad) > 0 {
			return
		}
	}
	if s.over() {
		return
	}
	if r := s.record(); r.Ended != 0 {
		w.violation("an honest session is ended: %s", r.Reason)
		return
	}
	switch n := w.rng.IntN(100); {
	case n < w.profile.Thief:
		w.pass(5*time.Minute + 30*time.Second) // what an outage leaves in doubt
		if !s.over() {
			s.theft()
		}
	case s.burnt != "" && s.tok != "":
		w.counts.burnt++
		if _, err := s.present("thief", s.burnt); !errors.Is(err, ErrReused) || !s.ended() {
			w.violation("a burnt token: %v", err)
		}
	}
}

// run lives through those sessions, or until something is violated.
func (w *turnWorld) run(from, to int) {
	for i := from; i < to; i++ {
		w.session(uint64(i))
		if len(w.bad) > 0 {
			return
		}
	}
}
