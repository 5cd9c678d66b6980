package revoke_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// told counts what a watch is told, and keeps the last of it.
type told struct {
	times atomic.Int64
	err   atomic.Value
}

func (w *told) revoked(err error) {
	w.err.Store(err)
	w.times.Add(1)
}

func (w *told) kind() (k revoke.Kind) {
	err, _ := w.err.Load().(error)
	var revoked *revoke.RevokedError
	if errors.As(err, &revoked) {
		k = revoked.Kind
	}
	return k
}

func watch(t testing.TB, l *revoke.List, now revoke.Instant, id revoke.Identity) (*told, func()) {
	t.Helper()
	w := new(told)
	stop, err := l.Prepare(&id).Watch(now, w.revoked)
	if err != nil {
		t.Fatalf("%+v: %v", id, err)
	}
	return w, stop
}

const someKey = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

// Each kind of event is told to those that it revokes, once, and to nobody else.
func TestWatchEachKind(t *testing.T) {
	now := revoke.Now()
	id := func(name string, iat time.Time) revoke.Identity {
		return revoke.Identity{Issuer: iss, Token: "t" + name, Session: "s" + name, Subject: "u1", Client: "c1", Tenant: "x1", Key: someKey, IssuedAt: iat}
	}
	old := now.Time().Add(-time.Minute)
	for k := revoke.KindToken; k <= revoke.KindIssuer; k++ {
		l := localList(t)
		e := revoke.Event{Issuer: iss, Kind: k, Value: map[revoke.Kind]string{
			revoke.KindToken: "t1", revoke.KindSession: "s1", revoke.KindSubject: "u1", revoke.KindClient: "c1", revoke.KindTenant: "x1", revoke.KindKey: someKey,
		}[k]}
		w, stop := watch(t, l, now, id("1", old))
		defer stop()
		strangers := map[string]*told{}
		other := id("1", old)
		other.Issuer += "/"
		strangers["of another issuer"], _ = watch(t, l, now, other)
		bare := revoke.Identity{Issuer: iss + "/"} // which no kind but one can name
		strangers["with no value"], _ = watch(t, l, now, bare)
		stopped, end := watch(t, l, now, id("1", old))
		end()
		end()
		strangers["stopped"] = stopped
		if k.Cutoff() {
			strangers["issued later"], _ = watch(t, l, now, id("2", now.Time().Add(time.Hour)))
		} else if k != revoke.KindKey {
			strangers["another's"], _ = watch(t, l, now, id("2", old))
		}
		if k == revoke.KindSubject {
			strangers["kept"], _ = watch(t, l, now, id("kept", old))
			e.Keep = []string{"skept"}
		}
		for range 2 {
			if err := l.Apply(now, e); err != nil {
				t.Fatal(err)
			}
			l.WaitTold()
		}
		if w.times.Load() != 1 || w.kind() != k {
			t.Errorf("%s: told %d times, %v", k, w.times.Load(), w.err.Load())
		}
		for name, s := range strangers {
			if s.times.Load() != 0 {
				t.Errorf("%s: one %s was told %v", k, name, s.err.Load())
			}
		}
		p := id("1", old)
		if stop, err := l.Prepare(&p).Watch(now, func(error) { t.Error("told what it was answered") }); !errors.Is(err, revoke.ErrRevoked) || stop == nil {
			t.Errorf("%s: a watch after the event: %v", k, err)
		} else {
			stop()
		}
		l.WaitTold()
	}
}

// A watch is told what a check answers, in every history and however events reach the
// List: no more, no less, and not later.
func TestWatchAgreesWithCheck(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 15
	}
	ended, live := 0, 0
	for shape, value := range valueShapes {
		for round := range rounds {
			u := &universe{rng: rand.New(rand.NewPCG(uint64(round), 31)), value: value, values: 4 + round%13, start: time.UnixMilli(1_800_000_000_000)}
			l := localList(t)
			now := revoke.At(u.start.Add(10 * time.Second))
			type watcher struct {
				*told
				*revoke.Prepared
				stop func()
			}
			var all []watcher
			for range 60 {
				id := u.token()
				w := watcher{told: new(told), Prepared: l.Prepare(&id)}
				var err error
				w.stop, err = w.Watch(now, w.revoked)
				if err != nil {
					w.revoked(err)
				}
				all = append(all, w)
				if e := u.event(); !e.Until.Before(now.Time()) {
					if err := l.Apply(now, e); err != nil {
						t.Fatal(err)
					}
				}
				if u.rng.IntN(6) == 0 {
					l.Compact(now)
				}
				l.WaitTold()
				for _, w := range all {
					want := int64(0)
					if w.Check(now, revoke.Deny()) != nil {
						want = 1
					}
					if got := w.times.Load(); got != want {
						t.Fatalf("%s/%d: told %d times, a check says %d", shape, round, got, want)
					}
				}
			}
			for _, w := range all {
				if w.times.Load() > 0 {
					ended++
				} else {
					live++
				}
				w.stop()
			}
			if n, keys, _ := l.Watches(); n != 0 || keys != 0 {
				t.Fatalf("%d watches of %d keys are left", n, keys)
			}
		}
	}
	if ended < 500 || live < 500 {
		t.Errorf("%d ended, %d did not: does this test see any?", ended, live)
	}
}

// Whatever brings an event: applied here, delivered by a log, read again after the log
// was lost, while a log is read in bulk, or restored from a file before anybody watches.
func TestWatchHearsEverySource(t *testing.T) {
	iat := time.Now().Add(-time.Minute)
	r, log := tape.Ready(t)
	at := func(jti string) revoke.Identity { return revoke.Identity{Issuer: iss, Token: jti, IssuedAt: iat} }
	hears := func(name string, l *revoke.List, now revoke.Instant, jti string, event func()) {
		t.Helper()
		w, stop := watch(t, l, now, at(jti))
		defer stop()
		event()
		l.WaitTold()
		if w.times.Load() != 1 {
			t.Errorf("%s: told %d times", name, w.times.Load())
		}
	}
	hears("Apply", r.List, r.Now, "a", func() {
		r.Must(r.List.Apply(r.Now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "a"}))
	})
	hears("the log", r.List, r.Now, "b", func() {
		log.Revoke(r.Now.Time(), "b")
		r.Must(r.Read(log))
	})
	r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
	hears("a log read from its start", r.List, r.Now, "c", func() {
		anew := &tape.Log{}
		for i := range 5000 {
			anew.Revoke(r.Now.Time(), fmt.Sprint("n", i))
		}
		anew.Revoke(r.Now.Time(), "c")
		for i := range 10 {
			anew.Revoke(r.Now.Time(), fmt.Sprint("m", i))
		}
		r.Feed.Rewind()
		r.Begin(anew)
		r.Must(r.Read(anew))
	})
	file := filepath.Join(t.TempDir(), "state")
	l, err := revoke.NewList(revoke.Config{Local: true, StateFile: file})
	r.Must(err)
	r.Must(l.Apply(r.Now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "d", Until: r.Now.Time().Add(time.Hour)}))
	r.Must(l.SaveState(r.Now))
	l, err = revoke.NewList(revoke.Config{Local: true, StateFile: file})
	r.Must(err)
	id := at("d")
	if _, err := l.Prepare(&id).Watch(r.Now, nil); !errors.Is(err, revoke.ErrRevoked) {
		t.Errorf("a state file: %v", err)
	}
}

// No event falls between the check and the waiting: of one who begins to watch while an
// event is applied, one hears of the other (the order of Prepared.Watch).
func TestWatchMissesNoEvent(t *testing.T) {
	races := 15_000
	if testing.Short() {
		races = 5_000
	}
	l := localList(t)
	now := revoke.Now()
	var began, answered atomic.Int64
	var ws [2]sync.WaitGroup
	start := make(chan int)
	next := make(chan struct{})
	watches := make([]told, races)
	ws[0].Go(func() {
		for i := range start {
			if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
			next <- struct{}{}
		}
	})
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range races {
		id := revoke.Identity{Issuer: iss, Token: fmt.Sprint(i)}
		p := l.Prepare(&id)
		start <- i
		for range rng.IntN(1000) { // so that they meet in every order
			began.Add(1)
		}
		if _, err := p.Watch(now, watches[i].revoked); err != nil {
			answered.Add(1)
			watches[i].revoked(err)
		}
		<-next
	}
	close(start)
	ws[0].Wait()
	l.WaitTold()
	for i := range watches {
		if n := watches[i].times.Load(); n != 1 {
			t.Fatalf("race %d: told %d times", i, n)
		}
	}
	t.Logf("%d of %d were answered at once, the others told", answered.Load(), races)
}

// What an event costs does not depend on how many watch: those are looked at that watch
// what it names, and no others; of a cutoff, no more than that.
func TestWatchCostsByKey(t *testing.T) {
	const n = 30_000
	l := localList(t)
	now := revoke.Now()
	iat := now.Time().Add(-time.Minute)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var total told
	stops := make([]func(), n)
	for i := range stops {
		id := revoke.Identity{Issuer: iss, Token: fmt.Sprint("t", i), Session: fmt.Sprint("s", i), Subject: fmt.Sprint("u", i/4), Client: "c1", Tenant: fmt.Sprint("x", i/1000), Key: someKey, IssuedAt: iat}
		var err error
		if stops[i], err = l.Prepare(&id).Watch(now, total.revoked); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / n
	t.Logf("%d bytes a watch", each)
	if each > 1024 {
		t.Errorf("%d bytes a watch", each)
	}
	wanted := uint64(0)
	for _, x := range []struct {
		e     revoke.Event
		finds int
	}{
		{revoke.Event{Kind: revoke.KindToken, Value: "nobody's"}, 0},
		{revoke.Event{Kind: revoke.KindToken, Value: "t7"}, 1},
		{revoke.Event{Kind: revoke.KindSession, Value: "s8"}, 1},
		{revoke.Event{Kind: revoke.KindSubject, Value: "u10"}, 4},
		{revoke.Event{Kind: revoke.KindTenant, Value: "x5"}, 1000},
		{revoke.Event{Kind: revoke.KindClient, Value: "c2"}, 0},
	} {
		x.e.Issuer = iss
		told, _, touched := 0, 0, uint64(0)
		_, _, was := l.Watches()
		if err := l.Apply(now, x.e); err != nil {
			t.Fatal(err)
		}
		l.WaitTold()
		wanted += uint64(x.finds)
		told, _, touched = l.Watches()
		marks := uint64(x.finds / 256)
		if touched -= was; told != n-int(wanted) || touched < uint64(x.finds) || touched > uint64(x.finds)+marks {
			t.Errorf("%s %s: %d watches left, %d were looked at", x.e.Kind, x.e.Value, told, touched)
		}
	}
	if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindIssuer}); err != nil {
		t.Fatal(err)
	}
	l.WaitTold()
	if total.times.Load() != n {
		t.Errorf("%d of %d were told", total.times.Load(), n)
	}
	if n, keys, _ := l.Watches(); n != 0 || keys != 0 {
		t.Errorf("%d watches of %d keys are left", n, keys)
	}
	for _, stop := range stops {
		stop()
	}
}

// Nothing is left of a watch that was stopped, in whatever order, and while events come.
func TestStoppedWatchesLeaveNothing(t *testing.T) {
	l := localList(t)
	now := revoke.Now()
	rng := rand.New(rand.NewPCG(4, 4))
	var stops []func()
	var wg sync.WaitGroup
	some := make(chan struct{}) // closed when there are watches to tell
	wg.Go(func() {
		<-some
		for i := range 2000 {
			e := revoke.Event{Issuer: iss, Kind: revoke.KindSubject, Value: fmt.Sprint(i % 5), Before: now.Time().Add(time.Duration(i%7-8) * time.Minute)}
			if err := l.Apply(now, e); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 20_000 {
		id := revoke.Identity{Issuer: iss, Token: fmt.Sprint(i), Subject: fmt.Sprint(i % 5), IssuedAt: now.Time().Add(time.Duration(-rng.IntN(20)) * time.Minute)}
		stop, _ := l.Prepare(&id).Watch(now, func(error) {})
		stops = append(stops, stop)
		if i == 1000 {
			close(some)
		}
		for len(stops) > 3000 || i == 19_999 && len(stops) > 0 {
			k := rng.IntN(len(stops))
			stops[k]()
			stops[k] = stops[len(stops)-1]
			stops = stops[:len(stops)-1]
		}
	}
	wg.Wait()
	l.WaitTold()
	if n, keys, touched := l.Watches(); n != 0 || keys != 0 || touched == 0 {
		t.Errorf("%d watches of %d keys are left; %d looked at", n, keys, touched)
	}
}

// An event that ends many does not hold up the next one, which ends one.
func TestWatchOfOneDoesNotWaitForMany(t *testing.T) {
	const many = 10_000
	l := localList(t)
	now := revoke.Now()
	var gone atomic.Int64
	first, goOn := make(chan struct{}), make(chan struct{})
	for i := range many {
		id := revoke.Identity{Issuer: iss, Token: fmt.Sprint(i), Client: "many"}
		if _, err := l.Prepare(&id).Watch(now, func(error) {
			if gone.Add(1) == 1 {
				close(first)
				<-goOn
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	id := revoke.Identity{Issuer: iss, Token: "one"}
	before := int64(0)
	if _, err := l.Prepare(&id).Watch(now, func(error) { before = gone.Load() }); err != nil {
		t.Fatal(err)
	}
	if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindClient, Value: "many"}); err != nil {
		t.Fatal(err)
	}
	<-first
	if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "one"}); err != nil { // nor is Apply held up
		t.Fatal(err)
	}
	close(goOn)
	l.WaitTold()
	if gone.Load() != many || before == 0 || before > many/10 {
		t.Errorf("%d of %d had ended before the one", before, gone.Load())
	}
}

// A cutoff that comes while those of an earlier one are being told is told as well.
func TestWatchHearsACutoffDuringAnother(t *testing.T) {
	const each = 1000
	l := localList(t)
	now := revoke.Now()
	var gone atomic.Int64
	first, goOn := make(chan struct{}), make(chan struct{})
	for i := range 2 * each {
		id := revoke.Identity{Issuer: iss, Token: fmt.Sprint(i), Client: "c", IssuedAt: now.Time().Add(-time.Duration(1+i%2) * time.Hour)}
		if _, err := l.Prepare(&id).Watch(now, func(error) {
			if gone.Add(1) == 1 {
				close(first)
				<-goOn
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	cutoff := func(ago time.Duration) {
		t.Helper()
		if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindClient, Value: "c", Before: now.Time().Add(-ago)}); err != nil {
			t.Fatal(err)
		}
	}
	cutoff(90 * time.Minute)
	<-first
	cutoff(30 * time.Minute)
	close(goOn)
	l.WaitTold()
	if gone.Load() != 2*each {
		t.Errorf("%d of %d were told", gone.Load(), 2*each)
	}
}
