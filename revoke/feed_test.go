package revoke_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A tape is a log in memory, and replica reads it as a bus would.
type tape struct {
	seq      uint64
	messages []message
}

type message struct {
	seq   uint64
	time  time.Time
	event *revoke.Event
	beat  *revoke.Heartbeat
	fault revoke.Fault
}

func (m *message) record(gen, delivery uint64) revoke.Record {
	return revoke.Record{Generation: gen, Delivery: delivery, Sequence: m.seq, Time: m.time,
		Subject: "subject", Data: fmt.Append(nil, m.event, m.beat, m.fault)}
}

func (l *tape) append(ts time.Time, m message) {
	l.seq++
	m.seq, m.time = l.seq, ts
	l.messages = append(l.messages, m)
}

func (l *tape) revoke(ts time.Time, jti string) {
	l.append(ts, message{event: &revoke.Event{Issuer: iss, Kind: revoke.Token, Value: jti, Until: ts.Add(time.Hour)}})
}

func (l *tape) info() revoke.LogInfo {
	return revoke.LogInfo{Horizons: revoke.DefaultHorizons(), LastSequence: l.seq}
}

// rollback returns the log as it was after seq.
func (l *tape) rollback(seq uint64) *tape {
	r := &tape{seq: seq}
	for _, m := range l.messages {
		if m.seq <= seq {
			r.messages = append(r.messages, m)
		}
	}
	return r
}

type replica struct {
	t    *testing.T
	list *revoke.List
	feed *revoke.Feed
	now  revoke.Instant
	sub  revoke.Subscription
	pos  uint64 // newest sequence delivered
	n    uint64 // deliveries
}

func newReplica(t *testing.T, cfg revoke.Config) *replica {
	t.Helper()
	l, err := revoke.NewList(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.NewFeed()
	if err != nil {
		t.Fatal(err)
	}
	return &replica{t: t, list: l, feed: f, now: revoke.Now()}
}

func (r *replica) begin(l *tape) {
	r.sub = r.feed.Begin(r.now, l.info())
	r.pos, r.n = r.sub.Start-1, 0
}

// read delivers what the log holds beyond what was delivered, until an error.
func (r *replica) read(l *tape) error {
	for i := range l.messages {
		m := &l.messages[i]
		if m.seq <= r.pos {
			continue
		}
		r.n++
		r.pos = m.seq
		if err := r.deliver(m, r.n); err != nil {
			return err
		}
	}
	return nil
}

func (r *replica) deliver(m *message, delivery uint64) error {
	rec := m.record(r.sub.Generation, delivery)
	switch {
	case m.event != nil:
		return r.feed.Event(r.now, rec, *m.event)
	case m.beat != nil:
		return r.feed.Heartbeat(r.now, rec, *m.beat)
	}
	return r.feed.Fault(r.now, rec, m.fault)
}

// beat sends an own heartbeat into the log.
func (r *replica) beat(l *tape) {
	hb := revoke.Heartbeat{Time: r.now.Time(), Name: "self"}
	rand.Read(hb.Nonce[:])
	r.feed.Sent(r.now, hb.Nonce)
	l.append(r.now.Time(), message{beat: &hb})
}

// otherBeat puts another member's heartbeat into the log, its clock off by skew.
func (r *replica) otherBeat(l *tape, skew time.Duration) {
	hb := revoke.Heartbeat{Time: r.now.Time().Add(skew), Name: "other"}
	rand.Read(hb.Nonce[:])
	l.append(r.now.Time(), message{beat: &hb})
}

func (r *replica) pass(d time.Duration) { r.now = r.now.Add(d) }

func (r *replica) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *replica) want(s revoke.State, reason revoke.Reason) {
	r.t.Helper()
	if got := r.list.Status(r.now); got.State != s || got.Reason != reason {
		r.t.Fatalf("status %s (%s), age %s; want %s (%s)", got.State, got.Reason, got.Age, s, reason)
	}
}

func (r *replica) refuses(jti string) bool {
	id := revoke.Identity{Issuer: iss, Token: jti, IssuedAt: r.now.Time()}
	return errors.Is(r.list.Check(r.now, &id, revoke.InsecureAllow()), revoke.ErrRevoked)
}

// ready returns a replica that has read a log with three events, and is fresh.
func ready(t *testing.T) (*replica, *tape) {
	r, l := newReplica(t, revoke.Config{}), &tape{}
	for i := range 3 {
		l.revoke(r.now.Time(), fmt.Sprint("old", i))
	}
	r.begin(l)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.Fresh, revoke.ReasonNone)
	return r, l
}

func TestSyncingUntilProven(t *testing.T) {
	r, l := newReplica(t, revoke.Config{}), &tape{}
	r.want(revoke.Syncing, revoke.ReasonNotFollowed)
	id := revoke.Identity{Issuer: iss, Token: "good", IssuedAt: r.now.Time()}
	var stale *revoke.StaleError
	if err := r.list.Check(r.now, &id, revoke.Deny()); !errors.Is(err, revoke.ErrStale) || !errors.Is(err, revoke.ErrUnavailable) || !errors.As(err, &stale) || stale.State != revoke.Syncing {
		t.Fatalf("a check before the first proof: %v", err)
	}
	r.feed.Broken(r.now, revoke.ReasonNoStream)
	r.want(revoke.Syncing, revoke.ReasonNoStream)
	l.revoke(r.now.Time(), "bad")
	r.begin(l)
	r.want(revoke.Syncing, revoke.ReasonReplaying)
	// A heartbeat older than the replay shows nothing of the log's end.
	r.pass(-5 * time.Second)
	r.otherBeat(l, 0)
	r.pass(5 * time.Second)
	r.must(r.read(l))
	if s := r.list.Status(r.now); s.State != revoke.Syncing {
		t.Fatalf("an old heartbeat proved a replay: %+v", s)
	}
	r.pass(time.Millisecond)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.Fresh, revoke.ReasonNone)
	if !r.refuses("bad") || r.refuses("good") {
		t.Error("wrong answers after the replay")
	}
}

// TestOwnHeartbeatProvesItsSending: P is when it was sent, however late it arrives.
func TestOwnHeartbeatProvesItsSending(t *testing.T) {
	r, l := ready(t)
	r.pass(5 * time.Second)
	sent := r.now
	r.beat(l)
	r.pass(14 * time.Second)
	r.must(r.read(l))
	if s := r.list.Status(r.now); s.Proven != sent || s.Age != 14*time.Second || s.State != revoke.Fresh {
		t.Fatalf("%+v, want proven %v", s, sent)
	}
	r.pass(1001 * time.Millisecond)
	r.want(revoke.Stale, revoke.ReasonNoHeartbeat)
}

func TestAnothersHeartbeat(t *testing.T) {
	for _, c := range []struct {
		name        string
		skew, delay time.Duration
		age         time.Duration // after delivery; 0: proves nothing new
		seen        bool
		future      bool
	}{
		{"in step", 0, 10 * time.Millisecond, 10*time.Millisecond + 2*time.Second, true, false},
		{"a little ahead", time.Second, 0, 2 * time.Second, true, false},
		{"as late as is seen", 0, 3 * time.Second, 5 * time.Second, true, false},
		{"late", 0, 6 * time.Second, 8 * time.Second, false, false},
		{"its clock an hour behind", -time.Hour, 0, 0, false, false},
		{"its clock an hour ahead", time.Hour, 0, 0, false, true},
		{"just from the future", 2*time.Second + time.Millisecond, 0, 0, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, l := ready(t)
			r.feed.BeatIn(r.now) // the one due after subscribing
			r.pass(10 * time.Second)
			before := r.list.Status(r.now).Proven
			due := r.feed.BeatIn(r.now) // overdue: begins the wait anew
			if due != 0 {
				t.Fatalf("no heartbeat is due after 10 s of silence: %s", due)
			}
			r.otherBeat(l, c.skew)
			r.pass(c.delay)
			r.must(r.read(l))
			s := r.list.Status(r.now)
			if c.age == 0 {
				if s.Proven != before {
					t.Errorf("P moved by %s", s.Proven.Since(before))
				}
			} else if s.Age != c.age {
				t.Errorf("age %s, want %s", s.Age, c.age)
			}
			stats := r.list.Stats(r.now)
			if (stats.FutureHeartbeats == 1) != c.future {
				t.Errorf("%d heartbeats from the future", stats.FutureHeartbeats)
			}
			// One that is seen silences this member for at least an interval.
			if in := r.feed.BeatIn(r.now); c.seen && in < time.Second {
				t.Errorf("beats in %s though one was seen", in)
			} else if !c.seen && in > 0 && c.delay > 2*time.Second {
				t.Errorf("silenced for %s", in)
			}
		})
	}
}

// TestHeartbeatOfAnyYear: what a heartbeat says of its time is arithmetic on a
// stranger's number. Nothing it says moves P past the present.
func TestHeartbeatOfAnyYear(t *testing.T) {
	// Around 2⁶³ ns from now arithmetic in nanoseconds wraps.
	const wrap = math.MaxInt64 / int64(time.Millisecond)
	for _, uptime := range []time.Duration{time.Millisecond, time.Second, 5 * time.Second, time.Hour} {
		for _, ahead := range []int64{1 << 53, wrap - 1, wrap, wrap + 1, wrap + 2, wrap + 100, wrap + 3000, wrap + 30_000, 2 * wrap, -wrap} {
			r, l := newReplica(t, revoke.Config{MaxSkew: 10 * time.Second, MaxStaleness: 30 * time.Second}), &tape{}
			r.now.Mono = int64(uptime)
			r.begin(l)
			l.append(r.now.Time(), message{beat: &revoke.Heartbeat{Time: time.UnixMilli(r.now.Time().UnixMilli() + ahead)}})
			r.must(r.read(l))
			s := r.list.Status(r.now)
			if s.Proven.Mono > r.now.Mono || s.State == revoke.Fresh {
				t.Errorf("up for %s, a heartbeat %d ms ahead: %+v", uptime, ahead, s)
			}
			r.pass(time.Minute)
			if s := r.list.Status(r.now); s.State == revoke.Fresh {
				t.Errorf("up for %s, a heartbeat %d ms ahead: still %+v a minute later", uptime, ahead, s)
			}
		}
	}
}

// TestNobodyIsSilencedIntoStaleness: a member whose clock is as slow as is allowed
// beats for everybody, under settings that leave its proofs little time. Whoever
// they would leave stale beats as well.
func TestNobodyIsSilencedIntoStaleness(t *testing.T) {
	for _, cfg := range []revoke.Config{
		{},
		{MaxStaleness: 5 * time.Second},
		{MaxSkew: 6 * time.Second, MaxStaleness: 9 * time.Second},
		{MaxSkew: 10 * time.Second, MaxStaleness: 15 * time.Second},
	} {
		r, l := newReplica(t, cfg), &tape{}
		skew := r.list.Config().MaxSkew
		r.begin(l)
		own := 0
		for tick := range 1200 {
			if r.feed.BeatIn(r.now) <= 0 {
				r.beat(l)
				own++
			}
			if tick%10 == 0 {
				r.otherBeat(l, -skew)
			}
			r.must(r.read(l))
			r.pass(100 * time.Millisecond)
			if s := r.list.Status(r.now); tick > 0 && s.State != revoke.Fresh {
				t.Fatalf("%+v: %s (%s), age %s after %d ticks", cfg, s.State, s.Reason, s.Age, tick)
			}
		}
		if cfg == (revoke.Config{}) && own > 3 {
			t.Errorf("by default %d own heartbeats beside another's", own)
		}
	}
}

// TestProvenNeverMovesBack, whatever the order of heartbeats.
func TestProvenNeverMovesBack(t *testing.T) {
	r, l := ready(t)
	r.pass(time.Minute) // or the late one would be from before the replay
	var late message
	{
		var l2 tape
		r.otherBeat(&l2, -10*time.Second)
		late = l2.messages[0]
	}
	r.beat(l)
	r.must(r.read(l))
	p := r.list.Status(r.now).Proven
	l.append(r.now.Time(), message{beat: late.beat})
	r.must(r.read(l))
	if got := r.list.Status(r.now).Proven; got != p {
		t.Fatalf("P moved from %v to %v", p, got)
	}
	// A duplicate of an own heartbeat counts once: its nonce is no secret any more.
	own := l.messages[len(l.messages)-2]
	r.pass(10 * time.Second)
	l.append(r.now.Time(), own)
	r.must(r.read(l))
	if got := r.list.Status(r.now).Proven; got != p {
		t.Fatalf("a replayed heartbeat moved P from %v to %v", p, got)
	}
}

// TestAgeSurvivesSuspend: the monotonic clock stops while the machine sleeps, and
// the wall clock may be set back; the larger age counts.
func TestAgeSurvivesSuspend(t *testing.T) {
	r, _ := ready(t)
	asleep := r.now
	asleep.Wall += int64(time.Hour)
	r.now = asleep
	r.want(revoke.Stale, revoke.ReasonNoHeartbeat)

	r, l := ready(t)
	r.now.Mono += int64(20 * time.Second)
	r.now.Wall -= int64(time.Hour)
	r.want(revoke.Stale, revoke.ReasonNoHeartbeat)
	// An own heartbeat needs no clock but its own.
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.Fresh, revoke.ReasonNone)
}

// TestReconnectIsAnchored: an ordinary reconnect resumes at the cursor, re-reads one
// record, and makes nobody stale.
func TestReconnectIsAnchored(t *testing.T) {
	r, l := ready(t)
	r.pass(time.Second)
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	r.want(revoke.Fresh, revoke.ReasonNone)
	l.revoke(r.now.Time(), "while away")
	r.pass(time.Second)
	r.begin(l)
	if !r.sub.Anchored || r.sub.Start != 4 {
		t.Fatalf("%+v", r.sub)
	}
	r.want(revoke.Fresh, revoke.ReasonNone)
	p := r.list.Status(r.now).Proven
	r.must(r.read(l))
	if got := r.list.Status(r.now).Proven; got != p {
		t.Error("the anchor itself moved P")
	}
	if !r.refuses("while away") {
		t.Error("an event after the anchor is not applied")
	}
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.Fresh, revoke.ReasonNone)
	if s := r.list.Stats(r.now); s.Replays != 1 || s.AnchorsLost != 0 || s.Applied[revoke.Token] != 4 {
		t.Errorf("%+v", s)
	}
}

// TestRolledBackLog: the log was rolled back and written past the cursor. Nothing
// but the anchor can tell; fresh heartbeats must not move P until the whole log was
// read again, and nothing known is forgotten (invariant 3).
func TestRolledBackLog(t *testing.T) {
	r, l := ready(t)
	l.revoke(r.now.Time(), "lost by the log")
	r.must(r.read(l))
	l = l.rollback(2)
	r.pass(time.Second)
	for i := range 10 {
		l.revoke(r.now.Time(), fmt.Sprint("lost stretch", i))
	}
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	p := r.list.Status(r.now).Proven
	r.begin(l)
	if !r.sub.Anchored {
		t.Fatal("not anchored")
	}
	r.beat(l)
	if err := r.read(l); !errors.Is(err, revoke.ErrAnchor) {
		t.Fatalf("read: %v, want ErrAnchor", err)
	}
	if r.list.Status(r.now).Proven != p {
		t.Fatal("P moved on a log that is not ours")
	}
	// Late deliveries of the ended subscription change nothing.
	r.must(r.deliver(&l.messages[len(l.messages)-1], r.n+1))
	if r.list.Status(r.now).Proven != p {
		t.Fatal("P moved on a dropped delivery")
	}
	r.pass(time.Millisecond)
	r.begin(l)
	if r.sub.Anchored || r.sub.Start != 1 {
		t.Fatalf("%+v", r.sub)
	}
	r.must(r.read(l))
	if r.list.Status(r.now).Proven != p {
		t.Fatal("a heartbeat sent before the replay began moved P")
	}
	r.pass(time.Second)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.Fresh, revoke.ReasonNone)
	for _, jti := range []string{"old0", "old1", "old2", "lost by the log", "lost stretch0", "lost stretch9"} {
		if !r.refuses(jti) {
			t.Errorf("%q is not refused", jti)
		}
	}
	if s := r.list.Stats(r.now); s.AnchorsLost != 1 || s.Replays != 2 {
		t.Errorf("%+v", s)
	}
}

// TestAnchorIsTheVeryRecord: place, server timestamp and content must all agree.
func TestAnchorIsTheVeryRecord(t *testing.T) {
	for what, other := range map[string]func(*revoke.Record){
		"none":      func(*revoke.Record) {},
		"sequence":  func(r *revoke.Record) { r.Sequence++ },
		"timestamp": func(r *revoke.Record) { r.Time = r.Time.Add(time.Nanosecond) },
		"subject":   func(r *revoke.Record) { r.Subject += "." },
		"content":   func(r *revoke.Record) { r.Data[len(r.Data)-1] ^= 1 },
	} {
		r, l := ready(t)
		r.feed.Broken(r.now, revoke.ReasonDisconnected)
		r.begin(l)
		m := &l.messages[len(l.messages)-1]
		rec := m.record(r.sub.Generation, 1)
		other(&rec)
		err := r.feed.Heartbeat(r.now, rec, *m.beat)
		if lost := errors.Is(err, revoke.ErrAnchor); lost != (what != "none") {
			t.Errorf("another %s: error %v", what, err)
		}
	}
}

// TestHeartbeatsBeforeTheReplayProveNothing: sent before the replay began, one shows
// nothing of what was written to the log since.
func TestHeartbeatsBeforeTheReplayProveNothing(t *testing.T) {
	r, l := ready(t)
	r.pass(5 * time.Second)
	r.beat(l) // own, under way
	r.pass(time.Second)
	l2 := &tape{seq: 100, messages: nil} // made anew, higher sequences
	l2.revoke(r.now.Time(), "new")
	l2.append(r.now.Time(), message{beat: l.messages[len(l.messages)-1].beat})
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	p := r.list.Status(r.now).Proven
	r.begin(l2)
	if err := r.read(l2); !errors.Is(err, revoke.ErrAnchor) {
		t.Fatal(err)
	}
	r.begin(l2)
	r.must(r.read(l2))
	if r.list.Status(r.now).Proven != p {
		t.Fatal("a heartbeat sent before the replay moved P")
	}
	r.beat(l2)
	r.must(r.read(l2))
	if r.list.Status(r.now).Proven == p {
		t.Fatal("a heartbeat sent after the replay began does not move P")
	}
}

func TestShorterLogIsReplayed(t *testing.T) {
	r, l := ready(t)
	l = l.rollback(1)
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	r.begin(l)
	if r.sub.Anchored || r.sub.Start != 1 {
		t.Fatalf("%+v", r.sub)
	}
	r.must(r.read(l))
	r.pass(16 * time.Second)
	r.want(revoke.Stale, revoke.ReasonRebuilding)
	if !r.refuses("old2") {
		t.Error("forgotten on rebuild")
	}
}

func TestTwoFailedAnchorsRebuild(t *testing.T) {
	r, l := ready(t)
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	for i := range 2 {
		// What comes of a slow server or line says nothing of the log, however often.
		for range 5 {
			for _, reason := range []revoke.Reason{revoke.ReasonDisconnected, revoke.ReasonNoHeartbeat, revoke.ReasonNoStream, revoke.ReasonNotPermitted} {
				r.begin(l)
				if !r.sub.Anchored {
					t.Fatalf("not anchored after %s", reason)
				}
				r.feed.Broken(r.now, reason)
			}
		}
		r.begin(l)
		if !r.sub.Anchored {
			t.Fatalf("attempt %d is not anchored", i)
		}
		r.feed.Broken(r.now, revoke.ReasonRebuilding) // no first record came
	}
	r.begin(l)
	if r.sub.Anchored {
		t.Fatal("a third anchored attempt")
	}
}

// TestGapEndsTheSubscription: each delivery must follow its predecessor, though
// sequences may have holes.
func TestGapEndsTheSubscription(t *testing.T) {
	r, l := ready(t)
	l.seq += 5 // a hole where messages expired
	l.revoke(r.now.Time(), "after a hole")
	r.must(r.read(l))
	l.revoke(r.now.Time(), "lost in flight")
	l.revoke(r.now.Time(), "after the loss")
	r.beat(l)
	n := len(l.messages)
	p := r.list.Status(r.now).Proven
	if err := r.deliver(&l.messages[n-2], r.n+2); !errors.Is(err, revoke.ErrGap) {
		t.Fatalf("%v, want ErrGap", err)
	}
	if r.refuses("after the loss") {
		t.Error("applied in spite of the gap")
	}
	r.must(r.deliver(&l.messages[n-1], r.n+3)) // dropped
	if r.list.Status(r.now).Proven != p {
		t.Fatal("P moved across a gap")
	}
	r.begin(l)
	r.must(r.read(l))
	if !r.refuses("lost in flight") || !r.refuses("after the loss") {
		t.Error("the gap was not healed")
	}
	if s := r.list.Stats(r.now); s.Gaps != 1 {
		t.Errorf("%+v", s)
	}
	// The same place twice is no order either.
	if err := r.deliver(&l.messages[n-1], r.n+1); !errors.Is(err, revoke.ErrGap) {
		t.Errorf("a repeated sequence: %v", err)
	}
}

func TestGenerations(t *testing.T) {
	r, l := ready(t)
	old := r.sub
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	r.begin(l)
	r.must(r.read(l))
	l.revoke(r.now.Time(), "late")
	m := &l.messages[len(l.messages)-1]
	r.must(r.feed.Event(r.now, m.record(old.Generation, r.n+1), *m.event))
	if r.refuses("late") {
		t.Error("a record of an ended subscription was applied")
	}
	r.must(r.read(l))
	if !r.refuses("late") {
		t.Error("the good twin is not applied")
	}
}

func TestHorizon(t *testing.T) {
	var logged bytes.Buffer
	r, l := newReplica(t, revoke.Config{TokenLifetime: 2 * time.Hour, Logger: slog.New(slog.NewTextHandler(&logged, nil))}), &tape{}
	r.begin(l)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.Stale, revoke.ReasonHorizon)
	if s := logged.String(); !strings.Contains(s, "stream=1h0m0s") || !strings.Contains(s, "list=2h0m0s") {
		t.Errorf("the log does not name both lifetimes: %s", s)
	}
	id := revoke.Identity{Issuer: iss, Token: "x", IssuedAt: r.now.Time()}
	if err := r.list.Check(r.now, &id, revoke.MaxStaleness(time.Hour)); !errors.Is(err, revoke.ErrStale) {
		t.Errorf("MaxStaleness overrides the horizon: %v", err)
	}
	// Horizons are read at every subscription.
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	info := l.info()
	info.Horizons.TokenLifetime = 2 * time.Hour
	r.feed.Begin(r.now, info)
	r.want(revoke.Fresh, revoke.ReasonNone)
	info.Horizons = revoke.Horizons{}
	r.feed.Begin(r.now, info)
	r.want(revoke.Stale, revoke.ReasonBadStream)
}

func TestFaults(t *testing.T) {
	r, l := ready(t)
	for f := revoke.FaultMalformed; f <= revoke.FaultUnsigned; f++ {
		if f != revoke.FaultCritical {
			l.append(r.now.Time(), message{fault: f})
		}
	}
	l.append(r.now.Time(), message{event: &revoke.Event{Issuer: iss, Kind: revoke.Subject}}) // no value
	l.revoke(r.now.Time(), "behind the faults")
	r.must(r.read(l))
	r.want(revoke.Fresh, revoke.ReasonNone)
	s := r.list.Stats(r.now)
	if !r.refuses("behind the faults") || !r.list.Status(r.now).Degraded || s.Faults[revoke.FaultMalformed] != 2 || len(s.Faults) != 6 {
		t.Errorf("%+v", s)
	}
	later := r.now.Add(2 * time.Hour)
	if r.list.Status(later).Degraded {
		t.Error("degraded for ever")
	}
}

func TestCriticalEventMakesStaleForATokenLifetime(t *testing.T) {
	r, l := ready(t)
	l.append(r.now.Time(), message{fault: revoke.FaultCritical})
	r.must(r.read(l))
	r.want(revoke.Stale, revoke.ReasonCritical)
	id := revoke.Identity{Issuer: iss, Token: "x", IssuedAt: r.now.Time()}
	if err := r.list.Check(r.now, &id, revoke.MaxStaleness(24*time.Hour)); !errors.Is(err, revoke.ErrStale) {
		t.Errorf("MaxStaleness overrides a critical event: %v", err)
	}
	// The log server's clock may be a year ahead: it lasts no longer.
	ahead, l2 := ready(t)
	l2.append(ahead.now.Time().Add(365*24*time.Hour), message{fault: revoke.FaultCritical})
	ahead.must(ahead.read(l2))
	ahead.want(revoke.Stale, revoke.ReasonCritical)
	ahead.pass(time.Hour + time.Second)
	ahead.beat(l2)
	ahead.must(ahead.read(l2))
	ahead.want(revoke.Fresh, revoke.ReasonNone)

	r.pass(time.Hour - time.Second)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.Stale, revoke.ReasonCritical)
	r.pass(2 * time.Second)
	r.want(revoke.Fresh, revoke.ReasonNone)
}

// TestForgettingTakesBothClocks holds invariant 3: an entry is kept until its Until
// and twelve minutes by the local clock and by the stream's both.
func TestForgettingTakesBothClocks(t *testing.T) {
	for _, c := range []struct {
		name          string
		local, stream time.Duration // how far each has moved past Until
		kept          bool
	}{
		{"neither", -time.Minute, -time.Minute, true},
		{"within the grace", 11 * time.Minute, 11 * time.Minute, true},
		{"the local clock alone", 24 * time.Hour, 11 * time.Minute, true},
		{"the stream's alone", 11 * time.Minute, 24 * time.Hour, true},
		{"both", 13 * time.Minute, 13 * time.Minute, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, l := ready(t)
			start := r.now
			l.append(start.Time(), message{event: &revoke.Event{Issuer: iss, Kind: revoke.Token, Value: "x", Until: start.Time().Add(time.Hour)}})
			r.must(r.read(l))
			r.now.Wall += int64(time.Hour + c.local)
			r.now.Mono += int64(time.Hour + c.stream)
			if !c.kept { // the stream's time is that of its newest timestamp, not of its last
				l.append(start.Time(), message{fault: revoke.FaultMalformed})
				r.must(r.read(l))
			}
			for range 2 {
				if r.refuses("x") != c.kept {
					t.Fatalf("refused: %v, want %v", !c.kept, c.kept)
				}
				r.list.Fold(r.now) // and folding forgets no more than a check does
			}
		})
	}
	// A List never fed by a bus uses its clock alone; one whose stream has not spoken
	// yet forgets nothing.
	for _, fed := range []bool{false, true} {
		l, err := revoke.NewList(revoke.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if fed {
			if _, err := l.NewFeed(); err != nil {
				t.Fatal(err)
			}
		}
		now := revoke.Now()
		if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.Token, Value: "x", Until: now.Time().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		id := revoke.Identity{Issuer: iss, Token: "x"}
		if err := l.Check(now.Add(24*time.Hour), &id, revoke.InsecureAllow()); errors.Is(err, revoke.ErrRevoked) != fed {
			t.Errorf("fed %v, a day later: %v", fed, err)
		}
	}
}

// TestClamping holds section "limits on what one event may do": the same on every
// replica, by the stream's timestamp.
func TestClamping(t *testing.T) {
	r, l := ready(t)
	ts := r.now.Time().Truncate(time.Millisecond)
	for i, c := range []struct {
		name       string
		before, at time.Duration // from the stream timestamp; 0: absent
		cutoff     time.Duration
	}{
		{"absent", 0, 0, 2 * time.Second},
		{"past", -time.Minute, -time.Second, -time.Minute},
		{"the future, no clock", time.Hour, 0, 2 * time.Second},
		{"the future, publisher in step", time.Hour, time.Millisecond, 2*time.Second + time.Millisecond},
		{"broker an hour behind", time.Hour, time.Hour, time.Hour},
		{"broker an hour behind, a little more", time.Hour + 3*time.Second, time.Hour, time.Hour + 2*time.Second},
		{"publisher mad", 48 * time.Hour, 48 * time.Hour, 24*time.Hour + 2*time.Second},
		{"broker an hour ahead", -time.Hour, -time.Hour, -time.Hour},
	} {
		e := revoke.Event{Issuer: iss, Kind: revoke.Subject, Value: fmt.Sprint("u", i)}
		if c.before != 0 {
			e.Before = ts.Add(c.before)
		}
		if c.at != 0 {
			e.At = ts.Add(c.at)
		}
		l.append(ts, message{event: &e})
		r.must(r.read(l))
		for d, want := range map[time.Duration]bool{c.cutoff: true, c.cutoff + time.Millisecond: false} {
			id := revoke.Identity{Issuer: iss, Subject: e.Value, IssuedAt: ts.Add(d)}
			if got := r.list.Check(r.now, &id, revoke.InsecureAllow()) != nil; got != want {
				t.Errorf("%s: a token issued at %+d ms is refused: %v", c.name, d.Milliseconds(), got)
			}
		}
	}
	if n := r.list.Stats(r.now).BrokerClock; n != 4 {
		t.Errorf("%d events told of a broker clock, want 4", n)
	}
	// Until: at most the longest horizon and a day; ten years for keys.
	day := 24 * time.Hour
	for _, c := range []struct {
		kind  revoke.Kind
		value string
		until time.Duration
		life  time.Duration
	}{
		{revoke.Token, "far", 1000 * day, 91 * day},
		{revoke.Token, "none", 0, 90 * day},
		{revoke.Key, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", 0, 365 * day},
		{revoke.Key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 9000 * day, 3653 * day},
	} {
		e := revoke.Event{Issuer: iss, Kind: c.kind, Value: c.value}
		if c.until != 0 {
			e.Until = ts.Add(c.until)
		}
		l.append(ts, message{event: &e})
		r.must(r.read(l))
		id := revoke.Identity{Issuer: iss, IssuedAt: ts}
		if c.kind == revoke.Token {
			id.Token = c.value
		} else {
			id.Key = c.value
		}
		for d, want := range map[time.Duration]bool{c.life + grace - time.Second: true, c.life + grace + 2*time.Second: false} {
			if got := r.list.Check(r.now.Add(d), &id, revoke.InsecureAllow()) != nil; got != want {
				t.Errorf("%s %.4s: refused after %s: %v, want %v", c.kind, c.value, d, got, want)
			}
		}
	}
}

func TestOneFeedAtATime(t *testing.T) {
	r, l := ready(t)
	if _, err := r.list.NewFeed(); !errors.Is(err, revoke.ErrFollowed) {
		t.Errorf("a second feed: %v", err)
	}
	r.feed.Close(r.now)
	r.feed.Close(r.now)
	r.must(r.deliver(&l.messages[0], r.n+1))
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	r.pass(16 * time.Second)
	r.want(revoke.Stale, revoke.ReasonClosed)
	if !r.refuses("old0") {
		t.Error("Close forgets")
	}
	f, err := r.list.NewFeed()
	if err != nil {
		t.Fatal(err)
	}
	r.feed = f
	r.begin(l)
	r.must(r.read(l))
	r.pass(time.Millisecond)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.Fresh, revoke.ReasonNone)
	if _, err := localList(t).NewFeed(); !errors.Is(err, revoke.ErrFollowed) {
		t.Errorf("a Local list was fed: %v", err)
	}
}

func TestForeignIssuersAreCounted(t *testing.T) {
	var logged bytes.Buffer
	r, l := newReplica(t, revoke.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}), &tape{}
	r.begin(l)
	r.list.ExpectIssuer(iss)
	r.list.ExpectIssuer(iss)
	r.list.ExpectIssuer("https://b.example.com")
	l.revoke(r.now.Time(), "mine")
	l.append(r.now.Time(), message{event: &revoke.Event{Issuer: iss + "/", Kind: revoke.Token, Value: "x"}})
	r.must(r.read(l))
	if n := r.list.Stats(r.now).ForeignIssuer; n != 1 {
		t.Errorf("%d foreign events, want 1", n)
	}
	// Named in the log, once a minute.
	for range 100 {
		l.append(r.now.Time(), message{event: &revoke.Event{Issuer: iss + "/", Kind: revoke.Token, Value: "x"}})
	}
	r.must(r.read(l))
	if n := strings.Count(logged.String(), iss+"/"); n != 1 {
		t.Errorf("named %d times in\n%s", n, &logged)
	}
}

// A server that is overloaded returns all heartbeats too late to silence anybody.
// Members then beat the more rarely, or it would never recover; lost ones, as in the
// election of a leader, make nobody wait, and the first that is quick again ends it.
func TestHeartbeatsYieldToCongestion(t *testing.T) {
	for _, c := range []struct {
		name        string
		round       time.Duration
		least, most time.Duration // until the next
	}{
		{"quick", 10 * time.Millisecond, time.Second, 2 * time.Second},
		{"slow", 5 * time.Second, 5 * time.Second, 10 * time.Second},
		{"too slow to be waited for", time.Minute, 7500 * time.Millisecond, 15 * time.Second},
		{"quick again", time.Millisecond, time.Second, 2 * time.Second},
		{"lost", 0, time.Second, 2 * time.Second},
	} {
		l := &tape{}
		r := newReplica(t, revoke.Config{})
		r.begin(l)
		if c.name == "quick again" {
			r.beat(l)
			r.now = r.now.Add(5 * time.Second)
			if err := r.read(l); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			r.feed.BeatIn(r.now)
			r.beat(l)
			if c.round > 0 {
				r.now = r.now.Add(c.round)
				if err := r.read(l); err != nil {
					t.Fatal(err)
				}
			}
			r.now = r.now.Add(15 * time.Second) // whatever the patience was
			if d := r.feed.BeatIn(r.now); d != 0 {
				t.Fatalf("%s: no heartbeat is due after 15 s, but in %s", c.name, d)
			}
			if d := r.feed.BeatIn(r.now); d < c.least || d > c.most {
				t.Errorf("%s: the next heartbeat in %s, want %s to %s", c.name, d, c.least, c.most)
			}
		}
	}
}

// Where own heartbeats are that late, another's of the same lateness is no sign of a
// clock that is off, and silences as well; where they are not, it is.
func TestLateHeartbeatsSilenceInCongestion(t *testing.T) {
	for _, c := range []struct {
		round   time.Duration
		silence bool
	}{{5 * time.Second, true}, {10 * time.Millisecond, false}} {
		l := &tape{}
		r := newReplica(t, revoke.Config{})
		r.begin(l)
		r.feed.BeatIn(r.now)
		r.beat(l)
		r.now = r.now.Add(c.round)
		if err := r.read(l); err != nil {
			t.Fatal(err)
		}
		before := r.list.Stats(r.now).SkewedHeartbeats
		r.now = r.now.Add(20 * time.Second) // one is due
		l.append(r.now.Time(), message{beat: &revoke.Heartbeat{Nonce: [16]byte{9}, Time: r.now.Add(-5 * time.Second).Time(), Name: "other"}})
		if err := r.read(l); err != nil {
			t.Fatal(err)
		}
		if d := r.feed.BeatIn(r.now); (d > 0) != c.silence {
			t.Errorf("own heartbeats take %s: the next in %s", c.round, d)
		}
		if skewed := r.list.Stats(r.now).SkewedHeartbeats - before; (skewed == 0) != c.silence {
			t.Errorf("own heartbeats take %s: %d counted as skewed", c.round, skewed)
		}
	}
}

// The same holds while the first own heartbeat is still under way: of many who join at
// once none has anything else to go by. One that came back quickly ends it.
func TestLateHeartbeatsSilenceWhileOwnIsUnderWay(t *testing.T) {
	for _, back := range []bool{false, true} {
		l := &tape{}
		r := newReplica(t, revoke.Config{})
		r.begin(l)
		r.feed.BeatIn(r.now)
		own := &tape{}
		r.beat(own) // sent, and not in the log that is read
		if back {
			r.beat(l)
			if err := r.read(l); err != nil {
				t.Fatal(err)
			}
		}
		r.now = r.now.Add(6 * time.Second) // one is due
		l.append(r.now.Time(), message{beat: &revoke.Heartbeat{Nonce: [16]byte{9}, Time: r.now.Add(-5 * time.Second).Time(), Name: "other"}})
		if err := r.read(l); err != nil {
			t.Fatal(err)
		}
		if d := r.feed.BeatIn(r.now); (d == 0) != back {
			t.Errorf("an own one came back: %t; the next in %s", back, d)
		}
	}
}

// The heartbeats that a replay meets are old by nature; only those sent since it began
// tell of a clock that is off.
func TestReplayIsNoClockSkew(t *testing.T) {
	r := newReplica(t, revoke.Config{})
	l := &tape{}
	beat := func(at time.Time) {
		l.append(at, message{beat: &revoke.Heartbeat{Nonce: [16]byte{byte(l.seq + 1)}, Time: at}})
	}
	for i := range 5 {
		beat(r.now.Time().Add(time.Duration(i-10) * time.Minute))
	}
	r.begin(l)
	if err := r.read(l); err != nil {
		t.Fatal(err)
	}
	if s := r.list.Status(r.now); s.Reason != revoke.ReasonReplaying {
		t.Errorf("old heartbeats: %s", s.Reason)
	}
	beat(r.now.Time().Add(-10 * time.Minute))
	if err := r.read(l); err != nil {
		t.Fatal(err)
	}
	if s := r.list.Status(r.now); s.Reason != revoke.ReasonClockSkew {
		t.Errorf("a member whose clock is slow: %s", s.Reason)
	}
}
