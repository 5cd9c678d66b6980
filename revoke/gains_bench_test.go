package revoke

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// BenchmarkGains compares a check with and without what makes it fast, by turns, on one of
// a million live revocations and of a thousand. docs/how-it-works.md tells what that is to
// a request.
func BenchmarkGains(b *testing.B) {
	const issuer = "https://auth.example.com"
	text := func(i int) string { return fmt.Sprintf("%032x", i) }
	filled := func(b *testing.B, n int) (*List, Instant) {
		l, err := NewList(Config{Local: true})
		if err != nil {
			b.Fatal(err)
		}
		l.ExpectIssuer(issuer)
		now := Now()
		past := now.Time().Add(-time.Hour)
		add := func(e Event) {
			e.Issuer = issuer
			if err := l.Apply(now, e); err != nil {
				b.Fatal(err)
			}
		}
		for i := range n {
			switch v := text(i); {
			case i%111 == 0:
				add(Event{Kind: KindSubject, Value: v, Before: past})
			case i%11 == 0:
				add(Event{Kind: KindSession, Value: v})
			default:
				add(Event{Kind: KindToken, Value: v})
			}
		}
		for i := range 10 {
			add(Event{Kind: KindClient, Value: fmt.Sprint("client", i), Before: past})
			add(Event{Kind: KindTenant, Value: fmt.Sprint("tenant", i), Before: past})
			add(Event{Kind: KindKey, Value: fmt.Sprintf("%042dA", i)})
		}
		add(Event{Kind: KindIssuer, Before: past})
		l.Compact(now)
		for i := range l.view.Load().memtables[0].capacity() * 9 / 10 { // not compacted yet
			add(Event{Kind: KindToken, Value: text(n + i)})
		}
		return l, now
	}
	ask := func(i int) Identity {
		return Identity{Issuer: issuer, Token: text(1<<24 + i), Session: text(2<<24 + i), Subject: text(3<<24 + i), Client: "web", Tenant: "acme", Key: fmt.Sprintf("%042dB", i%3), IssuedAt: time.Now()}
	}
	const asked = 1 << 16
	for _, n := range []int{1000, 1_000_000} {
		l, now := filled(b, n)
		ids := slices.Collect(func(yield func(Identity) bool) {
			for i := range asked {
				if !yield(ask(i)) {
					return
				}
			}
		})
		check := func(l *List) func(int) {
			return func(i int) {
				if err := l.Check(now, &ids[i%asked], Deny()); err != nil {
					b.Fatal(err)
				}
			}
		}
		for name, spoil := range map[string]func(*List){
			"prefilters": func(l *List) {
				for k := range l.prefilters {
					l.prefilters[k].addAll()
				}
			},
			"marks of the memtable": func(l *List) {
				for _, m := range l.view.Load().memtables {
					for i := range m.marks {
						m.marks[i].Store(math.MaxUint64)
					}
				}
			},
			"scopes of the issuer": func(l *List) { l.ForgetIssuer(issuer) },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				other, _ := filled(b, n)
				spoil(other)
				byTurns(b, check(l), check(other))
			})
		}
		b.Run(fmt.Sprintf("versions of prepared/%d", n), func(b *testing.B) {
			all := slices.Collect(func(yield func(*Prepared) bool) {
				for i := range 4096 {
					if !yield(l.Prepare(&ids[i])) {
						return
					}
				}
			})
			look := func(forget bool) func(int) {
				return func(i int) {
					p := all[i%len(all)]
					if forget {
						p.Forget()
					}
					if err := p.Check(now, Deny()); err != nil {
						b.Fatal(err)
					}
				}
			}
			byTurns(b, look(false), look(true))
		})
	}
}

// byTurns runs pieces of work in two ways, some thousand at a time, and reports what one
// takes, and how many times as long without as with.
func byTurns(b *testing.B, with, without func(i int)) {
	const pieces = 2048
	run := func(work func(int), from int) float64 {
		start := time.Now()
		for i := range pieces {
			work(from + i)
		}
		return float64(time.Since(start)) / pieces
	}
	var times [3][]float64
	for from := 0; b.Loop(); from += pieces {
		x, y := run(with, from), run(without, from)
		times[0], times[1], times[2] = append(times[0], x), append(times[1], y), append(times[2], y/x)
	}
	b.ReportMetric(0, "ns/op")
	for i, unit := range []string{"with-ns", "without-ns", "without/with"} {
		slices.Sort(times[i])
		b.ReportMetric(times[i][len(times[i])/2], unit)
	}
}
