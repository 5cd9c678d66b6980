package revoketest_test

import (
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/revoke/revoketest"
)

// No two messages of the log are the same to the letter: one published again in the
// place, and at the time, of one that a rollback lost is another, as a publisher's is
// by its random id. Otherwise an anchor would match that must not, and the event before
// it be missed. One history in fifty thousand used to find that.
func TestPublishedAgainIsAnother(t *testing.T) {
	b := revoketest.NewBus(revoketest.Config{Seed: 1})
	m, err := b.Join(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	b.Advance(time.Second)
	publish := func(value string) string {
		t.Helper()
		e, err := b.Publish(revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: value})
		if err != nil {
			t.Fatal(err)
		}
		return e.ID
	}
	publish("lost")
	first := publish("same")
	b.Settle()
	b.Rollback(2)
	publish("unseen")
	if again := publish("same"); again == first || again == "" {
		t.Errorf("ids %q and %q", first, again)
	}
	b.Advance(3 * time.Second)
	for _, s := range []string{"unseen", "same", "lost"} {
		if err := m.Check(revoke.Identity{Issuer: iss, Session: s, IssuedAt: b.Now()}, revoke.Deny()); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
	if err := b.Violations(); err != nil {
		t.Error(err)
	}
	named, err := b.Publish(revoke.Event{ID: "mine", Issuer: iss, Kind: revoke.KindSession, Value: "x"})
	if err != nil || named.ID != "mine" {
		t.Errorf("%+v, %v", named, err)
	}
}
