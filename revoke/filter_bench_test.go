package revoke

import (
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// shapes of identifiers, as issuers make them.
var shapes = []struct {
	name  string
	value func(i int) string
}{
	{"random", func(int) string { return rand.Text() }},
	{"sequential", strconv.Itoa},
	{"uuid", func(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", i>>16, i) }},
	{"e-mail", func(i int) string { return fmt.Sprintf("user.%d@example.com", i) }},
}

// BenchmarkFalsePositives measures how often a filter sends a key that was not added to
// the table, beside the rate that it was made for. HYBRIDTOKEN_FILTER is the largest
// number of entries, a million unless given.
func BenchmarkFalsePositives(b *testing.B) {
	most := 1_000_000
	if v := os.Getenv("HYBRIDTOKEN_FILTER"); v != "" {
		var err error
		if most, err = strconv.Atoi(v); err != nil {
			b.Fatal(err)
		}
	}
	const promised, probes = 1e-4, 5_000_000
	for n := 1000; n <= most; n *= 10 {
		for _, shape := range shapes {
			b.Run(fmt.Sprintf("entries=%d/keys=%s", n, shape.name), func(b *testing.B) {
				h := newHasher()
				f := newFilter(n, newDensity(promised))
				for i := range n {
					f.add(h.digest(KindToken, "https://auth.example.com", shape.value(i)))
				}
				hits := 0
				for i := range probes {
					if f.mayContain(h.digest(KindToken, "https://auth.example.com", shape.value(n+i))) {
						hits++
					}
				}
				for b.Loop() {
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(promised*1e6, "promised-ppm")
				b.ReportMetric(float64(hits)/probes*1e6, "measured-ppm")
				b.ReportMetric(f.rate()*1e6, "reported-ppm")
			})
		}
	}
}

// BenchmarkFilterGain compares a check of seven keys that misses, hashes ready, with the
// filters and straight in the exact table, by turns.
func BenchmarkFilterGain(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			l, err := NewList(Config{Local: true})
			if err != nil {
				b.Fatal(err)
			}
			now := Now()
			past := now.Time().Add(-time.Hour)
			add := func(e Event) {
				e.Issuer = "https://auth.example.com"
				if err := l.Apply(now, e); err != nil {
					b.Fatal(err)
				}
			}
			for i := range n {
				switch v := fmt.Sprintf("%032x", i); {
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
			base := l.view.Load().base

			const asked = 1 << 16
			ids := make([][kinds]digest, asked)
			for i := range ids {
				for k := KindToken; k <= KindIssuer; k++ {
					ids[i][k] = l.hasher.digest(k, "https://auth.example.com", fmt.Sprintf("%s-%032x", k, n+i))
				}
			}
			live := clampSeconds(l.effective(now))
			iat := now.Time().UnixMilli()
			with := func(i int) (hit bool) {
				for k := KindToken; k <= KindIssuer; k++ {
					hit = hit || base.revokes(k, ids[i%asked][k], live, iat, digest{}, false)
				}
				return hit
			}
			without := func(i int) (hit bool) {
				for k := KindToken; k <= KindIssuer; k++ {
					hit = hit || base.tables[k].revokes(ids[i%asked][k], live, iat, digest{}, false)
				}
				return hit
			}
			var times [2][]float64
			const pieces = 4096
			from := 0
			for round := range 66 {
				for c := range 2 {
					c = (c + round) % 2
					start := time.Now()
					for i := range pieces {
						if c == 0 && with(from+i) || c == 1 && without(from+i) {
							b.Fatal("a key that was not added is found")
						}
					}
					if round > 1 {
						times[c] = append(times[c], float64(time.Since(start))/pieces)
					}
				}
				from += pieces
			}
			for b.Loop() {
			}
			b.ReportMetric(0, "ns/op")
			for c, name := range []string{"filter-ns", "table-ns"} {
				slices.Sort(times[c])
				b.ReportMetric(times[c][len(times[c])/2], name)
			}
			b.ReportMetric(float64(base.filterBytes())/float64(n), "filter-B/entry")
		})
	}
}
