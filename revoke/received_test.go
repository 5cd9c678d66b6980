package revoke_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What Validate refuses and cannot void a revocation is left out, by its name on the
// wire; what is left is valid.
func TestDropUnusable(t *testing.T) {
	good := revoke.Event{ID: "1", Issuer: iss, Kind: revoke.KindSubject, Value: "u", Before: time.Now(), Keep: []string{"s"}, Until: time.Now(), At: time.Now(), Reason: "logout", Actor: "admin"}
	e := good
	if members, err := e.DropUnusable(); err != nil || members != nil || !reflect.DeepEqual(e, good) {
		t.Fatalf("the good one: %v, %v, left %+v", members, err, e)
	}
	long, seconds := strings.Repeat("x", revoke.MaxValueBytes+1), time.UnixMilli(1_800_000_000)
	for name, spoil := range map[string][]func(*revoke.Event){
		"id":     {func(e *revoke.Event) { e.ID = long }},
		"reason": {func(e *revoke.Event) { e.Reason = long }, func(e *revoke.Event) { e.Reason = "\xff" }},
		"actor":  {func(e *revoke.Event) { e.Actor = long }},
		"before": {func(e *revoke.Event) { e.Before = seconds }, func(e *revoke.Event) { e.Before = time.UnixMilli(1 << 53) }},
		"until":  {func(e *revoke.Event) { e.Until = seconds }},
		"at":     {func(e *revoke.Event) { e.At = seconds }, func(e *revoke.Event) { e.At = time.UnixMilli(-1) }},
		"keep": {func(e *revoke.Event) { e.Keep = make([]string, 65) }, func(e *revoke.Event) { e.Keep = []string{"s", ""} },
			func(e *revoke.Event) { e.Keep = []string{"s", long} }, func(e *revoke.Event) { e.Kind = revoke.KindClient }},
	} {
		for i, spoil := range spoil {
			e := good
			spoil(&e)
			if e.Validate() == nil {
				t.Errorf("%s, %d: Validate takes it", name, i)
			}
			members, err := e.DropUnusable()
			if err != nil || !reflect.DeepEqual(members, []string{name}) || e.Validate() != nil {
				t.Errorf("%s, %d: left out %v, %v; then %v", name, i, members, err, e.Validate())
			}
		}
	}
	for name, spoil := range map[string]func(*revoke.Event){
		"no kind": func(e *revoke.Event) { e.Kind = 0 }, "unknown kind": func(e *revoke.Event) { e.Kind = 8 }, "no issuer": func(e *revoke.Event) { e.Issuer = "" },
		"no value": func(e *revoke.Event) { e.Value = "" }, "value too long": func(e *revoke.Event) { e.Value = long }, "value not UTF-8": func(e *revoke.Event) { e.Value = "\xff" },
		"issuer with a value": func(e *revoke.Event) { e.Kind = revoke.KindIssuer }, "key without a thumbprint": func(e *revoke.Event) { e.Kind = revoke.KindKey },
	} {
		e := good
		spoil(&e)
		if members, err := e.DropUnusable(); !errors.Is(err, revoke.ErrInvalidEvent) || members != nil {
			t.Errorf("%s: %v, %v", name, members, err)
		}
	}
}

// A transport that hands over what it found, unchecked, loses no revocation by it.
func TestFeedTakesTheReadingThatRevokesMost(t *testing.T) {
	now := revoke.Now()
	l, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := replica.NewFeed(l)
	if err != nil {
		t.Fatal(err)
	}
	sub := f.Begin(now, replica.LogInfo{Retention: revoke.DefaultRetention()})
	e := revoke.Event{Issuer: iss, Kind: revoke.KindSubject, Value: "u", Keep: []string{"s", ""}, Before: time.UnixMilli(1), Reason: strings.Repeat("x", 1000)}
	if err := f.Event(now, replica.Record{Generation: sub.Generation, Delivery: 1, Sequence: 1, Time: now.Time()}, e, "at", "nonsense"); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(now, &revoke.Identity{Issuer: iss, Subject: "u", Session: "s", IssuedAt: now.Time()}, revoke.InsecureAllow()); !errors.Is(err, revoke.ErrRevoked) {
		t.Errorf("not revoked: %v", err)
	}
	want := map[string]uint64{"keep": 1, "before": 1, "reason": 1, "at": 1}
	if s := l.Stats(now); !reflect.DeepEqual(s.Unusable, want) || len(s.Faults) > 0 {
		t.Errorf("counted %v, want %v; faults %v", s.Unusable, want, s.Faults)
	}
}
