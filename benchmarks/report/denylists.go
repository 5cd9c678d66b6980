package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bits-and-blooms/bloom/v3"
	"github.com/redis/go-redis/v9"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// A denylist answers for one token, whose seven keys all count.
type denylist struct {
	name    string
	revoked func(a *load.Asked) bool
	add     func(value string)
	slow    bool // asks over a socket
	errs    bool // and refuses good tokens now and then
	close   func()
}

// ours is a replica that a log feeds.
func ours(live int) denylist {
	list := load.FreshList()
	list.ExpectIssuer(load.Issuer)
	load.Revoke(list, live)
	return denylist{name: "hybridtoken List", add: apply(list), revoked: func(a *load.Asked) bool {
		return list.Check(revoke.Now(), &a.Identity, revoke.Deny()) != nil
	}}
}

// What people build: the values of all kinds in one set. None of these knows cutoffs,
// expiry, or how old its knowledge is.

func lockedMap(live int) denylist {
	var mu sync.RWMutex
	m := make(map[string]struct{}, live)
	load.Events(live, func(e revoke.Event) { m[e.Value] = struct{}{} })
	return denylist{name: "map under RWMutex",
		add: func(v string) { mu.Lock(); m[v] = struct{}{}; mu.Unlock() },
		revoked: func(a *load.Asked) bool {
			mu.RLock()
			defer mu.RUnlock()
			for _, k := range a.Keys {
				if _, ok := m[k]; ok {
					return true
				}
			}
			return false
		}}
}

func syncMap(live int) denylist {
	var m sync.Map
	load.Events(live, func(e revoke.Event) { m.Store(e.Value, struct{}{}) })
	return denylist{name: "sync.Map",
		add: func(v string) { m.Store(v, struct{}{}) },
		revoked: func(a *load.Asked) bool {
			for _, k := range a.Keys {
				if _, ok := m.Load(k); ok {
					return true
				}
			}
			return false
		}}
}

// lockedBloom answers "perhaps": it refuses good tokens at its false-positive rate.
func lockedBloom(live int) denylist {
	var mu sync.RWMutex
	f := bloom.NewWithEstimates(uint(live), 1e-4)
	load.Events(live, func(e revoke.Event) { f.AddString(e.Value) })
	return denylist{name: "Bloom filter under RWMutex", errs: true,
		add: func(v string) { mu.Lock(); f.AddString(v); mu.Unlock() },
		revoked: func(a *load.Asked) bool {
			mu.RLock()
			defer mu.RUnlock()
			hit := false
			for _, k := range a.Keys {
				hit = f.TestString(k) || hit
			}
			return hit
		}}
}

// startRedis starts one of our own, which nobody else uses and which keeps nothing.
func startRedis(live int) (denylist, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return denylist{}, fmt.Errorf("redis-server is not installed: Redis is not measured")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return denylist{}, err
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	dir, err := os.MkdirTemp("", "report-redis")
	if err != nil {
		return denylist{}, err
	}
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	if err := cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return denylist{}, err
	}
	client := redis.NewClient(&redis.Options{Addr: addr, PoolSize: 64})
	stop := func() {
		client.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		os.RemoveAll(dir)
	}
	ctx := context.Background()
	for end := time.Now().Add(10 * time.Second); client.Ping(ctx).Err() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			stop()
			return denylist{}, fmt.Errorf("redis-server does not answer")
		}
	}
	pipe := client.Pipeline()
	load.Events(live, func(e revoke.Event) {
		pipe.Set(ctx, "revoked:"+e.Value, 1, time.Hour)
		if pipe.Len() == 10_000 {
			if _, err := pipe.Exec(ctx); err != nil {
				panic(err)
			}
		}
	})
	if _, err := pipe.Exec(ctx); err != nil {
		stop()
		return denylist{}, err
	}
	return denylist{name: "Redis EXISTS, loopback", slow: true, close: stop,
		revoked: func(a *load.Asked) bool {
			keys := make([]string, len(a.Keys))
			for i, k := range a.Keys {
				keys[i] = "revoked:" + k
			}
			n, err := client.Exists(ctx, keys...).Result()
			if err != nil {
				fail("Redis", err)
			}
			return n > 0
		}}, nil
}

// introspection asks a server on this machine for each request (RFC 7662); the server
// looks into a map and checks no signature.
func introspection(live int) (denylist, error) {
	m := make(map[string]struct{}, live)
	load.Events(live, func(e revoke.Event) { m[e.Value] = struct{}{} })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return denylist{}, err
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		active := true
		for _, k := range strings.Split(r.FormValue("token"), " ") {
			if _, ok := m[k]; ok {
				active = false
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"active": active, "iss": load.Issuer, "client_id": "web"})
	})}
	go srv.Serve(l)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	target := "http://" + l.Addr().String()
	return denylist{name: "introspection over HTTP, loopback", slow: true, close: func() { srv.Close() },
		revoked: func(a *load.Asked) bool {
			resp, err := client.PostForm(target, url.Values{"token": {strings.Join(a.Keys[:], " ")}})
			if err != nil {
				fail("introspection", err)
			}
			defer resp.Body.Close()
			var answer struct{ Active bool }
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
				fail("introspection", err)
			}
			return !answer.Active
		}}, nil
}

// asking returns a contender that asks about one token after the other, and counts
// wrong answers.
func (d denylist) asking(all []load.Asked, wrong *atomic.Int64) measure.Contender {
	return measure.Contender{Name: d.name, Work: func(i int) {
		if a := &all[i%len(all)]; d.revoked(a) != a.Revoked {
			wrong.Add(1)
		}
	}}
}

// denylists compares what people build, with one goroutine and many, with and without
// events arriving.
func (r *run) denylists() error {
	live := pick(r, 1_000_000, 100_000)
	r.page.title("Denylists that people build")
	r.page.line("%s live values, one token in a thousand revoked, keys not seen before in the round, seven keys a token. What stands beside ours knows no cutoffs, no expiry and not how old its knowledge is.", thousands(live))
	all := []denylist{ours(live), lockedMap(live), syncMap(live), lockedBloom(live)}
	for _, start := range []func(int) (denylist, error){startRedis, introspection} {
		d, err := start(live)
		if err != nil {
			fmt.Fprintf(os.Stderr, "          %v\n", err)
			r.page.line("*%v.*", err)
			continue
		}
		defer d.close()
		all = append(all, d)
	}
	asked := load.Ask(1<<17, live)
	rows := [][]string{{"denylist", "one goroutine", fmt.Sprintf("%d goroutines, each", 4*runtime.GOMAXPROCS(0)), "one, 20,000 events/s"}}
	cells := make([][]string, len(all))
	many := 4 * runtime.GOMAXPROCS(0)
	wrong := make([]atomic.Int64, len(all))
	for i, d := range all {
		cells[i] = []string{d.name}
	}
	slowest := math.Inf(1) // of those that events came to, in events a second
	// One, then many at once, then with events; slow ones in shorter rounds.
	for mode := range 3 {
		for _, slow := range []bool{false, true} {
			var group []int
			var contenders []measure.Contender
			var stops []func() float64
			var ends []func()
			for i, d := range all {
				if d.slow != slow {
					continue
				}
				c := d.asking(asked, &wrong[i])
				if mode == 1 {
					var end func()
					c, end = together(c, many)
					ends = append(ends, end)
				}
				if mode == 2 && d.add == nil {
					cells[i] = append(cells[i], "–")
					continue
				}
				group, contenders = append(group, i), append(contenders, c)
			}
			if len(group) == 0 {
				continue
			}
			if mode == 2 {
				for _, i := range group {
					stops = append(stops, load.Arriving(20_000/len(group), all[i].add))
				}
			}
			pieces := 2048
			if slow {
				pieces = 32
			}
			if mode == 1 {
				pieces /= 8
			}
			times := measure.Rounds(pick(r, 48, 12), pieces, contenders...)
			for _, stop := range stops {
				slowest = min(slowest, stop())
			}
			for _, end := range ends {
				end()
			}
			for k, i := range group {
				cells[i] = append(cells[i], spread(times[k], measure.Nanos))
			}
		}
	}
	for i, row := range cells {
		if n := wrong[i].Load(); n > 0 && !all[i].errs {
			return fmt.Errorf("%s: %d wrong answers: its times are of other work", all[i].name, n)
		}
		if i == 0 {
			row[0] = "**" + row[0] + "**"
		}
		rows = append(rows, row)
	}
	r.page.table(rows...)
	r.page.line("Many goroutines: the time until each of them has its answer, all having asked at once. With events, the four in memory share 20,000 a second; the slowest got %.0f.", slowest)
	return nil
}

// together has n goroutines do a piece each, until end is called; a piece of the result
// is one round of all.
func together(c measure.Contender, n int) (all measure.Contender, end func()) {
	work := make([]chan int, n)
	var wg sync.WaitGroup
	for i := range work {
		work[i] = make(chan int)
		go func() {
			for x := range work[i] {
				c.Work(x)
				wg.Done()
			}
		}()
	}
	return measure.Contender{Name: c.Name, Work: func(i int) {
			wg.Add(n)
			for k, ch := range work {
				ch <- i*n + k
			}
			wg.Wait()
		}}, func() {
			for _, ch := range work {
				close(ch)
			}
		}
}

// check is budget B3.
func (r *run) check() error {
	sizes := pick(r, []int{10_000, 100_000, 1_000_000, 10_000_000}, []int{10_000, 100_000})
	judged := pick(r, 1_000_000, 100_000)
	r.page.title("`List.Check`")
	r.page.line("All seven kinds live (token, session, subject as 100 : 10 : 1), one token in a thousand revoked, keys not seen before in the round, freshness and the reading of the clocks included; beside seven look-ups in one Bloom filter of bits-and-blooms for the same entries.")
	rows := [][]string{{"entries", "events a second", "`List.Check`", "7 × `bloom.Test`", "×", "allocations"}}
	var times, bare series
	times.name, bare.name = "List.Check", "7 × bloom.Test"
	for _, live := range sizes {
		list := load.FreshList()
		list.ExpectIssuer(load.Issuer)
		load.Revoke(list, live)
		filter := bloom.NewWithEstimates(uint(live), 1e-4)
		load.Events(live, func(e revoke.Event) { filter.AddString(e.Value) })
		asked := load.Ask(1<<17, live)
		var hits, maybe int
		check := measure.Contender{Name: "Check", Work: func(i int) {
			if list.Check(revoke.Now(), &asked[i%len(asked)].Identity, revoke.Deny()) != nil {
				hits++
			}
		}}
		test := measure.Contender{Name: "Test", Work: func(i int) {
			for _, k := range asked[i%len(asked)].Keys {
				if filter.TestString(k) {
					maybe++
				}
			}
		}}
		good := load.Ask(64, live)
		n := 0
		allocs := testing.AllocsPerRun(1000, func() { n++; list.Check(revoke.Now(), &good[n%len(good)].Identity, revoke.Deny()) })
		for _, perSecond := range []int{0, 20_000} {
			if perSecond > 0 && live != judged {
				continue
			}
			stop := func() float64 { return 0 }
			if perSecond > 0 {
				stop = load.Arriving(perSecond, apply(list))
			}
			t := measure.Rounds(pick(r, 128, 24), 1<<11, test, check)
			events := stop()
			ratio := t[1].Over(t[0])
			rows = append(rows, []string{thousands(live), fmt.Sprintf("%.0f", events), spread(t[1], measure.Nanos), spread(t[0], measure.Nanos), spread(ratio, decimal), allocations(allocs, perSecond)})
			if perSecond == 0 {
				times.x, times.y = append(times.x, float64(live)), append(times.y, t[1].Median())
				bare.x, bare.y = append(bare.x, float64(live)), append(bare.y, t[0].Median())
			}
			if live != judged {
				continue
			}
			if perSecond == 0 {
				r.judge("B3", fmt.Sprintf("`List.Check`, %s entries, over 7 × `bloom.Test`", thousands(live)), fmt.Sprintf("%.2f×, %.0f allocations", ratio.Median(), allocs), "0.85×, 0 allocations", measure.Worst(measure.Judge(ratio, .85), measure.JudgeExact(allocs, 0)))
			} else {
				r.judge("B3", "the same while 20,000 events/s are applied", fmt.Sprintf("%.2f×", ratio.Median()), "1.2×", beside(measure.Judge(ratio, 1.2), events, perSecond))
			}
		}
		if hits == 0 || maybe < hits/2 {
			return fmt.Errorf("%d revoked tokens found, %d by the filter: the comparison is wrong", hits, maybe)
		}
	}
	r.page.table(rows...)
	return r.lines("check.svg", "Time of a check", "live revocations", "ns", true, times, bare)
}

// requests compares whole requests by approach.
func (r *run) requests() error {
	live := pick(r, 1_000_000, 100_000)
	r.page.title("Cost of a request, by approach")
	r.page.line("EdDSA, %s live revocations: what a service pays to know that the token of a request is good and not revoked, in one goroutine. Redis and introspection are on this machine, unencrypted, and the introspecting server checks no signature: a network, TLS and that check come on top.", thousands(live))
	p := load.NewParty(token.EdDSA)
	raws := p.Tokens(1024)
	list := load.FreshList()
	load.Revoke(list, live)
	first, again := p.Verifier(list, 0), p.Verifier(list, 64<<20)
	ctx := context.Background()
	for _, raw := range raws {
		load.Must(again.Verify(ctx, raw))
	}
	asked := load.Ask(1024, live)
	gojwt, parse := golangJWT(p), jwxParse(p)
	locked := lockedMap(live)
	filter := lockedBloom(live)
	all := []measure.Contender{
		worker("hybridtoken, seen before", raws, func(raw string) error { _, err := again.Verify(ctx, raw); return err }),
		worker("hybridtoken, first time", raws, func(raw string) error { _, err := first.Verify(ctx, raw); return err }),
		worker("golang-jwt, no revocation", raws, gojwt),
		worker("jwx, no revocation", raws, parse),
	}
	with := func(name string, d denylist) measure.Contender {
		return measure.Contender{Name: name, Work: func(i int) {
			if err := gojwt(raws[i%len(raws)]); err != nil {
				fail(name, err)
			}
			d.revoked(&asked[i%len(asked)])
		}}
	}
	all = append(all, with("golang-jwt + map under RWMutex", locked), with("golang-jwt + Bloom under RWMutex", filter))
	if d, err := startRedis(live); err != nil {
		fmt.Fprintf(os.Stderr, "          %v\n", err)
		r.page.line("*%v.*", err)
	} else {
		defer d.close()
		all = append(all, with("golang-jwt + Redis EXISTS", d))
	}
	d, err := introspection(live)
	if err != nil {
		return err
	}
	defer d.close()
	all = append(all, measure.Contender{Name: "introspection over HTTP", Work: func(i int) { d.revoked(&asked[i%len(asked)]) }})
	times := measure.Rounds(pick(r, 64, 12), 32, all...)
	rows := [][]string{{"approach", "time"}}
	var chart []bar
	for i, c := range all {
		name := c.Name
		if i < 2 {
			name = "**" + name + "**"
		}
		rows = append(rows, []string{name, spread(times[i], measure.Nanos)})
		chart = append(chart, bar{c.Name, times[i].Median() / 1e3, i < 2})
	}
	r.page.table(rows...)
	return r.bars("requests.svg", "Cost of a request", "µs, logarithmic", chart)
}
