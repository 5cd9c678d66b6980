package revoke_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// An oracle keeps every event in a slice and answers by looking at all of them.
type oracle struct {
	events []revoke.Event
}

const grace = 12 * time.Minute

func names(e *revoke.Event, id *revoke.Identity) bool {
	if e.Issuer != id.Issuer {
		return false
	}
	switch e.Kind {
	case revoke.KindToken:
		return e.Value == id.Token
	case revoke.KindSession:
		return e.Value == id.Session
	case revoke.KindSubject:
		return e.Value == id.Subject
	case revoke.KindClient:
		return e.Value == id.Client
	case revoke.KindTenant:
		return e.Value == id.Tenant
	case revoke.KindKey:
		return e.Value == id.Key
	}
	return e.Kind == revoke.KindIssuer
}

func covers(e *revoke.Event, id *revoke.Identity) bool {
	if !e.Kind.Cutoff() {
		return true
	}
	return id.IssuedAt.UnixMilli() <= e.Before.UnixMilli() && !(id.Session != "" && slices.Contains(e.Keep, id.Session))
}

// judge says whether a token must be refused, because a live event revokes it, and
// whether it may be: an event that has expired goes on while another of its key
// lives, since a merged entry lives until the largest Until.
func (o *oracle) judge(now time.Time, id *revoke.Identity) (must, may bool) {
	alive := func(until time.Time) bool { return !now.Add(-grace).Truncate(time.Second).After(until) }
	for i := range o.events {
		e := &o.events[i]
		if !names(e, id) || !covers(e, id) {
			continue
		}
		if alive(e.Until) {
			return true, true
		}
		for j := range o.events {
			if f := &o.events[j]; f.Kind == e.Kind && f.Value == e.Value && f.Issuer == e.Issuer && alive(f.Until.Add(time.Second)) {
				may = true
			}
		}
	}
	return false, may
}

// A universe draws events and tokens whose values collide often.
type universe struct {
	rng    *rand.Rand
	value  func(i int) string
	values int
	start  time.Time
}

// valueShapes are what identifiers look like in the world.
var valueShapes = map[string]func(int) string{
	"sequential": func(i int) string { return fmt.Sprintf("%016x", i) },
	"numbers":    func(i int) string { return fmt.Sprint(i + 1) },
	"uuid":       func(i int) string { return fmt.Sprintf("6fa459ea-ee8a-3ca4-894e-db77%08x", uint32(i)) },
	"email":      func(i int) string { return fmt.Sprintf("user.%d@example.com", i) },
	"random": func(i int) string {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		return fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())
	},
	"prefixes": func(i int) string { return string(slices.Repeat([]byte{'a'}, i+1)) },
}

func (u *universe) pick() string { return u.value(u.rng.IntN(u.values)) }

func (u *universe) issuer() string { return []string{iss, "https://other.example.com"}[u.rng.IntN(2)] }

func (u *universe) thumbprint() string {
	return fmt.Sprintf("%042dA", u.rng.IntN(u.values))
}

func (u *universe) moment(spread time.Duration) time.Time {
	return u.start.Add(time.Duration(u.rng.Int64N(int64(spread/time.Millisecond))) * time.Millisecond)
}

func (u *universe) event() revoke.Event {
	e := revoke.Event{Issuer: u.issuer(), Kind: revoke.Kind(1 + u.rng.IntN(7)), Value: u.pick()}
	switch e.Kind {
	case revoke.KindKey:
		e.Value = u.thumbprint()
	case revoke.KindIssuer:
		e.Value = ""
		if u.rng.IntN(4) > 0 { // or nothing else would ever be seen
			e.Kind, e.Value = revoke.KindSubject, u.pick()
		}
	}
	if e.Kind.Cutoff() {
		e.Before = u.moment(10 * time.Second)
	}
	if e.Kind == revoke.KindSubject {
		for range u.rng.IntN(4) {
			e.Keep = append(e.Keep, u.pick())
		}
	}
	e.Until = u.start.Add(time.Duration(u.rng.IntN(100)+20) * time.Minute)
	if least := u.start.Add(61 * time.Minute); e.Kind != revoke.KindToken && e.Kind != revoke.KindKey && e.Until.Before(least) {
		e.Until = least // tokens live for an hour, and an Until that they outlive is refused
	}
	return e
}

func (u *universe) token() revoke.Identity {
	id := revoke.Identity{Issuer: u.issuer(), IssuedAt: u.moment(12 * time.Second)}
	for _, f := range []*string{&id.Token, &id.Session, &id.Subject, &id.Client, &id.Tenant} {
		if u.rng.IntN(4) > 0 {
			*f = u.pick()
		}
	}
	if u.rng.IntN(4) > 0 {
		id.Key = u.thumbprint()
	}
	return id
}

// TestListAgreesWithOracle holds invariants 2, 3, 4 and 5 on random histories: the
// List, fed in any order, with duplicates, compacting whenever, refuses what a slice of
// all events refuses, and nothing else.
func TestListAgreesWithOracle(t *testing.T) {
	histories, checks := 0, 0
	rounds := 400
	if testing.Short() {
		rounds = 40
	}
	for shape, value := range valueShapes {
		for round := range rounds {
			seed := uint64(round)
			u := &universe{rng: rand.New(rand.NewPCG(seed, 1)), value: value, values: 4 + round%13, start: time.UnixMilli(1_800_000_000_000)}
			apply := revoke.At(u.start.Add(10 * time.Second))
			l := localList(t)
			var o oracle
			var events []revoke.Event
			for range 1 + u.rng.IntN(30) {
				events = append(events, u.event())
			}
			sent := append(slices.Clone(events), events[:u.rng.IntN(len(events)+1)]...)
			u.rng.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
			for i := range sent {
				if err := l.Apply(apply, sent[i]); err != nil {
					t.Fatalf("%s/%d: %v", shape, seed, err)
				}
				if u.rng.IntN(8) == 0 {
					l.Compact(apply)
				}
			}
			o.events = events
			// Time only moves forward: what was forgotten stays forgotten.
			for _, later := range []time.Duration{0, 25 * time.Minute, 70 * time.Minute, 131 * time.Minute, 133 * time.Minute} {
				now := revoke.At(u.start.Add(10*time.Second + later))
				if u.rng.IntN(2) == 0 {
					l.Compact(now)
				}
				for range 100 {
					id := u.token()
					must, may := o.judge(now.Time(), &id)
					got := errors.Is(l.Check(now, &id, revoke.Deny()), revoke.ErrRevoked)
					if must && !got {
						t.Fatalf("%s/%d at +%s: a miss: %+v\n%+v", shape, seed, later, id, events)
					}
					if !may && got {
						t.Fatalf("%s/%d at +%s: a false refusal: %+v\n%+v", shape, seed, later, id, events)
					}
					checks++
				}
			}
			histories++
		}
	}
	t.Logf("%d histories, %d checks", histories, checks)
}

// TestManyEntries holds the same at a size where the memtable overflows, bases
// are compacted while events arrive, and the filter decides most checks.
func TestManyEntries(t *testing.T) {
	n := 150_000
	if testing.Short() {
		n = 20_000
	}
	now := revoke.Now()
	for shape, value := range valueShapes {
		if shape == "prefixes" {
			continue // quadratic
		}
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			l := localList(t)
			for i := range n {
				k := []revoke.Kind{revoke.KindToken, revoke.KindSession, revoke.KindSubject}[i%3]
				e := revoke.Event{Issuer: iss, Kind: k, Value: value(2 * i)}
				if k == revoke.KindSubject {
					e.Before = now.Time()
				}
				if err := l.Apply(now, e); err != nil {
					t.Fatal(err)
				}
				if i%997 == 0 { // the newest is seen at once, wherever compaction stands
					id := revoke.Identity{Issuer: iss, IssuedAt: now.Time()}
					*[]*string{&id.Token, &id.Session, &id.Subject}[i%3] = value(2 * i)
					if l.Check(now, &id, revoke.Deny()) == nil {
						t.Fatalf("event %d is not seen", i)
					}
				}
			}
			l.WaitCompaction()
			for i := range n {
				k := i % 3
				id := revoke.Identity{Issuer: iss, IssuedAt: now.Time()}
				*[]*string{&id.Token, &id.Session, &id.Subject}[k] = value(2 * i)
				if l.Check(now, &id, revoke.Deny()) == nil {
					t.Fatalf("a miss: %d", i)
				}
				// The same values in other roles, and values never revoked.
				id = revoke.Identity{Issuer: iss, IssuedAt: now.Time()}
				*[]*string{&id.Session, &id.Subject, &id.Token}[k] = value(2 * i)
				id.Client = value(2*i + 1)
				id.Tenant = value(2 * i)
				if err := l.Check(now, &id, revoke.Deny()); err != nil {
					t.Fatalf("a false refusal: %d: %v", i, err)
				}
			}
			if s := l.Stats(now); s.Entries[revoke.KindToken]+s.Entries[revoke.KindSession]+s.Entries[revoke.KindSubject] != n || s.Compactions == 0 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// TestExceptionsThatSpareNothingAreDropped: three hundred password changes, each
// keeping another session, leave the last one's session in.
func TestExceptionsThatSpareNothingAreDropped(t *testing.T) {
	l := localList(t)
	now := revoke.At(time.UnixMilli(1_800_000_000_000))
	for i := range 300 {
		before := now.Time().Add(time.Duration(i) * time.Second)
		at := now.Add(time.Duration(i) * time.Second)
		if err := l.Apply(at, revoke.Event{Issuer: iss, Kind: revoke.KindSubject, Value: "u", Before: before, Keep: []string{fmt.Sprint(i)}}); err != nil {
			t.Fatal(err)
		}
		kept := revoke.Identity{Issuer: iss, Subject: "u", Session: fmt.Sprint(i), IssuedAt: before.Add(-time.Millisecond)}
		if err := l.Check(at, &kept, revoke.Deny()); err != nil {
			t.Fatalf("change %d: the session it keeps: %v", i, err)
		}
		if i > 0 {
			kept.Session = fmt.Sprint(i - 1)
			kept.IssuedAt = before.Add(-1500 * time.Millisecond)
			if l.Check(at, &kept, revoke.Deny()) == nil {
				t.Fatalf("change %d spares the session of the one before", i)
			}
		}
	}
}
