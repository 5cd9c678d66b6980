package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// heap is what is alive after a collection.
func heap() float64 {
	for range 3 { // also what finalizers hold
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// restingHeap is heap once what earlier sections left behind is gone, which caches'
// goroutines may let go of late.
func restingHeap() float64 {
	last := heap()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		time.Sleep(500 * time.Millisecond)
		now := heap()
		if now > last-64<<10 {
			return now
		}
		last = now
	}
	return last
}

// settle waits until no compaction is under way, as far as can be seen: none has ended for
// longer than one takes.
func settle(list *revoke.List, now revoke.Instant) {
	const quiet = 2 * time.Second
	last, since := uint64(0), time.Now()
	for end := since.Add(time.Minute); time.Since(since) < quiet && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if n := list.Stats(now).Compactions; n != last {
			last, since = n, time.Now()
		}
	}
}

func entries(list *revoke.List, now revoke.Instant) (n int) {
	for _, k := range list.Stats(now).Entries {
		n += k
	}
	return n
}

// memory is budget B4.
func (r *run) memory() error {
	sizes := pick(r, []int{600_000, 1_000_000, 1_300_000, 2_100_000}, []int{60_000, 100_000})
	r.page.title("Memory")
	r.page.line("Of a List alone, filter, table and memtable, by the heap's size after garbage collection; token, session, subject as 100 : 10 : 1. *After expiry*: nine tenths of the entries have expired and were swept. *Peak*: the most that was alive, by collection after collection, while 5 %% more entries arrived, 20,000 a second, and had the base rebuilt, over what was alive when that was done.")
	rows := [][]string{{"live revocations", "bytes each", "after expiry, bytes each", "peak while rebuilding, ×"}}
	var each []float64
	worstPeak, rebuilt := 0.0, true
	chart := series{name: "List"}
	for _, n := range sizes {
		before := restingHeap()
		list := load.Must(revoke.NewList(revoke.Config{Local: true, TokenLifetime: 30 * time.Minute, SessionLifetime: 90 * 24 * time.Hour}))
		now := revoke.Now()
		event := func(i int, until time.Duration) revoke.Event {
			e := revoke.Event{Issuer: load.Issuer, Kind: load.Kind(i), Value: load.Value(i), Until: now.Time().Add(until)}
			if e.Kind.Cutoff() {
				e.Before = now.Time().Add(-time.Hour)
			}
			return e
		}
		add := func(e revoke.Event) {
			if err := list.Apply(now, e); err != nil {
				panic(err)
			}
		}
		for i := range n {
			life := 30 * time.Minute
			if i%10 == 0 {
				life = 24 * time.Hour
			}
			add(event(i, life))
		}
		settle(list, now)
		full := heap() - before
		if full < 18*float64(n) { // an entry of the table takes more
			return fmt.Errorf("%d entries seem to take %.0f bytes: something else was freed meanwhile", n, full)
		}
		more := make([]revoke.Event, n/20) // made before: their making leaves garbage
		for i := range more {
			more[i] = event(n+i, 30*time.Minute)
		}
		began, compactions := heap(), list.Stats(now).Compactions
		peak := (full + rebuilding(func() {
			start := time.Now()
			for i := range more {
				for float64(i) > time.Since(start).Seconds()*20_000 {
					time.Sleep(time.Millisecond)
				}
				add(more[i])
			}
			settle(list, now)
		}) - began)
		after := full + heap() - began
		rebuilt = rebuilt && list.Stats(now).Compactions > compactions
		runtime.KeepAlive(more)
		more = nil
		// Two hours later, past every leeway, something arrives and is asked, and what has expired goes.
		later := now.Add(2 * time.Hour)
		for i := range 20_000 {
			if err := list.Apply(later, revoke.Event{Issuer: load.Issuer, Kind: revoke.KindToken, Value: fmt.Sprint("later", i), Until: later.Time().Add(time.Hour)}); err != nil {
				return err
			}
		}
		ask := load.Ask(1, n)
		for end := time.Now().Add(time.Minute); entries(list, later) > n/5+20_000 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			list.Check(later, &ask[0].Identity, revoke.Deny()) // readers notice that a sweep is due
		}
		settle(list, later)
		for range 2 { // what the first sweep left, the next ones find, a minute apart
			later = later.Add(2 * time.Minute)
			list.Check(later, &ask[0].Identity, revoke.Deny())
			settle(list, later)
		}
		left := entries(list, later)
		swept := (heap() - before) / float64(n/10+20_000)
		runtime.KeepAlive(list)
		each = append(each, full/float64(n), swept)
		worstPeak = max(worstPeak, peak/after)
		chart.x, chart.y = append(chart.x, float64(n)), append(chart.y, full/float64(n))
		rows = append(rows, []string{thousands(n), fmt.Sprintf("%.1f", full/float64(n)), fmt.Sprintf("%.1f (%s entries)", swept, thousands(left)), decimal(peak / after)})
	}
	r.page.table(rows...)
	worst := slices.Max(each)
	median := measure.Samples(each).Median()
	r.judge("B4", "memory of a live revocation, worst and median", fmt.Sprintf("%.1f and %.1f bytes", worst, median), "40 and 27 bytes", measure.Worst(measure.JudgeExact(worst, 40), measure.JudgeExact(median, 27)))
	peak := measure.JudgeExact(worstPeak, 2)
	if !rebuilt {
		peak = measure.Unmade
	}
	r.judge("B4", "peak while rebuilding", decimal(worstPeak)+"×", "2×", peak)

	n := sizes[len(sizes)-2]
	peers := [][]string{{"denylist", "bytes an entry", "seven kinds, cutoffs, expiry"}, {"**hybridtoken List**", fmt.Sprintf("%.1f", each[2*(len(sizes)-2)]), "yes"}}
	for _, start := range []func(int) denylist{lockedMap, syncMap, lockedBloom} {
		before := heap()
		d := start(n)
		size := (heap() - before) / float64(n)
		runtime.KeepAlive(d)
		peers = append(peers, []string{d.name, fmt.Sprintf("%.1f", size), "no"})
	}
	r.page.line("Beside what people build, %s entries:", thousands(n))
	r.page.table(peers...)
	return r.lines("memory.svg", "Memory of a live revocation", "live revocations", "bytes each", false, chart)
}

// rebuilding runs f and returns the largest heap seen meanwhile, collection after
// collection.
func rebuilding(f func()) float64 {
	done := make(chan struct{})
	var most uint64
	var wg sync.WaitGroup
	wg.Go(func() {
		var m runtime.MemStats
		for {
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-done:
				return
			default:
			}
		}
	})
	f()
	close(done)
	wg.Wait()
	return float64(most)
}

// stalls is budget B8: what is computed, and what the profiles of waiting say.
func (r *run) stalls() error {
	live := pick(r, 1_000_000, 100_000)
	r.page.title("Staleness and stalls")
	list := load.FreshList()
	load.Revoke(list, live)
	// By the List's own arithmetic, to the millisecond: no check that begins more than
	// MaxStaleness after the proven instant answers.
	cfg := list.Config()
	proven := list.Status(revoke.Now()).Proven
	good := load.Ask(1, live)[0].Identity
	wrong := 0
	for ms := time.Duration(-5000); ms <= 5000; ms++ {
		at := proven.Add(cfg.MaxStaleness + ms*time.Millisecond)
		stale := list.Check(at, &good, revoke.Deny()) != nil
		if stale != (ms > 0) {
			wrong++
		}
	}
	r.page.line("Around MaxStaleness after the cut, millisecond by millisecond: %d of 10,001 checks answered on the wrong side.", wrong)

	// Readers and a writer, while the base is rebuilt again and again.
	runtime.SetBlockProfileRate(1)
	defer runtime.SetBlockProfileRate(0)
	asked := load.Ask(1<<15, live)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				list.Check(revoke.Now(), &asked[i%len(asked)].Identity, revoke.Deny())
			}
		})
	}
	compactions := list.Stats(revoke.Now()).Compactions
	events := live / 5
	add := apply(list)
	for i := range events {
		add(fmt.Sprintf("stall-%d", i))
	}
	settle(list, revoke.Now())
	close(stop)
	wg.Wait()
	compactions = list.Stats(revoke.Now()).Compactions - compactions
	waits, readers, longest, most := waiting()
	r.page.line("%s events applied at %s live revocations, with %d rebuilds and a reader on each core. By the profile of blocking, locks included: %d waits in readers; %d in `Apply`, %s each on average at the place where that is most, %s together where that is.",
		thousands(events), thousands(live), compactions, readers, waits, measure.Nanos(longest), measure.Nanos(most))
	blocked := measure.JudgeExact(longest, 1e6)
	if blocked == measure.Met && most > 1e6 {
		blocked = measure.Noisy // an average hides the longest
	}
	v := measure.Worst(measure.JudgeExact(float64(wrong), 0), measure.JudgeExact(float64(readers), 0), blocked)
	if compactions == 0 {
		v = measure.Unmade
	}
	r.judge("B8", "checks on the wrong side of MaxStaleness; readers that wait; `Apply` blocked", fmt.Sprintf("%d; %d; %s", wrong, readers, measure.Nanos(longest)), "0; 0; 1 ms", v)
	return nil
}

// waiting reads the profile of blocking: how often anybody waited below revoke's Apply,
// for locks too, how often below Check, and for how long at most, on the average of one
// place and in all of one place, which no single wait exceeds. (The profile of mutexes
// names who held them, not who waited.)
func waiting() (applies, readers int64, longest, most float64) {
	n, _ := runtime.BlockProfile(nil)
	records := make([]runtime.BlockProfileRecord, n+100)
	n, ok := runtime.BlockProfile(records)
	if !ok {
		panic("the profile grew while it was read")
	}
	for _, rec := range records[:n] {
		var apply, check bool
		frames := runtime.CallersFrames(rec.Stack())
		for {
			f, more := frames.Next()
			apply = apply || strings.HasSuffix(f.Function, "revoke.(*List).Apply")
			check = check || strings.HasSuffix(f.Function, "revoke.(*List).Check")
			if !more {
				break
			}
		}
		if check {
			readers += rec.Count
		}
		if apply && rec.Count > 0 {
			applies += rec.Count
			sum := float64(rec.Cycles) / cyclesPerNano()
			longest, most = max(longest, sum/float64(rec.Count)), max(most, sum)
		}
	}
	return applies, readers, longest, most
}

// cyclesPerNano is measured: the runtime does not tell.
var cyclesPerNano = sync.OnceValue(func() float64 {
	var mu sync.Mutex
	mu.Lock()
	const pause = 50 * time.Millisecond
	go func() {
		time.Sleep(pause)
		mu.Unlock()
	}()
	began := time.Now()
	mu.Lock()
	took := time.Since(began)
	records := make([]runtime.BlockProfileRecord, 10_000)
	n, _ := runtime.BlockProfile(records)
	for _, rec := range records[:n] {
		frames := runtime.CallersFrames(rec.Stack())
		for {
			f, more := frames.Next()
			if strings.Contains(f.Function, "report.init") || strings.Contains(f.Function, "main.init") {
				return float64(rec.Cycles) / float64(rec.Count) / float64(took.Nanoseconds())
			}
			if !more {
				break
			}
		}
	}
	panic("a wait of our own is not in the profile: so the profile shows nothing")
})
