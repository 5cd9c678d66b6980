package main

import (
	"fmt"
	"testing"

	"github.com/bits-and-blooms/bloom/v3"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
	"github.com/hybridtoken/hybridtoken/revoke"
)

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
