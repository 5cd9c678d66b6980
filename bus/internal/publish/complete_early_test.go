package publish

import (
	"bytes"
	"container/heap"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// openRecord is an event as it is prepared before the stream was ever seen or, if former
// is set, as the version before wrote it into an outbox.
func openRecord(t *testing.T, e revoke.Event, former bool) *record {
	t.Helper()
	e.Issuer, e.At = testIssuer, time.UnixMilli(time.Now().UnixMilli())
	if former {
		e.Until = e.At.Add(revoke.MaxLifetime)
		if e.Kind.Cutoff() {
			e.Before = e.At.Add(2 * time.Second)
		}
	}
	payload, err := wire.EncodeEvent(&e)
	if err != nil {
		t.Fatal(err)
	}
	return &record{subject: wire.Subject(e.Issuer, e.Kind), payload: payload, gone: e.At.Add(revoke.MaxLifetime + revoke.StreamMargin), open: true}
}

// Invariants 1, 3 and 9: an event that was prepared before the stream was seen reaches as
// far and lives as long as the stream's retention demands from its own time, whatever the
// clock does meanwhile;
// nothing else of it changes; and what expires soonest is still forgotten first.
func TestLimit(t *testing.T) {
	h := revoke.Retention{TokenLifetime: 7 * time.Minute, SessionLifetime: 3 * 24 * time.Hour, MaxSkew: 3 * time.Second}
	for name, e := range map[string]revoke.Event{
		"token":   {Kind: revoke.KindToken, Value: "x", Reason: "leak", Actor: "me"},
		"session": {Kind: revoke.KindSession, Value: "x"},
		"subject": {Kind: revoke.KindSubject, Value: "x", Keep: []string{"a", "b"}},
		"issuer":  {Kind: revoke.KindIssuer},
	} {
		for i, shift := range []time.Duration{0, time.Hour, -time.Hour, 0, time.Hour, -time.Hour} { // of the clock, before it is sent
			p := newTestPublisher()
			rec := openRecord(t, e, i > 2)
			old, _ := decode(rec.subject, rec.payload)
			for i := range 20 {
				p.ledger.remember(living1h(i), time.Now())
			}
			p.ledger.remember(rec, time.Now())
			if err := p.renew(t.Context(), rec, time.Now().Add(shift)); err != nil {
				t.Fatal(err)
			}
			if err := p.completeEarly(t.Context(), rec, h, time.Now().Add(shift)); err != nil {
				t.Fatalf("%s, %s: %v", name, shift, err)
			}
			msg, fault := decode(rec.subject, rec.payload)
			if fault != 0 {
				t.Fatal(fault)
			}
			got, want := msg.Event, old.Event
			life := h.SessionLifetime
			if e.Kind == revoke.KindToken {
				life = h.TokenLifetime
			}
			if left := time.Until(got.Until); left < life-time.Minute || left > life+time.Minute {
				t.Errorf("%s, clock moved by %s: lives for %s more, want %s", name, shift, left, life)
			}
			if off := time.Until(got.At) - shift; off.Abs() > time.Minute {
				t.Errorf("%s, clock moved by %s: published %s off", name, shift, off)
			}
			if !rec.gone.Equal(got.Until.Add(revoke.StreamMargin)) || rec.open {
				t.Errorf("%s: gone %s, open %v", name, rec.gone, rec.open)
			}
			if slack := h.Slack(); e.Kind.Cutoff() && !got.Before.Equal(old.Event.At.Add(slack)) {
				t.Errorf("%s, clock moved by %s: before lies %s after its time, want %s", name, shift, got.Before.Sub(old.Event.At), slack)
			}
			want.At, want.Until, want.Before = got.At, got.Until, got.Before
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
			if err := p.completeEarly(t.Context(), rec, revoke.Retention{TokenLifetime: time.Second, SessionLifetime: time.Second}, time.Now()); err != nil || !bytes.Equal(again, rec.payload) {
				t.Errorf("%s: limited twice: %v", name, err)
			}
		}
	}
}

// What nobody here can sign again stays as it is: it lives too long rather than not.
func TestLimitOfAnothersSignature(t *testing.T) {
	p := newTestPublisher()
	rec := openRecord(t, revoke.Event{Kind: revoke.KindSubject, Value: "x"}, false)
	rec.signature = "another's"
	before := bytes.Clone(rec.payload)
	if err := p.completeEarly(t.Context(), rec, revoke.DefaultRetention(), time.Now()); err != nil || !bytes.Equal(before, rec.payload) || !rec.open {
		t.Errorf("%v", err)
	}
}

// What the caller gave stays: a cutoff of his own, and a life.
func TestLimitKeepsWhatWasGiven(t *testing.T) {
	p := newTestPublisher()
	now := time.UnixMilli(time.Now().UnixMilli())
	rec := openRecord(t, revoke.Event{Kind: revoke.KindSubject, Value: "x", Before: now.Add(-time.Minute), Until: now.Add(2 * time.Hour)}, false)
	if err := p.completeEarly(t.Context(), rec, revoke.DefaultRetention(), now); err != nil {
		t.Fatal(err)
	}
	msg, _ := decode(rec.subject, rec.payload)
	if e := msg.Event; !e.Before.Equal(now.Add(-time.Minute)) || !e.Until.Equal(now.Add(2*time.Hour)) {
		t.Errorf("%+v", e)
	}
}

// A life that was given before anybody could know how long tokens live is raised to that.
func TestLimitRaisesShortLives(t *testing.T) {
	p := newTestPublisher()
	for _, k := range []revoke.Kind{revoke.KindSession, revoke.KindSubject, revoke.KindToken} {
		now := time.UnixMilli(time.Now().UnixMilli())
		rec := openRecord(t, revoke.Event{Kind: k, Value: "x", Until: now.Add(time.Minute)}, false)
		if err := p.completeEarly(t.Context(), rec, revoke.DefaultRetention(), now); err != nil {
			t.Fatal(err)
		}
		msg, _ := decode(rec.subject, rec.payload)
		want := msg.Event.At.Add(time.Hour)
		if k == revoke.KindToken { // whose life its publisher knows
			want = now.Add(time.Minute)
		}
		if e := msg.Event; !e.Until.Equal(want) || !rec.gone.Equal(want.Add(revoke.StreamMargin)) || rec.open {
			t.Errorf("%+v, gone %s", e, rec.gone)
		}
	}
}

// The receipt says what was published, which limit decided: who logs in next has to pass
// that cutoff.
func TestReceiptSaysWhatWasPublished(t *testing.T) {
	p := newTestPublisher()
	rec := openRecord(t, revoke.Event{Kind: revoke.KindSubject, Value: "x"}, false)
	rec.early = true
	old, _ := decode(rec.subject, rec.payload)
	h := revoke.Retention{TokenLifetime: time.Minute, SessionLifetime: time.Hour, MaxSkew: 5 * time.Second}
	if err := p.completeEarly(t.Context(), rec, h, time.Now()); err != nil {
		t.Fatal(err)
	}
	e := p.published(rec, old.Event)
	if at := old.Event.At; !e.Before.Equal(at.Add(10*time.Second)) || !e.Until.Equal(at.Add(10*time.Second+time.Hour)) {
		t.Errorf("at %s: %+v", at, e)
	}
}
