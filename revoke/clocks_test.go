package revoke_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// known counts those of n tokens that are refused as revoked.
func known(l *revoke.List, now revoke.Instant, n int) (refused int) {
	for i := range n {
		id := revoke.Identity{Issuer: iss, Token: strconv.Itoa(i)}
		if errors.Is(l.Check(now, &id, revoke.InsecureAllow()), revoke.ErrRevoked) {
			refused++
		}
	}
	return refused
}

// TestOneWrongReadingForgetsNothing: a List that no bus feeds goes by the slower of its
// clocks, wall and monotonic (invariant 3). One reading of one of them that is far ahead
// costs no revocation, whichever method is given it and whatever compactions and restarts follow.
func TestOneWrongReadingForgetsNothing(t *testing.T) {
	const n = 5000
	const life = time.Hour
	looks := map[string]func(l *revoke.List, at revoke.Instant){
		"Check": func(l *revoke.List, at revoke.Instant) {
			l.Check(at, &revoke.Identity{Issuer: iss, Token: "other"}, revoke.Deny())
		},
		"Prepared": func(l *revoke.List, at revoke.Instant) {
			l.Prepare(&revoke.Identity{Issuer: iss, Token: "other"}).Check(at, revoke.Deny())
		},
		"Status": func(l *revoke.List, at revoke.Instant) { l.Status(at) },
		"Stats":  func(l *revoke.List, at revoke.Instant) { l.Stats(at) },
		"Apply": func(l *revoke.List, at revoke.Instant) {
			l.Apply(at, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "other"})
		},
		"SaveState": func(l *revoke.List, at revoke.Instant) { l.SaveState(at) },
		"Compact":   func(l *revoke.List, at revoke.Instant) { l.Compact(at) },
	}
	wrong := map[string]func(now revoke.Instant) revoke.Instant{
		"wall three hours ahead":  func(now revoke.Instant) revoke.Instant { now.Wall += int64(3 * time.Hour); return now },
		"wall ten years ahead":    func(now revoke.Instant) revoke.Instant { now.Wall += int64(10 * 365 * 24 * time.Hour); return now },
		"monotonic clock ahead":   func(now revoke.Instant) revoke.Instant { now.Mono += int64(3 * time.Hour); return now },
		"wall three hours behind": func(now revoke.Instant) revoke.Instant { now.Wall -= int64(3 * time.Hour); return now },
		"wall ahead, monotonic far back": func(now revoke.Instant) revoke.Instant {
			return revoke.Instant{Wall: now.Wall + int64(3*time.Hour), Mono: now.Mono - int64(time.Hour)}
		},
	}
	for _, local := range []bool{true, false} {
		for first := range 2 { // whether the first reading of all is the wrong one
			for clock, ahead := range wrong {
				for door, look := range looks {
					t.Run(fmt.Sprintf("local %v/%s/%s/first %d", local, clock, door, first), func(t *testing.T) {
						path := filepath.Join(t.TempDir(), "state")
						l, err := revoke.NewList(revoke.Config{Local: local, StateFile: path})
						if err != nil {
							t.Fatal(err)
						}
						now := revoke.Now()
						if first == 1 {
							look(l, ahead(now))
						}
						for i := range n {
							if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: strconv.Itoa(i), Until: now.Time().Add(life)}); err != nil {
								t.Fatal(err)
							}
						}
						look(l, ahead(now.Add(time.Second)))
						l.WaitCompaction()
						l.Compact(now.Add(2 * time.Second))
						if got := known(l, now.Add(3*time.Second), n); got != n {
							t.Fatalf("%d of %d revocations are left", got, n)
						}
						if !local { // keeps no state before it was fresh
							return
						}
						// A restart at which the clock is wrong loses nothing either.
						if err := l.SaveState(now.Add(4 * time.Second)); err != nil {
							t.Fatal(err)
						}
						again, err := revoke.NewList(revoke.Config{Local: true, StateFile: path})
						if err != nil {
							t.Fatal(err)
						}
						look(again, ahead(now.Add(5*time.Second)))
						again.WaitCompaction()
						again.Compact(now.Add(6 * time.Second))
						if got := known(again, now.Add(7*time.Second), n); got != n {
							t.Errorf("%d of %d revocations are left after a restart", got, n)
						}
					})
				}
			}
		}
	}
}

// TestBothClocksForget is the good twin: what both clocks say is over is over, and its
// memory comes back.
func TestBothClocksForget(t *testing.T) {
	const n = 5000
	l := localList(t)
	now := revoke.Now()
	for i := range n {
		if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: strconv.Itoa(i), Until: now.Time().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	l.Compact(now)
	if got := known(l, now.Add(time.Hour+13*time.Minute), n); got != 0 {
		t.Errorf("%d live on", got)
	}
	l.WaitCompaction()
	if s := l.Stats(now.Add(time.Hour + 13*time.Minute)); s.Entries[revoke.KindToken] != 0 {
		t.Errorf("%d entries are held", s.Entries[revoke.KindToken])
	}
}

// TestMemoryComesBack: after a burst has expired, its memory comes back without one event
// more, by any call that tells the List the time.
func TestMemoryComesBack(t *testing.T) {
	const n = 20_000
	doors := map[string]func(l *revoke.List) func(now revoke.Instant){
		"Prepared.Check alone": func(l *revoke.List) func(revoke.Instant) {
			p := l.Prepare(&revoke.Identity{Issuer: iss, Token: "good"})
			return func(now revoke.Instant) { p.Check(now, revoke.Deny()) }
		},
		"Check": func(l *revoke.List) func(revoke.Instant) {
			return func(now revoke.Instant) { l.Check(now, &revoke.Identity{Issuer: iss, Token: "good"}, revoke.Deny()) }
		},
		"Status": func(l *revoke.List) func(revoke.Instant) { return func(now revoke.Instant) { l.Status(now) } },
		"Stats":  func(l *revoke.List) func(revoke.Instant) { return func(now revoke.Instant) { l.Stats(now) } },
		"SaveState": func(l *revoke.List) func(revoke.Instant) {
			return func(now revoke.Instant) { l.SaveState(now) }
		},
	}
	for door, open := range doors {
		for _, compacted := range []bool{true, false} { // or most of it in what takes new events
			t.Run(fmt.Sprintf("%s/compacted %v", door, compacted), func(t *testing.T) {
				l := localList(t)
				now := revoke.Now()
				look := open(l)
				fresh := l.Stats(now).Bytes
				for i := range n {
					if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: strconv.Itoa(i), Until: now.Time().Add(10 * time.Minute)}); err != nil {
						t.Fatal(err)
					}
				}
				l.WaitCompaction()
				if compacted {
					l.Compact(now)
				}
				look(now)
				later := now.Add(30 * time.Minute)
				for range 3 {
					look(later)
					l.WaitCompaction()
					later = later.Add(61 * time.Second)
				}
				if left, bytes := l.Held(), l.HeldBytes(); left != 0 || bytes > 2*fresh {
					t.Errorf("%d entries in %d bytes are held, of an empty List %d", left, bytes, fresh)
				}
			})
		}
	}
	t.Run("heartbeats alone", func(t *testing.T) {
		r, log := tape.Ready(t)
		for i := range n {
			log.Append(r.Now.Time(), tape.Message{Event: &revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: strconv.Itoa(i), Until: r.Now.Time().Add(10 * time.Minute)}})
		}
		r.Must(r.Read(log))
		for range 3 {
			r.Pass(30 * time.Minute)
			r.Beat(log)
			r.Must(r.Read(log))
			r.List.WaitCompaction()
		}
		if left, bytes := r.List.Held(), r.List.HeldBytes(); left != 0 || bytes > 200_000 {
			t.Errorf("%d entries in %d bytes are held", left, bytes)
		}
	})
}

// TestExpiredSummandsStillCount: what a compaction forgets is what is over. An event whose life
// is over and whose key has another that lives goes on adding its cutoff.
func TestExpiredSummandsStillCount(t *testing.T) {
	l := localList(t)
	now := revoke.Now()
	apply := func(e revoke.Event) {
		e.Issuer = iss
		if err := l.Apply(now, e); err != nil {
			t.Fatal(err)
		}
	}
	apply(revoke.Event{Kind: revoke.KindSubject, Value: "u", Before: now.Time().Add(-time.Minute), Until: now.Time().Add(2 * time.Hour)})
	apply(revoke.Event{Kind: revoke.KindSubject, Value: "u", Before: now.Time(), Until: now.Time().Add(time.Hour)})
	apply(revoke.Event{Kind: revoke.KindToken, Value: "t", Until: now.Time().Add(time.Hour)})
	later := now.Add(time.Hour + 30*time.Minute)
	id := revoke.Identity{Issuer: iss, Subject: "u", IssuedAt: now.Time().Add(-time.Second)}
	for range 2 {
		if err := l.Check(later, &id, revoke.Deny()); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("the larger cutoff of two is gone: %v", err)
		}
		l.Compact(later)
	}
	if n := l.Held(); n != 1 {
		t.Errorf("%d entries are held, want the subject's", n)
	}
}

// TestForgettingTakesBothClocks holds invariant 3: an entry is kept until its Until
// and twelve minutes by the local clock and by the stream's both.
func TestForgettingTakesBothClocks(t *testing.T) {
	for _, c := range []struct {
		name          string
		local, stream time.Duration // how far each has moved past Until
		kept          bool
	}{
		{"neither", -time.Minute, -time.Minute, true},
		{"within the grace", 11 * time.Minute, 11 * time.Minute, true},
		{"the local clock alone", 24 * time.Hour, 11 * time.Minute, true},
		{"the stream's alone", 11 * time.Minute, 24 * time.Hour, true},
		{"both", 13 * time.Minute, 13 * time.Minute, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, l := tape.Ready(t)
			start := r.Now
			l.Append(start.Time(), tape.Message{Event: &revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "x", Until: start.Time().Add(time.Hour)}})
			r.Must(r.Read(l))
			r.Now.Wall += int64(time.Hour + c.local)
			r.Now.Mono += int64(time.Hour + c.stream)
			if !c.kept { // the stream's time is that of its newest timestamp, not of its last
				l.Append(start.Time(), tape.Message{Fault: revoke.FaultMalformed})
				r.Must(r.Read(l))
			}
			for range 2 {
				if r.Refuses("x") != c.kept {
					t.Fatalf("refused: %v, want %v", !c.kept, c.kept)
				}
				r.List.Compact(r.Now) // and compaction forgets no more than a check does
			}
		})
	}
	// A List never fed by a bus uses its clock alone; one whose stream has not spoken
	// yet forgets nothing.
	for _, fed := range []bool{false, true} {
		l, err := revoke.NewList(revoke.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if fed {
			if _, err := replica.NewFeed(l); err != nil {
				t.Fatal(err)
			}
		}
		now := revoke.Now()
		if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "x", Until: now.Time().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		id := revoke.Identity{Issuer: iss, Token: "x"}
		if err := l.Check(now.Add(24*time.Hour), &id, revoke.InsecureAllow()); errors.Is(err, revoke.ErrRevoked) != fed {
			t.Errorf("fed %v, a day later: %v", fed, err)
		}
	}
}
