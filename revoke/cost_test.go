package revoke_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// filled returns a List with n live entries over all seven kinds.
func filled(t testing.TB, cfg revoke.Config, n int, value func(int) string) (*revoke.List, revoke.Instant) {
	t.Helper()
	cfg.Local = true
	l, err := revoke.NewList(cfg)
	if err != nil {
		t.Fatal(err)
	}
	now := revoke.Now()
	for i := range n {
		e := revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: value(i)}
		switch {
		case i%100 == 0:
			e.Kind, e.Before = revoke.KindSubject, now.Time()
		case i%10 == 0:
			e.Kind = revoke.KindSession
		}
		if err := l.Apply(now, e); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		for _, e := range []revoke.Event{
			{Kind: revoke.KindClient, Value: value(n + i), Before: now.Time()}, {Kind: revoke.KindTenant, Value: value(n + i), Before: now.Time()},
			{Kind: revoke.KindKey, Value: fmt.Sprintf("%042dA", i)}, {Kind: revoke.KindIssuer, Before: now.Time().Add(-24 * time.Hour)},
		} {
			e.Issuer = iss
			if err := l.Apply(now, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.Compact(now)
	return l, now
}

func TestCheckDoesNotAllocate(t *testing.T) {
	l, now := filled(t, revoke.Config{}, 20_000, valueShapes["uuid"])
	uuid := valueShapes["uuid"]
	good := revoke.Identity{Issuer: iss, Token: uuid(1e6), Session: uuid(2e6), Subject: uuid(3e6), Client: uuid(4e6), Tenant: uuid(5e6), Key: thumbprint, IssuedAt: now.Time()}
	bad := good
	bad.Token = uuid(7)
	for name, id := range map[string]*revoke.Identity{"good": &good, "revoked": &bad} {
		if n := testing.AllocsPerRun(1000, func() { l.Check(now, id, revoke.Deny()) }); n != 0 {
			t.Errorf("a check of a %s token allocates %v times", name, n)
		}
	}
	if l.Check(now, &good, revoke.Deny()) != nil || l.Check(now, &bad, revoke.Deny()) == nil {
		t.Error("wrong answers")
	}
}

// TestFalsePositiveRate holds the filter to 1.2 times its promise, and the rate it
// reports to what is counted, for keys of every shape.
func TestFalsePositiveRate(t *testing.T) {
	for shape, value := range valueShapes {
		if shape == "prefixes" {
			continue
		}
		for _, c := range []struct {
			n    int
			rate float64
		}{{2000, 0.01}, {50_000, 1e-2}, {50_000, 1e-3}} {
			l, now := filled(t, revoke.Config{FalsePositiveRate: c.rate}, c.n, value)
			const asked = 400_000
			hits := l.FalsePositives(asked, func(i int) string { return value(i + 10*c.n) })
			measured := float64(hits) / asked
			reported := l.Stats(now).FalsePositiveRate
			if measured > 1.2*c.rate || reported > 1.2*c.rate || measured > 1.25*reported || measured < reported/1.25 {
				t.Errorf("%s, %d entries: measured %.2e, reported %.2e, promised %.0e", shape, c.n, measured, reported, c.rate)
			}
		}
	}
}

// TestMemoryPerRevocation holds a List to 27 bytes a live revocation, filter, tables and memtable
// together, from 20,000 on, at every size and after nine tenths have expired: by its own account, and by the heap.
func TestMemoryPerRevocation(t *testing.T) {
	if c, r := revoke.Sizes(); c != r {
		t.Errorf("Stats counts %v bytes, they are %v", c, r)
	}
	heap := revoke.SettledHeap
	sizes := []int{60_000, 100_000, 130_000, 210_000, 600_000}
	if testing.Short() {
		sizes = sizes[:4]
	}
	for _, n := range sizes {
		before := heap()
		l := localList(t)
		now := revoke.Now()
		for i := range n {
			e := revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: strconv.Itoa(i), Until: now.Time().Add(30 * time.Minute)}
			switch {
			case i%10 == 0:
				e.Until = now.Time().Add(24 * time.Hour)
			case i%11 == 0:
				e.Kind, e.Until = revoke.KindSession, now.Time().Add(90*time.Minute)
			case i%111 == 0:
				e.Kind, e.Before, e.Until = revoke.KindSubject, now.Time(), now.Time().Add(90*time.Minute)
			}
			if err := l.Apply(now, e); err != nil {
				t.Fatal(err)
			}
		}
		judge := func(when string, at revoke.Instant, n int) {
			l.WaitCompaction()
			counted, real := float64(l.Stats(at).Bytes)/float64(n), float64(heap()-before)/float64(n)
			t.Logf("%d live, %s: %.1f bytes each by its own account, %.1f by the heap, %.1f of them the filter", n, when, counted, real, float64(l.FilterBytes())/float64(n))
			// What a List takes for itself, whatever it holds, is 40 kB.
			if fixed := 40e3 / float64(n); counted > 27 || real > 27+fixed || real < counted {
				t.Errorf("%d live, %s: %.1f bytes each by its own account, %.1f by the heap", n, when, counted, real)
			}
		}
		judge("full", now, n)
		later := now.Add(3 * time.Hour)
		id := revoke.Identity{Issuer: iss, Token: "x"}
		for range 3 { // what one sweep leaves, the next finds
			later = later.Add(2 * time.Minute)
			if err := l.Check(later, &id, revoke.Deny()); err != nil {
				t.Fatal(err)
			}
			l.WaitCompaction()
		}
		if n/10 >= 20_000 { // the least memtable is a large part of a smaller List
			judge("nine tenths expired", later, n/10)
		}
		id.Token = "10" // also what there is to keep alive
		if l.Check(later, &id, revoke.Deny()) == nil {
			t.Error("what has not expired is forgotten")
		}
	}
}

// TestExpiredMemoryComesBack: what has expired gives its memory back, when somebody asks for anything.
func TestExpiredMemoryComesBack(t *testing.T) {
	l, now := filled(t, revoke.Config{}, 100_000, valueShapes["numbers"])
	later := now.Add(100 * 24 * time.Hour)
	id := revoke.Identity{Issuer: iss, Token: "x"}
	if err := l.Check(later, &id, revoke.Deny()); err != nil {
		t.Fatal(err)
	}
	l.WaitCompaction()
	if s := l.Stats(later); s.Bytes > 200_000 {
		t.Errorf("%d bytes are held after everything expired: %+v", s.Bytes, s)
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			uuid := valueShapes["uuid"]
			l, now := filled(b, revoke.Config{}, n, uuid)
			ids := make([]revoke.Identity, 4096)
			for i := range ids {
				ids[i] = revoke.Identity{Issuer: iss, Token: uuid(1<<24 + i), Session: uuid(2<<24 + i), Subject: uuid(3<<24 + i), Client: "web", Tenant: "acme", Key: thumbprint, IssuedAt: now.Time()}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := l.Check(now, &ids[i%len(ids)], revoke.Deny()); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// TestRecentShrinks: what takes new events is small again once the List is, also where
// what expired was forgotten by an ordinary compaction and not by a sweep.
func TestRecentShrinks(t *testing.T) {
	l, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	now := revoke.Now()
	add := func(now revoke.Instant, from, n int) {
		for i := from; i < from+n; i++ {
			if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: strconv.Itoa(i), Until: now.Time().Add(30 * time.Minute)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(now, 0, 200_000)
	l.Compact(now)
	add(now, 200_000, 2000) // more than the memtable that Compact leaves takes
	l.WaitCompaction()
	large := l.ActiveCapacity()
	later := now.Add(2 * time.Hour)
	add(later, 300_000, large+1)
	l.WaitCompaction()
	if n := l.ActiveCapacity(); large < 8000 || n > large/2 {
		t.Errorf("the memtable takes %d entries; before most expired it took %d", n, large)
	}
	if f := l.Frozen(); f > 0 {
		t.Errorf("%d memtables are left, not compacted", f)
	}
	for _, i := range []int{300_000, 300_000 + large} {
		if l.Check(later, &revoke.Identity{Issuer: iss, Token: strconv.Itoa(i)}, revoke.Deny()) == nil {
			t.Errorf("%d is not refused", i)
		}
	}
}

// BenchmarkFill is what it costs to apply an event to a List that grows to that many, its
// share of all compactions included.
func BenchmarkFill(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			uuid := valueShapes["uuid"]
			values := make([]string, n)
			for i := range values {
				values[i] = uuid(i)
			}
			now := revoke.Now()
			until := now.Time().Add(time.Hour)
			for b.Loop() {
				l, err := revoke.NewList(revoke.Config{Local: true})
				if err != nil {
					b.Fatal(err)
				}
				for _, v := range values {
					if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: v, Until: until}); err != nil {
						b.Fatal(err)
					}
				}
				l.WaitCompaction()
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(n), "ns/event")
		})
	}
}
