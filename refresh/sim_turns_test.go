package refresh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// The simulation of single sessions over weeks: tabs that ask at once, answers that are
// lost, phones that sleep, outages of store, application and bus, and a thief who takes turns
// with his victim. Interleavings within a call are [TestSimulation]'s. What must hold:
//   - no honest client is logged out
//   - anyone who presents one token within its window is given one successor
//   - the session is ended at the latest when the thief presents a token for the second
//     time, unless one of the two was answered within a window, where theft and retry look alike
//
// testdata/turns/behaviours.json says how often what happens, and by which random source.

type duration time.Duration

func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = duration(v)
	return err
}

type turnsTable struct {
	Source string
	Rounds [2]int
	Skew   duration
	Tabs   struct {
		Count  [2]int
		Spread duration
	}
	Lost     struct{ Times [2]int }
	Retry    [2]duration
	Outage   [2]duration
	OutageIs string `json:"outage is"`
	Rhythms  []duration
	Profiles []turnsProfile
}

type turnsProfile struct {
	Name    string
	Why     string
	Seed    uint64
	Bound   bool
	Pause   [2]duration
	Sleep   [2]duration
	Thief   int // percent of the sessions
	Weights map[string]int
}

func readTurns(t *testing.T) *turnsTable {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "turns", "behaviours.json"))
	if err != nil {
		t.Fatal(err)
	}
	table := new(turnsTable)
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(table); err != nil {
		t.Fatal(err)
	}
	return table
}

// turnCounts prove that the sessions held what they are about.
type turnCounts struct {
	sessions, refreshes, window, late, burnt, told int
	outages                                        map[string]int
	turns                                          map[time.Duration]int // of the thief, by the delay
	byWindow, caught, repeats                      int
}

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

// A turnSession is one session as its holders see it.
type turnSession struct {
	w       *turnWorld
	sid     string
	binding token.Binding
	tok     string // of its honest client
	former  string // its predecessor
	lates   []time.Time
	burnt   string
}

// present is one call, at any instance.
func (s *turnSession) present(who, tok string) (*Grant, error) {
	w := s.w
	in := w.inst[w.rng.IntN(len(w.inst))]
	if !w.down["bus"] {
		w.beat(in)
	}
	w.graced, w.lated = false, false
	if w.planted == "four answers" && w.answers[tok] >= 4 && w.clock.Sub(w.first[tok]) < 12*time.Second {
		w.note("%s: told to try again, by the old limit", who)
		return nil, ErrBusy
	}
	g, err := in.Refresh(context.Background(), Request{Token: tok, Client: "web", Binding: s.binding})
	if err == nil {
		if w.answers[tok]++; w.answers[tok] == 1 {
			w.first[tok] = w.clock
		}
		w.counts.refreshes++
	}
	if w.graced {
		w.counts.window++
	}
	if w.lated {
		w.counts.late++
	}
	if errors.Is(err, ErrTryAgain) {
		w.counts.told++
	}
	if err == nil && g.SessionID != s.sid {
		w.violation("a grant of another session")
	}
	w.note("%s presents %.12s at %s: %v, in window %t, late %t", who, tok[len(tok)-12:], in.off, err, w.graced, w.lated)
	return g, err
}

// obedient tries again for as long as it is told so.
func (s *turnSession) obedient(tok string) *Grant {
	for range 3000 {
		g, err := s.present("client", tok)
		switch {
		case err == nil:
			return g
		case errors.Is(err, ErrTryAgain) && !errors.Is(err, ErrLoginAgain):
			s.w.pass(s.w.between(s.w.table.Retry))
			s.w.probe()
		default:
			s.w.violation("an honest client is logged out: %v", err)
			return nil
		}
	}
	s.w.violation("an honest client is told to try again for ever")
	return nil
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

// took has the client take its new token.
func (s *turnSession) took(g *Grant) {
	if g != nil {
		s.former, s.tok = s.tok, g.RefreshToken()
	}
}

// outage is down for a while, in which the client goes on trying.
func (s *turnSession) outage(what string) {
	w := s.w
	w.counts.outages[what]++
	w.down[what] = true
	// Short ones are many.
	long := time.Duration(w.table.Outage[0]) + time.Duration(math.Pow(w.rng.Float64(), 8)*float64(w.table.Outage[1]-w.table.Outage[0]))
	for end := w.clock.Add(long); w.clock.Before(end); w.pass(w.between(w.table.Retry)) {
		// What a replica knows is fresh for a while without a bus.
		if _, err := s.present("client", s.tok); !errors.Is(err, ErrTryAgain) && (what != "bus" || err != nil) {
			w.violation("%s is down, and the answer is %v", what, err)
			break
		}
	}
	w.down[what] = false
	w.probe()
}

// behave is one round of an honest client.
func (s *turnSession) behave(what string) {
	w := s.w
	w.note("%s", what)
	switch what {
	case "plain":
		s.took(s.obedient(s.tok))
	case "tabs", "tabs in an outage":
		n := w.table.Tabs.Count[0] + w.rng.IntN(w.table.Tabs.Count[1]-w.table.Tabs.Count[0]+1)
		var at []time.Duration
		for range n {
			at = append(at, w.upTo(time.Duration(w.table.Tabs.Spread)))
		}
		slices.Sort(at)
		var got *Grant
		for i, d := range at {
			if i > 0 {
				w.pass(d - at[i-1])
			}
			if i == n/2 && what != "tabs" {
				s.outage([]string{"store", "application"}[w.rng.IntN(2)])
			}
			g := s.obedient(s.tok)
			if g == nil {
				return
			}
			if got != nil && g.RefreshToken() != got.RefreshToken() {
				w.violation("two tabs have two successors of one token")
			}
			got = g
		}
		s.took(got)
	case "lost":
		n := w.table.Lost.Times[0] + w.rng.IntN(w.table.Lost.Times[1]-w.table.Lost.Times[0]+1)
		for range n {
			s.obedient(s.tok)
			w.pass(w.between(w.table.Retry))
		}
		s.took(s.obedient(s.tok))
	case "sleep":
		if len(s.lates) > 0 && (len(s.lates) == maxLate || w.clock.Sub(s.lates[len(s.lates)-1]) < w.lives.LateEvery+time.Minute) {
			s.took(s.obedient(s.tok)) // it had its ration
			return
		}
		waiting := s.obedient(s.tok)
		at, _ := s.record().deadline(&w.lives)
		w.pass(min(w.between(w.profile.Sleep)+15*time.Second, time.UnixMilli(at).Sub(w.clock)-time.Minute))
		g := s.obedient(s.tok)
		if g == nil || waiting == nil {
			return
		}
		if !w.lated || g.RefreshToken() == waiting.RefreshToken() {
			w.violation("a late retry is given what waited")
		}
		s.lates, s.burnt = append(s.lates, w.clock), waiting.RefreshToken()
		s.took(g)
	case "store", "application", "bus":
		if what == "bus" { // it has been down for some seconds, so that replicas are soon stale
			for _, in := range w.inst {
				w.beat(in)
			}
			w.down[what] = true
			w.pass(7*time.Second + w.upTo(7*time.Second))
		}
		s.obedient(s.tok) // its answer is lost
		w.pass(w.upTo(7 * time.Second))
		s.outage(what)
		s.took(s.obedient(s.tok))
	case "before":
		down := []string{"store", "application", "bus"}[w.rng.IntN(3)]
		if down == "bus" {
			w.down[down] = true
			w.pass(16 * time.Second) // then every replica is stale
		}
		s.outage(down)
		s.took(s.obedient(s.tok))
	case "unconfirmed":
		w.unsure = true
		w.counts.outages["store"]++
		if _, err := s.present("client", s.tok); !errors.Is(err, ErrTryAgain) {
			w.violation("an unconfirmed write: %v", err)
		}
		w.pass(w.between(w.table.Retry))
		w.down["store"] = false
		w.probe()
		s.took(s.obedient(s.tok))
	default:
		w.t.Fatalf("no behaviour is called %q", what)
	}
}

func (s *turnSession) record() *session {
	r, err := decodeSession(s.w.records[recordKey("s", "https://auth.example.com", s.sid)].Value, s.sid)
	if err != nil {
		s.w.t.Fatal(err)
	}
	return r
}

func (s *turnSession) ended() bool { return s.record().Ended != 0 }

// over says whether the session's time is up, which ends every story.
func (s *turnSession) over() bool {
	at, _ := s.record().deadline(&s.w.lives)
	return s.w.clock.Add(2*time.Second).UnixMilli() > at
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

// theft has a thief and his victim present their tokens in turn.
func (s *turnSession) theft() {
	w := s.w
	rhythm := func() time.Duration {
		for {
			if d := time.Duration(w.table.Rhythms[w.rng.IntN(len(w.table.Rhythms))]); d < w.lives.Idle {
				return d
			}
		}
	}
	stolen, first := s.tok, w.rng.IntN(2) == 0
	switch {
	case w.rng.IntN(3) == 0 && s.former != "": // a copy from before
		stolen = s.former
	case w.rng.IntN(4) == 0:
		s.repeats(rhythm())
		return
	}
	slow, quick := rhythm(), rhythm()
	turns, alike := 0, false
	for i := 0; i < 12 && !s.ended() && !s.over(); i++ {
		if thief := first == (i%2 == 0); thief {
			w.pass(slow)
			if s.over() {
				return
			}
			w.counts.turns[slow]++
			turns++
			g, err := s.present("thief", stolen)
			if err == nil {
				stolen = g.RefreshToken()
			}
		} else {
			w.pass(quick)
			if s.over() {
				return
			}
			g, err := s.present("victim", s.tok)
			if err == nil {
				s.tok = g.RefreshToken()
			}
		}
		alike = alike || w.graced
		if turns == 2 && !alike && !s.ended() && i >= 2 {
			w.violation("the thief, every %s, his victim %s: the session goes on after his second turn", slow, quick)
			return
		}
	}
	if s.ended() {
		w.counts.caught++
	} else if alike {
		w.counts.byWindow++
	}
}

// repeats has a thief present the predecessor again and again while his victim sleeps.
func (s *turnSession) repeats(d time.Duration) {
	w := s.w
	old := s.tok
	g, err := s.present("victim", old)
	if err != nil {
		w.violation("an honest client is logged out: %v", err)
		return
	}
	s.tok = g.RefreshToken()
	for turn := 1; turn <= 5; turn++ {
		w.pass(d)
		if s.over() {
			return
		}
		w.counts.repeats++
		w.counts.turns[d]++
		_, err := s.present("thief", old)
		if w.graced {
			w.counts.byWindow++
			return
		}
		if s.ended() {
			w.counts.caught++
			return
		}
		if turn == 2 && d < w.lives.LateEvery || turn == 4 || err != nil {
			w.violation("the thief repeats a token every %s: the session goes on after turn %d: %v", d, turn, err)
			return
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

// missing names what the sessions did not hold.
func (c *turnCounts) missing(w *turnWorld) (list []string) {
	need := map[string]int{"refreshes": c.refreshes, "told to try again": c.told, "sessions of thieves that were ended": c.caught, "thieves who repeat": c.repeats}
	if w.lives.Grace > 0 {
		need["retries inside the window"], need["thieves inside a window"] = c.window, c.byWindow
	}
	if w.profile.Sleep[1] > 0 {
		need["late retries"], need["burnt tokens"] = c.late, c.burnt
	}
	for _, what := range []string{"store", "application", "bus"} {
		need["outages of the "+what] = c.outages[what]
	}
	for _, d := range w.table.Rhythms {
		if time.Duration(d) < w.lives.Idle {
			need["thief's turns after "+time.Duration(d).String()] = c.turns[time.Duration(d)]
		}
	}
	for what, n := range need {
		if n == 0 {
			list = append(list, what)
		}
	}
	slices.Sort(list)
	return list
}

func (c *turnCounts) String() string {
	var turns, outages []string
	for _, d := range slices.Sorted(func(yield func(time.Duration) bool) {
		for d := range c.turns {
			if !yield(d) {
				return
			}
		}
	}) {
		turns = append(turns, fmt.Sprintf("%s %d", d, c.turns[d]))
	}
	for _, what := range []string{"store", "application", "bus"} {
		outages = append(outages, fmt.Sprintf("%s %d", what, c.outages[what]))
	}
	return fmt.Sprintf("%d sessions, %d refreshes; %d retries inside the window, %d late retries, %d burnt tokens presented; outages: %s, with %d calls told to try again; honest clients logged out 0, second families 0; thieves: %d ended, %d inside a window, %d repetitions; turns by delay: %s",
		c.sessions, c.refreshes, c.window, c.late, c.burnt, strings.Join(outages, ", "), c.told, c.caught, c.byWindow, c.repeats, strings.Join(turns, ", "))
}

// TestTurns lives through sessions of each profile. HYBRIDTOKEN_TURNS says
// which, "0-100000" for the first so many and "17-18" for one.
func TestTurns(t *testing.T) {
	from, to := 0, 300
	if v := os.Getenv("HYBRIDTOKEN_TURNS"); v != "" {
		if n, err := fmt.Sscanf(v, "%d-%d", &from, &to); n != 2 || err != nil || from < 0 || from >= to {
			t.Fatalf("HYBRIDTOKEN_TURNS: %q, want two numbers as in 0-100000", v)
		}
	}
	table := readTurns(t)
	for i := range table.Profiles {
		p := &table.Profiles[i]
		t.Run(p.Name, func(t *testing.T) {
			w := newTurnWorld(t, table, p, "")
			w.run(from, to)
			if len(w.bad) > 0 {
				t.Fatalf("session %d: %s\n%s", from+w.counts.sessions-1, strings.Join(w.bad, "\n"), strings.Join(w.trace, "\n"))
			}
			t.Log(&w.counts)
			if list := w.counts.missing(w); len(list) > 0 {
				t.Errorf("none in %d sessions: %s", to-from, strings.Join(list, ", "))
			}
		})
	}
}

// The simulation would have seen what it is there for: the limit of four answers that told the
// fifth tab to try again until its obedient retry ended the session, and a late retry
// without a ration.
func TestTurnsSeePlanted(t *testing.T) {
	table := readTurns(t)
	for _, c := range []struct{ profile, planted, want string }{
		{"Web", "four answers", "an honest client is logged out"},
		{"Consumer", "four answers", "two tabs have two successors"},
		{"Consumer", "late retries without a ration", "the thief repeats a token"},
	} {
		t.Run(c.profile+", "+c.planted, func(t *testing.T) {
			i := slices.IndexFunc(table.Profiles, func(p turnsProfile) bool { return p.Name == c.profile })
			w := newTurnWorld(t, table, &table.Profiles[i], c.planted)
			w.run(0, 2000)
			if len(w.bad) == 0 || !strings.Contains(w.bad[0], c.want) {
				t.Fatalf("after %d sessions: %q, want %q", w.counts.sessions, w.bad, c.want)
			}
			t.Logf("session %d: %s", w.counts.sessions-1, w.bad[0])
		})
	}
}

// A run that lacks something fails.
func TestTurnsMissNothing(t *testing.T) {
	table := readTurns(t)
	w := newTurnWorld(t, table, &table.Profiles[1], "")
	w.run(0, 1)
	if list := w.counts.missing(w); len(list) < 10 {
		t.Errorf("one session lacks only %q", list)
	}
}
