package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
)

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
