// Package tape is a log in memory and a reader of it, for the tests of feeds and Lists.
package tape

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Issuer is that of all events on a [Log].
const Issuer = "https://auth.example.com"

// A Log is one in memory. The zero Log is empty.
type Log struct {
	Skew     time.Duration // that the log was made for; 0: the default
	Seq      uint64
	Messages []Message
}

// A Message is one of a [Log]: an event, a heartbeat or, with neither, a fault.
type Message struct {
	Seq   uint64
	Time  time.Time
	Event *revoke.Event
	Beat  *replica.Heartbeat
	Fault revoke.Fault
	Life  time.Duration
}

// Record is where the message stands, as a subscription delivers it.
func (m *Message) Record(gen, delivery uint64) replica.Record {
	return replica.Record{Generation: gen, Delivery: delivery, Sequence: m.Seq, Time: m.Time,
		Life: m.Life, Subject: "subject", Data: fmt.Append(nil, m.Event, m.Beat, m.Fault)}
}

// Append puts m at the end.
func (l *Log) Append(ts time.Time, m Message) {
	l.Seq++
	m.Seq, m.Time = l.Seq, ts
	l.Messages = append(l.Messages, m)
}

// Revoke appends an event of kind token.
func (l *Log) Revoke(ts time.Time, jti string) {
	l.Append(ts, Message{Event: &revoke.Event{Issuer: Issuer, Kind: revoke.KindToken, Value: jti, Until: ts.Add(time.Hour)}})
}

// Info is what a follower reads of the log before it subscribes.
func (l *Log) Info() replica.LogInfo {
	h := revoke.DefaultRetention()
	if l.Skew != 0 {
		h.MaxSkew = l.Skew
	}
	return replica.LogInfo{Retention: h, LastSequence: l.Seq}
}

// Rollback returns the log as it was after seq.
func (l *Log) Rollback(seq uint64) *Log {
	r := &Log{Seq: seq}
	for _, m := range l.Messages {
		if m.Seq <= seq {
			r.Messages = append(r.Messages, m)
		}
	}
	return r
}

// A Reader is a List and its feed, and reads a [Log] as a bus would.
type Reader struct {
	T    *testing.T
	List *revoke.List
	Feed *replica.Feed
	Now  revoke.Instant
	Sub  replica.Subscription
	Pos  uint64 // newest sequence delivered
	N    uint64 // deliveries
}

// NewReader returns one that has read nothing.
func NewReader(t *testing.T, cfg revoke.Config) *Reader {
	t.Helper()
	l, err := revoke.NewList(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f, err := replica.NewFeed(l)
	if err != nil {
		t.Fatal(err)
	}
	return &Reader{T: t, List: l, Feed: f, Now: revoke.Now()}
}

// Begin subscribes.
func (r *Reader) Begin(l *Log) {
	r.Sub = r.Feed.Begin(r.Now, l.Info())
	r.Pos, r.N = r.Sub.Start-1, 0
}

// Read delivers what the log holds beyond what was delivered, until an error.
func (r *Reader) Read(l *Log) error {
	for i := range l.Messages {
		m := &l.Messages[i]
		if m.Seq <= r.Pos {
			continue
		}
		r.N++
		r.Pos = m.Seq
		if err := r.Deliver(m, r.N); err != nil {
			return err
		}
	}
	return nil
}

// Deliver hands over one message.
func (r *Reader) Deliver(m *Message, delivery uint64) error {
	rec := m.Record(r.Sub.Generation, delivery)
	switch {
	case m.Event != nil:
		return r.Feed.Event(r.Now, rec, *m.Event)
	case m.Beat != nil:
		return r.Feed.Heartbeat(r.Now, rec, *m.Beat)
	}
	return r.Feed.Fault(r.Now, rec, m.Fault)
}

// Beat sends an own heartbeat into the log.
func (r *Reader) Beat(l *Log) {
	hb := replica.Heartbeat{Time: r.Now.Time(), Name: "self"}
	rand.Read(hb.Nonce[:])
	r.Feed.Sent(r.Now, hb.Nonce)
	l.Append(r.Now.Time(), Message{Beat: &hb})
}

// OtherBeat puts another member's heartbeat into the log, its clock off by skew.
func (r *Reader) OtherBeat(l *Log, skew time.Duration) {
	hb := replica.Heartbeat{Time: r.Now.Time().Add(skew), Name: "other"}
	rand.Read(hb.Nonce[:])
	l.Append(r.Now.Time(), Message{Beat: &hb})
}

// Pass lets time pass, by both clocks.
func (r *Reader) Pass(d time.Duration) { r.Now = r.Now.Add(d) }

// Must ends the test at an error.
func (r *Reader) Must(err error) {
	r.T.Helper()
	if err != nil {
		r.T.Fatal(err)
	}
}

// Want ends the test unless the List is in that state, for that reason.
func (r *Reader) Want(s revoke.State, reason revoke.Reason) {
	r.T.Helper()
	if got := r.List.Status(r.Now); got.State != s || got.Reason != reason {
		r.T.Fatalf("status %s (%s), age %s; want %s (%s)", got.State, got.Reason, got.Age, s, reason)
	}
}

// Refuses reports whether the List holds the token with that jti as revoked.
func (r *Reader) Refuses(jti string) bool {
	id := revoke.Identity{Issuer: Issuer, Token: jti, IssuedAt: r.Now.Time()}
	return errors.Is(r.List.Check(r.Now, &id, revoke.InsecureAllow()), revoke.ErrRevoked)
}

// Ready returns a replica that has read a log with three events, and is fresh.
func Ready(t *testing.T) (*Reader, *Log) {
	r, l := NewReader(t, revoke.Config{}), &Log{}
	for i := range 3 {
		l.Revoke(r.Now.Time(), fmt.Sprint("old", i))
	}
	r.Begin(l)
	r.Beat(l)
	r.Must(r.Read(l))
	r.Want(revoke.StateFresh, revoke.ReasonNone)
	return r, l
}

// DigestBeat puts the heartbeat of a member into the log that carries that digest.
func (r *Reader) DigestBeat(l *Log, d *replica.Digest) {
	hb := replica.Heartbeat{Time: r.Now.Time(), Name: "other", Digest: d}
	rand.Read(hb.Nonce[:])
	l.Append(r.Now.Time(), Message{Beat: &hb})
}

// Mirror subscribes to l as to a mirror.
func (r *Reader) Mirror(l *Log) {
	info := l.Info()
	info.Mirror = true
	r.Sub = r.Feed.Begin(r.Now, info)
	r.Pos, r.N = r.Sub.Start-1, 0
}

// Proven is the instant up to which the List is proven.
func (r *Reader) Proven() revoke.Instant { return r.List.Status(r.Now).Proven }

// Stats are those of the List.
func (r *Reader) Stats() revoke.Stats { return r.List.Stats(r.Now) }

// Is reports what, unless the List is in that state.
func (r *Reader) Is(s revoke.State, what string) {
	r.T.Helper()
	if got := r.List.Status(r.Now); got.State != s {
		r.T.Fatalf("%s: %s (%s), age %s, want %s", what, got.State, got.Reason, got.Age, s)
	}
}
