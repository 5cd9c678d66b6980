package publish

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What is published again bears the present as its time, or replicas would take the
// broker's clock for wrong; what a witness holds, the stream's old content, stays.
func TestRenew(t *testing.T) {
	p := newTestPublisher()
	old := time.Now().Add(-time.Hour)
	e := revoke.Event{Issuer: testIssuer, Kind: revoke.KindSession, Value: "s", Until: time.UnixMilli(time.Now().UnixMilli() + 3_600_000), At: old, Reason: `,"at":1}`}
	payload, err := wire.EncodeEvent(&e)
	if err != nil {
		t.Fatal(err)
	}
	payload = append(make([]byte, 0, 2*len(payload)), payload...) // with room to be written over
	rec := &record{subject: wire.Subject(e.Issuer, e.Kind), payload: payload}
	before := bytes.Clone(payload)
	now := time.Now()
	if err := p.renew(t.Context(), rec, now); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(payload, before) {
		t.Errorf("the old one was written over: %s", payload)
	}
	msg, fault := decode(rec.subject, rec.payload)
	if fault != 0 {
		t.Fatalf("%s: %s", fault, rec.payload)
	}
	if got := msg.Event.At.Sub(now); got < 0 || got >= time.Millisecond {
		t.Errorf("its time is off by %s", got)
	}
	e.At, msg.Event.At = time.Time{}, time.Time{}
	if fmt.Sprint(e.Value, e.Reason, e.Until.UnixMilli()) != fmt.Sprint(msg.Event.Value, msg.Event.Reason, msg.Event.Until.UnixMilli()) {
		t.Errorf("%+v became %+v", e, msg.Event)
	}
}

// A loss that one acknowledgement has shown is not found again by the next look at the
// stream, and one that another call has shown not by a doubt about the era before.
func TestOneLossIsOne(t *testing.T) {
	p := newTestPublisher()
	l := &p.ledger
	p.gauge.era = 1
	rec := living1h(1)
	floor, era := l.begin()
	if !p.acknowledged(rec, ack(5, false), false, floor, era) || !p.isOfNow(p.gauge.era) {
		t.Fatal("no good twin")
	}
	floor, era = l.begin()
	if p.acknowledged(living1h(2), ack(3, false), false, floor, era) || l.stats.Losses != 1 {
		t.Fatal("no loss")
	}
	if p.isOfNow(p.gauge.era) {
		t.Error("the next reading finds it again")
	}
	p.doubt(era)
	if l.stats.Losses != 1 {
		t.Errorf("%d losses", l.stats.Losses)
	}
	p.doubt(l.current())
	if l.stats.Losses != 2 {
		t.Errorf("the good twin: %d losses", l.stats.Losses)
	}
}

// A stream that is made anew shows by several signs: an acknowledgement, the place that an
// own follower had, the time at which it was made, its last sequence. They are one loss,
// in whatever order they are seen, and whatever reading was under way; the next is another.
func TestOneRecreationIsOneLoss(t *testing.T) {
	const ago = time.Hour
	old, made := time.Now().Add(-ago), time.Now()
	type reading struct {
		before       int64
		highest, era uint64
	}
	signs := map[string]func(p *Publisher){
		"follower": func(p *Publisher) { p.Suspect(revoke.Now()) },
		"acknowledgement": func(p *Publisher) {
			floor, era := p.ledger.begin()
			p.acknowledged(living1h(9), ack(1, false), false, floor, era)
		},
		"reading":  func(p *Publisher) {},
		"sequence": func(p *Publisher) { p.gauge.era = 0 },
	}
	for name, sign := range signs {
		for _, underWay := range []bool{false, true} {
			p := newTestPublisher()
			l := &p.ledger
			begin := func() reading {
				highest, era := l.begin()
				return reading{0, highest, era}
			}
			end := func(r reading, created time.Time, last uint64) {
				p.took(t.Context(), stream.State{Created: created, Last: last, MaxBytes: 1 << 30}, nil, r.before, r.highest, r.era)
			}
			end(begin(), old, 100)
			floor, era := l.begin()
			if !p.acknowledged(living1h(1), ack(101, false), false, floor, era) || l.stats.Losses != 0 {
				t.Fatal("no good twin")
			}
			early, late := begin(), begin() // two readings: one is answered before, one after
			sign(p)
			if underWay || name == "reading" {
				end(early, old, 101)
				end(late, made, 1)
				if n := l.stats.Losses; n != 1 {
					t.Errorf("%s: %d losses after the readings that were under way", name, n)
				}
			}
			for range 3 {
				end(begin(), made, 1)
			}
			if n := l.stats.Losses; n != 1 {
				t.Errorf("%s, readings under way %t: %d losses", name, underWay, n)
			}
			if !p.isOfNow(p.gauge.era) || !p.gauge.state.Created.Equal(made) {
				t.Fatalf("%s: when the stream was made is not known", name)
			}
			end(begin(), made.Add(time.Minute), 1)
			if n := l.stats.Losses; n != 2 {
				t.Errorf("%s: %d losses after the next recreation", name, n)
			}
			if p.isOfNow(p.gauge.era) {
				t.Errorf("%s: nothing is read before what was lost is published", name)
			}
		}
	}
}

// What has expired is not published again, nor waited for.
func TestExpiredIsNotPending(t *testing.T) {
	p := newTestPublisher()
	l := &p.ledger
	now := time.Now()
	for i := range 4 {
		rec := living1h(i)
		rec.gone = now.Add(time.Duration(2*i-3) * time.Minute) // two of them are over
		rec.era, rec.kept = 1, true
		l.alive.Push(rec)
	}
	l.lost(0)
	l.recovering = true
	if list, _, _ := l.pending(now); len(list) != 2 || !l.recovering {
		t.Errorf("%d pending", len(list))
	}
	if list, lapsed, _ := l.pending(now.Add(time.Hour)); len(list) != 0 || l.recovering || len(lapsed) != 2 || l.stats.Expired != 4 {
		t.Errorf("%d pending for ever; %d found to have expired, %d in all", len(list), len(lapsed), l.stats.Expired)
	}
}

// The stream forgets what expires: that is no sign of a loss, so what is about to is no
// witness.
func TestWitnessesLive(t *testing.T) {
	p := newTestPublisher()
	l := &p.ledger
	now := time.Now()
	add := func(seq uint64, life time.Duration) {
		rec := living1h(int(seq))
		rec.seq, rec.era, rec.gone = seq, l.current(), now.Add(life)
		l.alive.Push(rec)
	}
	add(5, time.Minute)
	l.testify(now)
	if len(l.witnesses) != 0 {
		t.Errorf("witnesses %+v", l.witnesses)
	}
	add(3, time.Hour)
	add(4, 3*time.Minute)
	add(6, 119*time.Second)
	l.testify(now)
	l.testify(now)
	if len(l.witnesses) != 1 || l.witnesses[0].seq != 4 {
		t.Errorf("witnesses %+v", l.witnesses)
	}
}
