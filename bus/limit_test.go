package bus

import (
	"bytes"
	"container/heap"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// openRecord is an event as it is prepared before the stream was ever seen.
func openRecord(t *testing.T, e revoke.Event) *record {
	t.Helper()
	e.Issuer = testIssuer
	e, err := e.Complete(time.Now(), revoke.Horizons{TokenLifetime: maxHorizon, SessionLifetime: maxHorizon})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := encodeEvent(&e)
	if err != nil {
		t.Fatal(err)
	}
	return &record{subject: Subject(e.Issuer, e.Kind), payload: payload, gone: e.Until.Add(ttlMargin), open: true}
}

// Invariants 3 and 9: an event that was prepared before the stream was seen lives as long
// as the stream's horizons demand from its own time, whatever the clock does meanwhile;
// nothing else of it changes; and what expires soonest is still forgotten first.
func TestLimit(t *testing.T) {
	h := revoke.Horizons{TokenLifetime: 7 * time.Minute, SessionLifetime: 3 * 24 * time.Hour}
	for name, e := range map[string]revoke.Event{
		"token":   {Kind: revoke.Token, Value: "x", Reason: "leak", Actor: "me"},
		"session": {Kind: revoke.Session, Value: "x"},
		"subject": {Kind: revoke.Subject, Value: "x", Keep: []string{"a", "b"}},
		"issuer":  {Kind: revoke.Issuer},
	} {
		for _, shift := range []time.Duration{0, time.Hour, -time.Hour} { // of the clock, before it is sent
			p := newTestPublisher()
			rec := openRecord(t, e)
			old, _ := decode(rec.subject, rec.payload)
			for i := range 20 {
				p.ledger.remember(living1h(i), time.Now())
			}
			p.ledger.remember(rec, time.Now())
			if err := p.renew(t.Context(), rec, time.Now().Add(shift)); err != nil {
				t.Fatal(err)
			}
			if err := p.limit(t.Context(), rec, h, time.Now().Add(shift)); err != nil {
				t.Fatalf("%s, %s: %v", name, shift, err)
			}
			msg, fault := decode(rec.subject, rec.payload)
			if fault != 0 {
				t.Fatal(fault)
			}
			got, want := msg.event, old.event
			life := h.SessionLifetime
			if e.Kind == revoke.Token {
				life = h.TokenLifetime
			}
			if left := time.Until(got.Until); left < life-time.Minute || left > life+time.Minute {
				t.Errorf("%s, clock moved by %s: lives for %s more, want %s", name, shift, left, life)
			}
			if off := time.Until(got.At) - shift; off.Abs() > time.Minute {
				t.Errorf("%s, clock moved by %s: published %s off", name, shift, off)
			}
			if !rec.gone.Equal(got.Until.Add(ttlMargin)) || rec.open || !rec.until().Equal(got.Until) {
				t.Errorf("%s: gone %s, open %v", name, rec.gone, rec.open)
			}
			want.At, want.Until = got.At, got.Until
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("%s: got %+v, want %+v", name, got, want)
			}
			l := &p.ledger
			for i, rec := range l.alive {
				if rec.at != i {
					t.Fatalf("record %d thinks it is at %d", i, rec.at)
				}
			}
			var last time.Time
			for len(l.alive) > 0 {
				rec := heap.Pop(&l.alive).(*record)
				if l.bytes -= rec.memory(); rec.gone.Before(last) {
					t.Errorf("%s: not the soonest first", name)
				}
				last = rec.gone
			}
			if l.bytes != 0 {
				t.Errorf("%s: %d bytes left over", name, l.bytes)
			}
			again := bytes.Clone(rec.payload)
			if err := p.limit(t.Context(), rec, revoke.Horizons{TokenLifetime: time.Second, SessionLifetime: time.Second}, time.Now()); err != nil || !bytes.Equal(again, rec.payload) {
				t.Errorf("%s: limited twice: %v", name, err)
			}
		}
	}
}

// What nobody here can sign again stays as it is: it lives too long rather than not.
func TestLimitOfAnothersSignature(t *testing.T) {
	p := newTestPublisher()
	rec := openRecord(t, revoke.Event{Kind: revoke.Subject, Value: "x"})
	rec.signature = "another's"
	before := bytes.Clone(rec.payload)
	if err := p.limit(t.Context(), rec, revoke.DefaultHorizons(), time.Now()); err != nil || !bytes.Equal(before, rec.payload) || !rec.open {
		t.Errorf("%v", err)
	}
}
