package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// An account is what is told of a run.
type account struct {
	cfg          config
	began, ended instant
	print        func(format string, v ...any)
	finished     error

	mu     sync.Mutex
	faults []fault // guarded by mu

	judged *judge
	gaps   []gap
}

// injure does one fault, waits until it has healed, and reports whether it did.
func (a *account) injure(ctx context.Context, c *cluster, i injury, rng *rand.Rand) bool {
	f := fault{Kind: i.kind, From: c.clock.now()}
	target, err := i.do(ctx, c, rng)
	f.Target, f.Undone = target, c.clock.now()
	var names []string
	if i.member {
		names = c.borrowed()
		defer c.release()
	}
	if err == nil {
		patience := c.cfg.patience
		if i.loss {
			patience *= 4
			err = sleep(ctx, time.Second) // before the publishers notice, nothing seems wrong
		}
		if err == nil {
			err = c.healed(ctx, f.Undone, patience, names...)
		}
	}
	f.Healing = c.clock.now().sub(f.Undone)
	if ctx.Err() != nil && err != nil {
		return false
	}
	if err != nil {
		f.Err = err.Error()
		a.print("%s (%s): %v", f.Kind, f.Target, err)
	} else {
		a.print("%s (%s): lasted %.1f s, healed in %.1f s", f.Kind, f.Target, f.Undone.sub(f.From).Seconds(), f.Healing.Seconds())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, f)
	return err == nil
}

// progress prints how things stand, until the time is up.
func (a *account) progress(ctx context.Context, c *cluster) {
	for ctx.Err() == nil && c.clock.now().sub(a.began) < a.cfg.length {
		_ = sleep(ctx, min(10*time.Second, a.cfg.length-c.clock.now().sub(a.began)+time.Millisecond))
		c.mu.Lock()
		var acked, checks uint64
		fresh := 0
		for _, p := range c.publishers {
			acked += p.status().Acked
		}
		for _, p := range c.verifiers {
			s := p.status()
			checks += s.Checks
			if s.State == revoke.StateFresh.String() {
				fresh++
			}
		}
		c.mu.Unlock()
		a.print("%d acknowledged and %d checked by the processes that live; %d of %d verifiers fresh", acked, checks, fresh, a.cfg.verifiers)
	}
}

// verdict returns an error if the run shows less than it should.
func (a *account) verdict() error {
	var errs []error
	if n := a.judged.sum.Violations; n > 0 {
		errs = append(errs, fmt.Errorf("%d violations", n))
	}
	acked, _ := a.judged.acked()
	want := int(float64(a.cfg.rate)*a.ended.sub(a.began).Seconds()) / 4
	if acked < want {
		errs = append(errs, fmt.Errorf("%d events acknowledged, fewer than %d", acked, want))
	}
	if owed := a.judged.sum.Owed; owed < acked*a.cfg.verifiers/4 {
		errs = append(errs, fmt.Errorf("only %d checks put invariant 1 to the test, for %d events and %d verifiers", owed, acked, a.cfg.verifiers))
	}
	for _, f := range a.faults {
		if f.Err != "" {
			errs = append(errs, fmt.Errorf("%s: %s", f.Kind, f.Err))
		}
	}
	if len(a.faults) == 0 {
		errs = append(errs, errors.New("no fault was done"))
	}
	for _, kind := range a.cfg.forks() {
		if !slices.ContainsFunc(a.judged.forks, func(f forkTally) bool { return f.Kind == kind }) {
			errs = append(errs, fmt.Errorf("%s: none was done", kind))
		}
	}
	for i := range a.judged.forks {
		if err := a.judged.forks[i].missing(); err != nil {
			errs = append(errs, err)
		}
	}
	if a.finished != nil {
		errs = append(errs, a.finished)
	}
	return errors.Join(errs...)
}

// perSecond returns how many events were acknowledged in each second of the run, and
// in those seconds that no fault of the servers touched.
func (a *account) perSecond() (all, calm []int) {
	all = make([]int, int(a.ended.sub(a.began)/time.Second))
	for _, t := range a.judged.tellers {
		for _, f := range t.facts {
			if i := int(f.acked.sub(a.began) / time.Second); f.acked >= a.began && i < len(all) {
				all[i]++
			}
		}
	}
	for i, n := range all {
		from := a.began + instant(i)*instant(time.Second)
		to := from + instant(time.Second)
		if !slices.ContainsFunc(a.faults, func(f fault) bool { return f.From < to && f.Undone+instant(f.Healing) > from }) {
			calm = append(calm, n)
		}
	}
	slices.Sort(all)
	slices.Sort(calm)
	return all, calm
}

// during names the faults that were going on, or had just been undone, at an instant.
func (a *account) during(at instant) string {
	var names []string
	for _, f := range a.faults {
		if at >= f.From && at <= f.Undone+instant(f.Healing)+instant(time.Second) {
			names = append(names, f.Kind)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " + ")
}

func (a *account) markdown() string {
	var b strings.Builder
	p := func(format string, v ...any) { fmt.Fprintf(&b, format+"\n", v...) }
	s := &a.judged.sum
	acked, failures := a.judged.acked()
	seconds := a.ended.sub(a.began).Seconds()
	all, calm := a.perSecond()

	p("# Account of a run of internal/e2e/chaos\n")
	p("Three servers (one stream and a mirror of it in another account, three replicas each on file, sync always), %d publishing and %d verifying processes, of which %d follow the mirror, on one machine with %d shared cores (%s). "+
		"Seed %d, %.0f s, MaxStaleness %s, policy %s. Instants are of %s.\n",
		publishers, a.cfg.verifiers, a.cfg.mirrored, runtime.NumCPU(), runtime.GOOS, a.cfg.seed, seconds, a.cfg.maxStaleness, policy, clockName)
	p("| | |")
	p("| --- | ---: |")
	p("| violations | %d |", s.Violations)
	p("| events acknowledged | %d |", acked)
	p("| acknowledged a second, asked for | %d |", a.cfg.rate)
	p("| … mean of the whole run, outages included | %.0f |", float64(acked)/max(seconds, 1))
	p("| … median second of the run | %d |", percentile(all, 50))
	if len(calm) > 0 {
		p("| … median second without a fault (%d of %d) | %d |", len(calm), len(all), percentile(calm, 50))
	}
	p("| failures that Publish reported, each published again | %d |", failures)
	p("| checks | %d |", s.Checks)
	p("| … a second | %.0f |", float64(s.Checks)/max(seconds, 1))
	p("| … of signed tokens, by token.Verifier | %d |", s.Whole)
	p("| … by a clock an hour off | %d |", s.Skewed)
	p("| … that had to refuse, since P(R) ≥ A(e) | %d |", s.Owed)
	p("| … that had to refuse, since the event, lost by the stream, was republished | %d |", s.Again)
	p("| … of tokens that no event revokes, accepted | %d |", s.Spared)
	p("| … excused, because the stream had lost the event and it was not yet, or never, republished | %d |", s.Excused)
	p("| answers: accepted, revoked, stale | %d, %d, %d |", s.Accepted, s.Revoked, s.Stale)
	if len(s.First) > 0 {
		p("\n## Violations\n")
		for _, v := range s.First {
			p("- %s", v)
		}
	}

	p("\n## Faults\n")
	p("A server's fault has healed when all verifiers (but one with a fault of its own) are proven beyond its end and all publishers have had an acknowledgement since and republished what they knew; a member's, when that member is.\n")
	p("| fault | times | lasted, s | healed in, s: median | worst |")
	p("| --- | ---: | ---: | ---: | ---: |")
	byKind := map[string][]fault{}
	for _, f := range a.faults {
		byKind[f.Kind] = append(byKind[f.Kind], f)
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		var lasted, healing []time.Duration
		note := ""
		for _, f := range byKind[kind] {
			lasted, healing = append(lasted, f.Undone.sub(f.From)), append(healing, f.Healing)
			if f.Err != "" {
				note = ": " + f.Err
			}
		}
		slices.Sort(lasted)
		slices.Sort(healing)
		p("| %s%s | %d | %.1f to %.1f | %.1f | %.1f |", kind, note, len(lasted), lasted[0].Seconds(), lasted[len(lasted)-1].Seconds(),
			percentile(healing, 50).Seconds(), healing[len(healing)-1].Seconds())
	}

	if len(a.judged.forks) > 0 {
		p("\n## Forks\n")
		p("The stream was made anew or restored under a mirror that held more, so that the mirror never takes what was acknowledged at or below its last sequence. " +
			"Checks are those of exactly these events by the verifiers behind the mirror, until it was made anew; late ones are by a verifier that started after the fork. " +
			"Times are those of the last verifier: from when there was a stream again until it told of a fork (until the mirror takes up its origin it hears nothing), and from when the mirror was made anew until it was fresh.\n")
		p("| fork | events acknowledged at or below the mirror's last | checks of these | accepted | revoked | stale | late ones | fresh before | reason `fork` after, s | mirror made anew after, s | fresh again after, s |")
		p("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
		for _, f := range a.judged.forks {
			remade := "never"
			if f.Remade != 0 {
				remade = fmt.Sprintf("%.1f", f.Remade.sub(f.To).Seconds())
			}
			p("| %s | %d | %d | %d | %d | %d | %d | %d of %d | %.1f | %s | %.1f |", f.Kind, f.Hidden, f.Checks, f.Accepted, f.Refused, f.Stale, f.Late,
				f.Fresh, a.cfg.mirrored, f.Told.Seconds(), remade, f.Again.Seconds())
		}
	}

	p("\n## Stale periods\n")
	p("As the verifiers' checks saw them, from the first that was not fresh to the next that was; a verifier's first seconds are one (a restart). " +
		"The time before, in which age grows to MaxStaleness, is not stale.\n")
	p("| going on when it began | last reason | periods | median, s | p90 | longest |")
	p("| --- | --- | ---: | ---: | ---: | ---: |")
	type cause struct{ fault, reason string }
	byCause := map[cause][]time.Duration{}
	for _, g := range a.gaps {
		if g.From < a.began {
			continue // the start of the run
		}
		k := cause{a.during(g.From), g.Reason.String()}
		if g.Unfinished {
			k.reason += " (until its end)"
		}
		byCause[k] = append(byCause[k], g.To.sub(g.From))
	}
	for _, k := range slices.SortedFunc(maps.Keys(byCause), func(x, y cause) int {
		return cmp.Or(cmp.Compare(x.fault, y.fault), cmp.Compare(x.reason, y.reason))
	}) {
		list := byCause[k]
		slices.Sort(list)
		p("| %s | %s | %d | %.2f | %.2f | %.2f |", k.fault, k.reason, len(list), percentile(list, 50).Seconds(), percentile(list, 90).Seconds(), list[len(list)-1].Seconds())
	}
	if len(byCause) == 0 {
		p("| – | – | 0 | | | |")
	}

	p("\n## In order\n")
	p("| at, s | fault | whom | lasted, s | healed in, s |")
	p("| ---: | --- | --- | ---: | ---: |")
	slices.SortFunc(a.faults, func(x, y fault) int { return cmp.Compare(x.From, y.From) })
	for _, f := range a.faults {
		healed := fmt.Sprintf("%.1f", f.Healing.Seconds())
		if f.Err != "" {
			healed = "**" + f.Err + "**"
		}
		p("| %.1f | %s | %s | %.1f | %s |", f.From.sub(a.began).Seconds(), f.Kind, f.Target, f.Undone.sub(f.From).Seconds(), healed)
	}
	if err := a.verdict(); err != nil {
		p("\n**Not as it should be:** %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return b.String()
}

// percentile returns the value below which that share of a sorted list lies.
func percentile[T any](sorted []T, percent int) T {
	var zero T
	if len(sorted) == 0 {
		return zero
	}
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}
