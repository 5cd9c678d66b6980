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

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestPreparedAgreesWithOracle holds invariants 2 to 5 for identities that were
// prepared once and are checked again and again, while events arrive, bases are
// compacted, and the clock goes on and now and then is set back.
func TestPreparedAgreesWithOracle(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 20
	}
	refused, accepted, skipped := 0, 0, 0
	for shape, value := range valueShapes {
		for round := range rounds {
			seed := uint64(round)
			u := &universe{rng: rand.New(rand.NewPCG(seed, 3)), value: value, values: 4 + round%13, start: time.UnixMilli(1_800_000_000_000)}
			l := localList(t)
			var o oracle
			ids := make([]revoke.Identity, 12)
			prepared := make([]*revoke.Prepared, len(ids))
			for i := range ids {
				ids[i] = u.token()
				prepared[i] = l.Prepare(&ids[i])
			}
			clock, newest := revoke.At(u.start.Add(10*time.Second)), revoke.Instant{}
			for step := range 60 {
				switch n := u.rng.IntN(10); {
				case n < 3:
					e := u.event()
					if e.Until.Before(clock.Time()) {
						break
					}
					if least := clock.Time().Add(time.Hour); e.Kind == revoke.KindSession && e.Until.Before(least) {
						e.Until = least // tokens of the session may have been issued until now
					}
					if err := l.Apply(clock, e); err != nil {
						t.Fatal(err)
					}
					o.events = append(o.events, e)
				case n < 4:
					l.Compact(newest) // forgets what has expired by then
				case n < 5:
					clock = clock.Add(time.Duration(u.rng.IntN(30)) * time.Minute)
				case n < 6:
					// Never to before the cutoffs, which would then lie ahead.
					back := min(time.Duration(u.rng.IntN(20))*time.Minute, clock.Time().Sub(u.start)-10*time.Second)
					clock = clock.Add(-back)
				}
				if clock.Wall > newest.Wall {
					newest = clock
				}
				for i := range ids {
					if prepared[i].Skips(clock) {
						skipped++
					}
					must, _ := o.judge(newest.Time(), &ids[i]) // what newest has forgotten may be forgotten
					_, may := o.judge(clock.Time(), &ids[i])
					got := errors.Is(prepared[i].Check(clock, revoke.Deny()), revoke.ErrRevoked)
					switch {
					case must && !got:
						t.Fatalf("%s/%d, step %d: a miss: %+v\n%+v", shape, seed, step, ids[i], o.events)
					case !may && got:
						t.Fatalf("%s/%d, step %d: a false refusal: %+v\n%+v", shape, seed, step, ids[i], o.events)
					case got:
						refused++
					default:
						accepted++
					}
				}
			}
		}
	}
	if refused < 1000 || accepted < 1000 || skipped < 1000 {
		t.Errorf("%d refused, %d accepted, %d skipped: too few to say anything", refused, accepted, skipped)
	}
}

// A clock that is set back revives what had expired by it, unless it was forgotten.
func TestPreparedNoticesAClockSetBack(t *testing.T) {
	l := localList(t)
	now := revoke.At(time.UnixMilli(1_800_000_000_000))
	id := revoke.Identity{Issuer: iss, Token: "a", IssuedAt: now.Time()}
	p := l.Prepare(&id)
	if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "a", Until: now.Time().Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after   time.Duration
		revoked bool
	}{{0, true}, {time.Hour, false}, {2 * time.Hour, false}, {0, true}, {13 * time.Minute, true}, {time.Hour, false}} {
		err := p.Check(now.Add(step.after), revoke.Deny())
		if errors.Is(err, revoke.ErrRevoked) != step.revoked {
			t.Errorf("at +%s: %v, revoked should be %t", step.after, err, step.revoked)
		}
	}
}

// Freshness is judged at each check, whatever is remembered (invariant 1).
func TestPreparedJudgesFreshness(t *testing.T) {
	l, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	now := revoke.Now()
	id := revoke.Identity{Issuer: iss, Token: "a", IssuedAt: now.Time()}
	p := l.Prepare(&id)
	if err := p.Check(now, revoke.Deny()); !errors.Is(err, revoke.ErrStale) {
		t.Errorf("before any proof: %v", err)
	}
	if err := p.Check(now, revoke.InsecureAllow()); err != nil {
		t.Errorf("InsecureAllow: %v", err)
	}
	feed, err := replica.NewFeed(l)
	if err != nil {
		t.Fatal(err)
	}
	sub := feed.Begin(now, replica.LogInfo{Retention: revoke.DefaultRetention()})
	hb := replica.Heartbeat{Nonce: [16]byte{1}, Time: now.Time()}
	feed.Sent(now, hb.Nonce)
	if err := feed.Heartbeat(now.Add(time.Millisecond), replica.Record{Generation: sub.Generation, Delivery: 1, Sequence: 1, Time: now.Time()}, hb); err != nil {
		t.Fatal(err)
	}
	most := l.Config().MaxStaleness
	for _, step := range []struct {
		after time.Duration
		want  error
	}{{time.Second, nil}, {most, nil}, {most + time.Millisecond, revoke.ErrStale}} {
		if err := p.Check(now.Add(step.after), revoke.Deny()); !errors.Is(err, step.want) {
			t.Errorf("at +%s: %v, want %v", step.after, err, step.want)
		}
	}
	if err := p.Check(now.Add(most+time.Second), revoke.AllowYounger(time.Minute)); err != nil {
		t.Errorf("AllowYounger: %v", err)
	}
}

// TestPreparedSeesWhatWasApplied holds invariant 1: whatever a check that ran beside
// an Apply remembered, one that begins after it refuses.
func TestPreparedSeesWhatWasApplied(t *testing.T) {
	tokens := 60_000
	if testing.Short() {
		tokens = 6_000
	}
	l := localList(t)
	now := revoke.Now()
	var current atomic.Pointer[revoke.Prepared]
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range max(runtime.GOMAXPROCS(0)-1, 1) {
		readers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if p := current.Load(); p == nil || p.Check(now, revoke.Deny()) != nil || n%32 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	for i := range tokens {
		value := fmt.Sprint(i)
		id := revoke.Identity{Issuer: iss, Token: value, Session: value, Subject: value, Client: "web", IssuedAt: now.Time()}
		p := l.Prepare(&id)
		if i%2 == 0 { // otherwise the readers' first look-up runs beside the Apply
			if err := p.Check(now, revoke.Deny()); err != nil {
				t.Fatalf("token %d: %v", i, err)
			}
		}
		current.Store(p)
		kind := []revoke.Kind{revoke.KindToken, revoke.KindSession, revoke.KindSubject}[i%3]
		if i%4 < 2 {
			runtime.Gosched() // let a reader be in the middle of it
		}
		if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: kind, Value: value}); err != nil {
			t.Fatal(err)
		}
		if err := p.Check(now, revoke.Deny()); !errors.Is(err, revoke.ErrRevoked) {
			t.Fatalf("token %d was accepted after Apply had returned: %v", i, err)
		}
	}
	close(done)
	readers.Wait()
}

// Events for others leave what is remembered alone, but for the few that share a
// counter with it.
func TestPreparedIsNotDisturbedByOthers(t *testing.T) {
	l := localList(t)
	now := revoke.Now()
	id := revoke.Identity{Issuer: iss, Token: "a", Session: "b", Subject: "c", Client: "d", Tenant: "e", Key: thumbprint, IssuedAt: now.Time()}
	p := l.Prepare(&id)
	if p.Skips(now) {
		t.Error("skips the first look-up")
	}
	disturbed := 0
	const events = 10_000
	for i := range events {
		if err := p.Check(now, revoke.Deny()); err != nil || !p.Skips(now) {
			t.Fatalf("after %d events: %v, and remembers nothing", i, err)
		}
		if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
		if !p.Skips(now) {
			disturbed++
		}
	}
	if disturbed > 17 { // one of 2048 counters: 5 expected; all seven of the token among as many: 34
		t.Errorf("%d of %d events of others made it look again", disturbed, events)
	}
	if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindTenant, Value: "e"}); err != nil {
		t.Fatal(err)
	}
	if p.Skips(now) || !errors.Is(p.Check(now, revoke.Deny()), revoke.ErrRevoked) || p.Skips(now) {
		t.Error("an event for its tenant goes unnoticed, or a refusal is remembered as clear")
	}
}

func TestPreparedCheckDoesNotAllocate(t *testing.T) {
	l, now := filled(t, revoke.Config{}, 20_000, valueShapes["uuid"])
	uuid := valueShapes["uuid"]
	good := revoke.Identity{Issuer: iss, Token: uuid(1e6), Session: uuid(2e6), Subject: uuid(3e6), Client: uuid(4e6), Tenant: uuid(5e6), Key: thumbprint, IssuedAt: now.Time()}
	bad := good
	bad.Token = uuid(7)
	for name, id := range map[string]*revoke.Identity{"good": &good, "revoked": &bad} {
		p := l.Prepare(id)
		if n := testing.AllocsPerRun(1000, func() { p.Check(now, revoke.Deny()) }); n != 0 {
			t.Errorf("a check of a %s token allocates %v times", name, n)
		}
	}
}

func BenchmarkPreparedCheck(b *testing.B) {
	uuid := valueShapes["uuid"]
	l, now := filled(b, revoke.Config{}, 1_000_000, uuid)
	all := make([]*revoke.Prepared, 4096)
	for i := range all {
		all[i] = l.Prepare(&revoke.Identity{Issuer: iss, Token: uuid(1<<24 + i), Session: uuid(2<<24 + i), Subject: uuid(3<<24 + i), Client: "web", Tenant: "acme", Key: thumbprint, IssuedAt: now.Time()})
	}
	for _, disturbed := range []bool{false, true} {
		b.Run(map[bool]string{false: "skip", true: "look"}[disturbed], func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p := all[i%len(all)]
				if disturbed {
					p.Forget()
				}
				if err := p.Check(now, revoke.Deny()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
