package rollcall

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/bridge"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A fakeMember is a Member without a connection, of which nothing is heard.
type fakeMember struct {
	place bridge.Place
	sent  []*nats.Msg
}

func (m *fakeMember) Publish(context.Context, revoke.Event) (revoke.Receipt, func() bridge.Place, error) {
	return revoke.Receipt{}, func() bridge.Place { return m.place }, nil
}
func (m *fakeMember) Call(ctx context.Context) (context.Context, func(), error) {
	return ctx, func() {}, nil
}
func (m *fakeMember) Kept(first func() any) any                 { return first() }
func (m *fakeMember) NewInbox() string                          { return "_INBOX.x" }
func (m *fakeMember) Listen(string, int, func(*nats.Msg)) error { return nil }
func (m *fakeMember) Send(msg *nats.Msg)                        { m.sent = append(m.sent, msg) }
func (m *fakeMember) Refusals(string) func() error              { return func() error { return nil } }

// beginWait returns a wait that has begun, of an asker that knows those replicas.
func beginWait(t *testing.T, a *asker, cfg Config) *wait {
	t.Helper()
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	w := newWait(cfg, revoke.Receipt{Sequence: 7, Time: time.Now()}, func() bridge.Place { return a.member.(*fakeMember).place })
	if _, err := a.enter(w); err != nil {
		t.Fatal(err)
	}
	return w
}

func newTestAsker() *asker { return newAsker(&fakeMember{place: bridge.Place{Sequence: 7}}) }

// say has a replica answer the nth question of a wait.
func (a *asker) say(t *testing.T, w *wait, n int, id, outcome string, now time.Time) {
	t.Helper()
	ans := wire.Answer{ID: id, Name: "name-" + id, Outcome: outcome, Staleness: 15 * time.Second, State: revoke.StateFresh}
	if outcome == wire.OutcomeApplied {
		ans.At = now
	}
	data, err := wire.EncodeAnswer(ans)
	if err != nil {
		t.Fatal(err)
	}
	a.take(&nats.Msg{Subject: "_INBOX.x." + w.token + strconv.Itoa(n), Data: data}, now)
}

// Who was known and says nothing is waited for, for ten minutes and no longer.
func TestRosterLife(t *testing.T) {
	a := newTestAsker()
	now := time.Now()
	first := beginWait(t, a, Config{})
	a.say(t, first, 1, "old", wire.OutcomeApplied, now.Add(-rosterLife-time.Second))
	a.say(t, first, 1, "recent", wire.OutcomeApplied, now.Add(-rosterLife+time.Minute))
	a.leave(first)
	w := beginWait(t, a, Config{})
	if p := a.progress(w, now); p.applied != 0 || p.missing != 1 || len(p.names) != 1 || p.names[0] != "name-recent" {
		t.Errorf("%+v", p)
	}
	a.say(t, w, 12, "recent", wire.OutcomeApplied, now)
	if p := a.progress(w, now); p.applied != 1 || p.missing != 0 {
		t.Errorf("%+v", p)
	}
	if r := a.leave(w); len(r.Replicas) != 1 || !r.Replicas[0].Applied {
		t.Errorf("%+v", r)
	}
}

// What was confirmed does not count while the stream has lost the event: those who have
// it may be the only ones that ever will (invariant 9).
func TestConfirmedAndLost(t *testing.T) {
	a := newTestAsker()
	w := beginWait(t, a, Config{Replicas: 1})
	a.say(t, w, 1, "one", wire.OutcomeApplied, time.Now())
	if p := a.progress(w, time.Now()); p.applied != 1 {
		t.Fatalf("the good twin: %+v", p)
	}
	m := a.member.(*fakeMember)
	m.place.Lost = true
	a.ask(w, "_INBOX.x."+w.token, time.Now())
	if p := a.progress(w, time.Now()); p.applied != 0 || w.asked != 0 || len(m.sent) != 0 {
		t.Errorf("%+v, asked %d times for what is not there", p, w.asked)
	}
	m.place = bridge.Place{Sequence: 9, Digest: [32]byte{1}} // published again
	a.ask(w, "_INBOX.x."+w.token, time.Now())
	if p := a.progress(w, time.Now()); p.applied != 1 || w.receipt.Sequence != 9 || len(m.sent) != 1 || !bytes.Equal(m.sent[0].Data, wire.EncodeQuestion(wire.Question{Sequence: 9, Digest: [32]byte{1}, Wait: 4 * time.Second})) {
		t.Errorf("published again: %+v, %+v, %d questions", p, w.receipt, len(m.sent))
	}
}

// However many answer, what is kept is bounded, in the wait and after it; an answer that
// was given is not taken back; and a farewell is from those who are not counted on.
func TestAskerIsBounded(t *testing.T) {
	a := newTestAsker()
	now := time.Now()
	w := beginWait(t, a, Config{})
	a.say(t, w, 1, "first", wire.OutcomeWaiting, now)
	a.say(t, w, 1, "applied", wire.OutcomeApplied, now)
	a.say(t, w, 1, "leaving", wire.OutcomeWaiting, now)
	for i := range maxReplicas + 10 {
		a.say(t, w, 1, fmt.Sprint("r", i), wire.OutcomeWaiting, now)
	}
	for i := range 3 { // one that answers again is not one more
		a.say(t, w, 2+i, fmt.Sprint("r", maxReplicas+9), wire.OutcomeWaiting, now)
	}
	if len(w.heard) != maxReplicas || len(a.roster) != maxReplicas || len(w.ignored) != 13 {
		t.Errorf("%d heard, %d in the roster, %d ignored", len(w.heard), len(a.roster), len(w.ignored))
	}
	a.say(t, w, 2, "first", wire.OutcomeApplied, now)
	a.say(t, w, 2, "applied", wire.OutcomeOther, now)
	if p := a.progress(w, now); p.applied != 2 || p.missing != maxReplicas-2 || len(p.names) > 5 {
		t.Errorf("%d applied, %d missing, names %q", p.applied, p.missing, p.names)
	}
	a.say(t, w, 3, "applied", wire.OutcomeGone, now)
	a.say(t, w, 3, "leaving", wire.OutcomeGone, now)
	if p := a.progress(w, now); p.applied != 2 || p.missing != maxReplicas-3 {
		t.Errorf("%d applied, %d missing", p.applied, p.missing)
	}
	if _, is := a.roster["leaving"]; is {
		t.Error("who has left is waited for the next time")
	}
	a.leave(w)
	if len(a.waits) != 0 {
		t.Error("the wait is over and remembered")
	}
	a.say(t, w, 4, "late", wire.OutcomeApplied, now) // to nobody
	for _, token := range []string{"", "x", w.token, w.token + "1", "1" + w.token} {
		a.take(&nats.Msg{Subject: "_INBOX.x." + token}, now)
	}
}

// EffectiveBy counts with the largest staleness that anybody announced or the caller
// knows of, from the newest acknowledgement.
func TestEffectiveBy(t *testing.T) {
	a := newTestAsker()
	w := beginWait(t, a, Config{MaxStaleness: time.Second})
	if got := a.leave(w).EffectiveBy.Sub(w.receipt.Time); got != time.Second {
		t.Errorf("nobody there: %s", got)
	}
	w = beginWait(t, a, Config{MaxStaleness: time.Second})
	a.say(t, w, 1, "one", wire.OutcomeWaiting, time.Now())
	if got := a.leave(w).EffectiveBy.Sub(w.receipt.Time); got != 15*time.Second {
		t.Errorf("one of 15 s: %s", got)
	}
}

// Each way not to have applied the event has its words; who has applied it has no problem.
func TestWhyNotApplied(t *testing.T) {
	a := newTestAsker()
	now := time.Now()
	known := beginWait(t, a, Config{})
	a.say(t, known, 1, "silent", wire.OutcomeWaiting, now)
	a.leave(known)
	w := beginWait(t, a, Config{})
	want := map[string]string{"silent": "no answer"}
	for outcome, problem := range map[string]string{
		wire.OutcomeApplied: "",
		wire.OutcomeWaiting: "not applied yet",
		wire.OutcomeIgnored: "seen, but not understood or not trusted",
		wire.OutcomeOther:   "its log holds another message there",
		wire.OutcomePast:    "its log has passed the message without remembering it",
	} {
		a.say(t, w, 1, outcome, outcome, now)
		want[outcome] = problem
	}
	got := map[string]string{}
	for _, r := range a.leave(w).Replicas {
		got[r.ID] = r.Problem
		if r.Applied != (r.ID == wire.OutcomeApplied) || r.Applied == r.AppliedAt.IsZero() {
			t.Errorf("%s: %+v", r.ID, r)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
