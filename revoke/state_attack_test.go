package revoke_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// The very first event after a writing is written the next time.
func TestStateFileOneEventLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	l, _ := stateful(t, path)
	freshen(t, l)
	id := revoke.Identity{Issuer: iss, Session: "later"}
	for i := range 2 {
		if err := l.SaveState(revoke.Now()); err != nil {
			t.Fatal(err)
		}
		again, _ := stateful(t, path)
		if err := again.Check(revoke.Now(), &id, revoke.InsecureAllow()); errors.Is(err, revoke.ErrRevoked) != (i == 1) {
			t.Errorf("written %d times: %v", i+1, err)
		}
		if err := l.Apply(revoke.Now(), revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: "later"}); err != nil {
			t.Fatal(err)
		}
	}
}

// Invariant 3: a stream's retention goes with what it said, through any number of restarts
// without a bus: a file that is written again shortens no life.
func TestStateFileKeepsTheRetention(t *testing.T) {
	const year = 365 * 24 * time.Hour
	path := filepath.Join(t.TempDir(), "state")
	l, _ := stateful(t, path)
	f, err := replica.NewFeed(l)
	if err != nil {
		t.Fatal(err)
	}
	now := revoke.Now()
	retention := revoke.Retention{TokenLifetime: time.Hour, SessionLifetime: year}
	sub := f.Begin(now, replica.LogInfo{Retention: retention})
	record := func(n uint64, at revoke.Instant) replica.Record {
		return replica.Record{Generation: sub.Generation, Delivery: n, Sequence: n, Time: at.Time(), Data: []byte{byte(n)}}
	}
	if err := f.Event(now, record(1, now), revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: "long", Until: now.Time().Add(300 * 24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	f.Sent(now, [16]byte{1})
	if err := f.Heartbeat(now, record(2, now), replica.Heartbeat{Nonce: [16]byte{1}, Time: now.Time()}); err != nil {
		t.Fatal(err)
	}
	if err := l.SaveState(now); err != nil {
		t.Fatal(err)
	}
	f.Close(now)
	for range 2 { // restarts
		if l, _ = stateful(t, path); !l.StateFile().Restored {
			t.Fatal(l.StateFile())
		}
		if err := l.Apply(revoke.Now(), revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: "since"}); err != nil {
			t.Fatal(err)
		}
		if err := l.SaveState(revoke.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if f, err = replica.NewFeed(l); err != nil {
		t.Fatal(err)
	}
	id := revoke.Identity{Issuer: iss, Session: "long"}
	for i, want := range []bool{true, false} {
		days := 200 + 101*i
		later := now.Add(time.Duration(days) * 24 * time.Hour)
		sub = f.Begin(later, replica.LogInfo{Retention: retention})
		if err := f.Event(later, record(1, later), revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: "x", Until: later.Time().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		if err := l.Check(later, &id, revoke.InsecureAllow()); errors.Is(err, revoke.ErrRevoked) != want {
			t.Errorf("after %d days: %v", days, err)
		}
	}
}
