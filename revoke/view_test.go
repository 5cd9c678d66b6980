package revoke

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// While a List grows, to hundreds of segments, and shrinks again, and each of them is
// replaced in view by itself, a check that begins after Apply returned refuses, and nothing
// else is refused (invariants 1 and 2).
func TestReadersMissNothingWhileSegmentsAreReplaced(t *testing.T) {
	const tide = 30_000
	l, err := NewList(Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	l.layout.segment = 32
	start := Now()
	var clock atomic.Int64 // minutes ahead
	at := func() Instant { return start.Add(time.Duration(clock.Load()) * time.Minute) }
	issued := start.Time().Add(-time.Minute)
	identity := func(i int, iat time.Time) Identity {
		id := Identity{Issuer: "i", IssuedAt: iat}
		switch i % 3 {
		case 0:
			id.Token = fmt.Sprint(i)
		case 1:
			id.Session = fmt.Sprint(i)
		default:
			id.Subject = fmt.Sprint(i)
		}
		return id
	}
	var applied, checks atomic.Int64
	done := make(chan struct{})
	var readers sync.WaitGroup
	for r := range max(runtime.GOMAXPROCS(0), 2) {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 9))
			for n := int64(0); ; n++ {
				select {
				case <-done:
					checks.Add(n)
					return
				default:
				}
				k := applied.Load()
				if k == 0 {
					runtime.Gosched()
					continue
				}
				i := int(rng.Int64N(k)) &^ 15 // those that stay
				if id := identity(i, issued); l.Check(at(), &id, Deny()) == nil {
					t.Errorf("event %d of %d was missed", i, k)
					return
				}
				if id := identity(-1-i, issued); l.Check(at(), &id, Deny()) != nil {
					t.Errorf("%d is refused", -1-i)
					return
				}
				if id := identity(i, at().Time().Add(time.Hour)); i%3 == 2 && l.Check(at(), &id, Deny()) != nil {
					t.Errorf("a login after the cutoff of %d is refused", i)
					return
				}
			}
		})
	}
	segments, least := 0, tide
	for i := range 3 * tide {
		e := Event{Issuer: "i", Kind: Kind(1 + i%3), Value: fmt.Sprint(i)}
		if e.Kind.Cutoff() {
			e.Before = start.Time()
		}
		e.Until = at().Time().Add(90 * time.Minute)
		if i%16 == 0 {
			e.Until = start.Time().Add(48 * time.Hour)
		}
		if err := l.Apply(at(), e); err != nil {
			t.Fatal(err)
		}
		applied.Store(int64(i) + 1)
		if i%tide == tide-1 {
			l.WaitCompaction()
			for _, tab := range l.view.Load().base.tables {
				if tab != nil {
					segments = max(segments, len(tab.segments))
				}
			}
			clock.Add(120) // what does not stay expires
			l.Compact(at())
			least = min(least, l.view.Load().base.count())
		}
	}
	l.WaitCompaction()
	close(done)
	readers.Wait()
	if segments < 256 || least > tide/8 {
		t.Errorf("%d segments at most, %d entries at least", segments, least)
	}
	t.Logf("%d checks, %d compactions, %d segments at most", checks.Load(), l.counters.compactions.Load(), segments)
}
