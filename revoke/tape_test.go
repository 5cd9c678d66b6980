package revoke_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A tape is a log in memory, and a reader reads it as a bus would.
type tape struct {
	skew     time.Duration // that the log was made for; 0: the default
	seq      uint64
	messages []message
}

type message struct {
	seq   uint64
	time  time.Time
	event *revoke.Event
	beat  *replica.Heartbeat
	fault revoke.Fault
	life  time.Duration
}

func (m *message) record(gen, delivery uint64) replica.Record {
	return replica.Record{Generation: gen, Delivery: delivery, Sequence: m.seq, Time: m.time,
		Life: m.life, Subject: "subject", Data: fmt.Append(nil, m.event, m.beat, m.fault)}
}

func (l *tape) append(ts time.Time, m message) {
	l.seq++
	m.seq, m.time = l.seq, ts
	l.messages = append(l.messages, m)
}

func (l *tape) revoke(ts time.Time, jti string) {
	l.append(ts, message{event: &revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: jti, Until: ts.Add(time.Hour)}})
}

func (l *tape) info() replica.LogInfo {
	h := revoke.DefaultHorizons()
	if l.skew != 0 {
		h.MaxSkew = l.skew
	}
	return replica.LogInfo{Horizons: h, LastSequence: l.seq}
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

type reader struct {
	t    *testing.T
	list *revoke.List
	feed *replica.Feed
	now  revoke.Instant
	sub  replica.Subscription
	pos  uint64 // newest sequence delivered
	n    uint64 // deliveries
}

func newReplica(t *testing.T, cfg revoke.Config) *reader {
	t.Helper()
	l, err := revoke.NewList(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f, err := replica.NewFeed(l)
	if err != nil {
		t.Fatal(err)
	}
	return &reader{t: t, list: l, feed: f, now: revoke.Now()}
}

func (r *reader) begin(l *tape) {
	r.sub = r.feed.Begin(r.now, l.info())
	r.pos, r.n = r.sub.Start-1, 0
}

// read delivers what the log holds beyond what was delivered, until an error.
func (r *reader) read(l *tape) error {
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

func (r *reader) deliver(m *message, delivery uint64) error {
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
func (r *reader) beat(l *tape) {
	hb := replica.Heartbeat{Time: r.now.Time(), Name: "self"}
	rand.Read(hb.Nonce[:])
	r.feed.Sent(r.now, hb.Nonce)
	l.append(r.now.Time(), message{beat: &hb})
}

// otherBeat puts another member's heartbeat into the log, its clock off by skew.
func (r *reader) otherBeat(l *tape, skew time.Duration) {
	hb := replica.Heartbeat{Time: r.now.Time().Add(skew), Name: "other"}
	rand.Read(hb.Nonce[:])
	l.append(r.now.Time(), message{beat: &hb})
}

func (r *reader) pass(d time.Duration) { r.now = r.now.Add(d) }

func (r *reader) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *reader) want(s revoke.State, reason revoke.Reason) {
	r.t.Helper()
	if got := r.list.Status(r.now); got.State != s || got.Reason != reason {
		r.t.Fatalf("status %s (%s), age %s; want %s (%s)", got.State, got.Reason, got.Age, s, reason)
	}
}

func (r *reader) refuses(jti string) bool {
	id := revoke.Identity{Issuer: iss, Token: jti, IssuedAt: r.now.Time()}
	return errors.Is(r.list.Check(r.now, &id, revoke.InsecureAllow()), revoke.ErrRevoked)
}

// ready returns a replica that has read a log with three events, and is fresh.
func ready(t *testing.T) (*reader, *tape) {
	r, l := newReplica(t, revoke.Config{}), &tape{}
	for i := range 3 {
		l.revoke(r.now.Time(), fmt.Sprint("old", i))
	}
	r.begin(l)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.StateFresh, revoke.ReasonNone)
	return r, l
}
