package revoke_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestReadersNeverMiss holds invariants 1 and 4 under concurrency: a check that
// begins after Apply returned refuses, while the memtable overflows, bases are
// replaced and expired entries are swept; and nothing else is ever refused. Two
// thirds of the checks ask for events applied long ago, which survive many compactions:
// tables are fullest and oldest there.
func TestReadersNeverMiss(t *testing.T) {
	const doomed = 1 << 30 // values that expire and are swept away
	events := 60_000
	if testing.Short() {
		events = 10_000
	}
	l := localList(t)
	now := revoke.Now()
	long := now.Time().Add(24 * time.Hour)
	var applied atomic.Int64
	var clock atomic.Int64 // minutes ahead, so that sweeps have something to forget
	at := func() revoke.Instant { return now.Add(time.Duration(clock.Load()) * time.Minute) }

	event := func(i int) revoke.Event {
		switch i % 4 {
		case 0:
			return revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: fmt.Sprint(i), Until: long}
		case 1:
			return revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: fmt.Sprint(i), Until: long}
		case 2: // the same few subjects, widened again and again, sparing other sessions each time
			return revoke.Event{
				Issuer: iss, Kind: revoke.KindSubject, Value: fmt.Sprint(i % 512), Until: long,
				Before: now.Time().Add(-time.Hour + time.Duration(i)*time.Millisecond),
				Keep:   []string{"kept", fmt.Sprint("kept-", i%64)},
			}
		}
		return revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: fmt.Sprint(doomed + i), Until: now.Time().Add(time.Minute)}
	}
	identity := func(i int) revoke.Identity {
		id := revoke.Identity{Issuer: iss, IssuedAt: now.Time().Add(-time.Hour + time.Duration(i)*time.Millisecond)}
		switch i % 4 {
		case 0:
			id.Token = fmt.Sprint(i)
		case 1:
			id.Session = fmt.Sprint(i)
		case 2:
			id.Subject = fmt.Sprint(i % 512)
			id.Session = "some other session"
		}
		return id
	}

	var checks atomic.Int64
	done := make(chan struct{})
	var readers sync.WaitGroup
	for r := range max(runtime.GOMAXPROCS(0), 3) {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 5))
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
				i := int(rng.Int64N(k))
				if rng.IntN(3) == 0 {
					i = int(k - 1 - rng.Int64N(min(k, 8))) // the newest
				}
				if i%4 == 3 {
					continue
				}
				id := identity(i)
				if l.Check(at(), &id, revoke.Deny()) == nil {
					t.Errorf("event %d of %d was missed", i, k)
					return
				}
				// Kept by every event that names the subject, hence never refused.
				kept := revoke.Identity{Issuer: iss, Subject: fmt.Sprint(i % 512), Session: "kept", Token: fmt.Sprint("t", i), IssuedAt: now.Time().Add(-time.Hour)}
				if err := l.Check(at(), &kept, revoke.Deny()); err != nil {
					t.Errorf("a kept session was refused: %v", err)
					return
				}
				fresh := revoke.Identity{Issuer: iss, Subject: fmt.Sprint(i % 512), Session: fmt.Sprint(i), IssuedAt: now.Time().Add(time.Hour), Token: fmt.Sprint(-i - 1)}
				if i%4 != 1 {
					if err := l.Check(at(), &fresh, revoke.Deny()); err != nil {
						t.Errorf("a later login was refused: %v", err)
						return
					}
				}
			}
		})
	}
	for i := range events {
		if err := l.Apply(at(), event(i)); err != nil {
			t.Fatal(err)
		}
		applied.Store(int64(i) + 1)
		if i%5000 == 4999 {
			clock.Add(7) // doomed entries expire in bulk
		}
		if i%8 == 0 {
			runtime.Gosched()
		}
	}
	l.WaitCompaction()
	close(done)
	readers.Wait()
	l.Compact(at())
	if n := l.Stats(at()).Entries[revoke.KindToken]; n >= events/2 {
		t.Errorf("%d token entries of %d events: nothing was swept", n, events)
	}
	t.Logf("%d checks, %d compactions", checks.Load(), l.Stats(at()).Compactions)
}

// TestConcurrentWriters holds that what several goroutines apply at once is all there.
func TestConcurrentWriters(t *testing.T) {
	l := localList(t)
	now := revoke.Now()
	var wg sync.WaitGroup
	const writers, each = 8, 3000
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: fmt.Sprintf("%d-%d", w, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for w := range writers {
		for i := range each {
			id := revoke.Identity{Issuer: iss, Token: fmt.Sprintf("%d-%d", w, i)}
			if !errors.Is(l.Check(now, &id, revoke.Deny()), revoke.ErrRevoked) {
				t.Fatalf("%d-%d is missing", w, i)
			}
		}
	}
}

// TestKeptSessionsAreNeverRefused holds invariant 5 while it happens: each event
// moves the cutoff past a token and spares its session in the same breath. No
// reader may see the one without the other.
func TestKeptSessionsAreNeverRefused(t *testing.T) {
	const rounds = 60 // below MaxKeep
	subjects := 400
	if testing.Short() {
		subjects = 100
	}
	l := localList(t)
	now := revoke.At(time.Now().Truncate(time.Millisecond)) // Before is rounded up
	iat := func(j int) time.Time { return now.Time().Add(-time.Hour + time.Duration(j)*time.Millisecond) }
	var active atomic.Int64
	done := make(chan struct{})
	var readers sync.WaitGroup
	for r := range max(runtime.GOMAXPROCS(0), 3) {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 6))
			for {
				select {
				case <-done:
					return
				default:
				}
				j := 1 + rng.IntN(rounds)
				id := revoke.Identity{Issuer: iss, Subject: fmt.Sprint(active.Load()), Session: fmt.Sprint("s", j), IssuedAt: iat(j)}
				if err := l.Check(now, &id, revoke.Deny()); err != nil {
					t.Errorf("session %d of subject %s: %v", j, id.Subject, err)
					return
				}
			}
		})
	}
	for s := range subjects {
		active.Store(int64(s))
		var keep []string
		for j := 1; j <= rounds; j++ {
			keep = append(keep, fmt.Sprint("s", j))
			if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindSubject, Value: fmt.Sprint(s), Before: iat(j), Keep: keep}); err != nil {
				t.Fatal(err)
			}
		}
		id := revoke.Identity{Issuer: iss, Subject: fmt.Sprint(s), Session: "unkept", IssuedAt: iat(rounds)}
		if l.Check(now, &id, revoke.Deny()) == nil {
			t.Fatal("the events revoke nothing")
		}
	}
	close(done)
	readers.Wait()
}

// TestNoCheckFallsBetweenEventAndProof holds invariant 1 at the moment a stale
// replica catches up: an event is applied, then a heartbeat proves it. A check sees a
// stale replica or the event, never a fresh replica without it.
func TestNoCheckFallsBetweenEventAndProof(t *testing.T) {
	rounds := 20_000
	if testing.Short() {
		rounds = 2000
	}
	r, l := tape.NewReader(t, revoke.Config{}), &tape.Log{}
	r.Begin(l)
	r.Beat(l)
	r.Must(r.Read(l))
	type question struct {
		now      revoke.Instant
		id       revoke.Identity
		prepared *revoke.Prepared
	}
	var asked atomic.Pointer[question]
	done := make(chan struct{})
	var readers sync.WaitGroup
	for i := range max(runtime.GOMAXPROCS(0), 2) {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				q := asked.Load()
				if q == nil {
					continue
				}
				check := q.prepared.Check
				if i%2 == 0 {
					check = func(now revoke.Instant, p revoke.Policy) error { return r.List.Check(now, &q.id, p) }
				}
				if check(q.now, revoke.Deny()) == nil {
					t.Errorf("%s passed, prepared: %t", q.id.Token, i%2 != 0)
					return
				}
			}
		})
	}
	for i := range rounds {
		r.Pass(time.Minute) // stale
		jti := fmt.Sprint("round ", i)
		id := revoke.Identity{Issuer: iss, Token: jti, IssuedAt: r.Now.Time()}
		asked.Store(&question{r.Now, id, r.List.Prepare(&id)})
		l.Messages = l.Messages[:0]
		l.Append(r.Now.Time(), tape.Message{Event: &revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: jti, Until: r.Now.Time().Add(90 * 24 * time.Hour)}})
		r.Beat(l)
		r.Must(r.Read(l))
		if s := r.List.Status(r.Now); s.State != revoke.StateFresh {
			t.Fatalf("round %d: %s", i, s.State)
		}
	}
	close(done)
	readers.Wait()
}
