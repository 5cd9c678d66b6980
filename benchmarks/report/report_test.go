package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
	"github.com/hybridtoken/hybridtoken/token"
)

func TestParseBench(t *testing.T) {
	got := parseBench("goos: linux\nBenchmarkFalsePositives/entries=1000/keys=e-mail-2         \t       1\t       110.0 measured-ppm\t       100.0 promised-ppm\nBenchmarkX-16 \t 1\t 2.5 ns/op\nok  \tx\t1s\nBenchmarkless\n")
	if len(got) != 2 || got[0].params["entries"] != "1000" || got[0].params["keys"] != "e-mail" || got[0].figures["measured-ppm"] != 110 ||
		got[0].figures["promised-ppm"] != 100 || got[1].figures["ns/op"] != 2.5 {
		t.Errorf("%+v", got)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

// A missed budget is exit code 1 and stands in the report; what could not be measured
// stands there as that.
func TestVerdicts(t *testing.T) {
	defer func(old []struct {
		name, budgets string
		measure       func(*run) error
	}) {
		sections = old
	}(sections)
	r := &run{dir: t.TempDir(), quick: true}
	sections = sections[:0:0]
	add := func(name, budgets string, f func(*run) error) {
		sections = append(sections, struct {
			name, budgets string
			measure       func(*run) error
		}{name, budgets, f})
	}
	add("good", "B1", func(r *run) error { r.judge("B1", "speed", "1×", "2×", measure.Met); return nil })
	add("broken", "B2", func(*run) error { return errors.New("no such thing") })
	add("panics", "B3", func(*run) error { load.Must(0, errors.New("not set up")); return nil })
	missed, err := r.do("")
	if err != nil || missed {
		t.Fatalf("missed %t, %v", missed, err)
	}
	data, err := os.ReadFile(filepath.Join(r.dir, "REPORT.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"A quick run", "| B1 | speed | 1× | 2× | **met** |", "| B2 | broken | – | – | **not measured** |", "no such thing", "| B3 | panics | – | – | **not measured** |", "not set up", "cores"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the report does not hold %q:\n%s", want, data)
		}
	}
	host, _ := os.Hostname()
	if host != "" && strings.Contains(string(data), host) || strings.Contains(string(data), r.dir) {
		t.Error("the report names this machine or its directories")
	}
	add("bad", "B4", func(r *run) error { r.judge("B4", "memory", "3×", "2×", measure.Missed); return nil })
	r = &run{dir: t.TempDir()}
	if missed, err := r.do(""); !missed || err != nil {
		t.Errorf("missed %t, %v", missed, err)
	}
	r = &run{dir: t.TempDir()}
	if missed, err := r.do("good"); missed || err != nil || len(r.budget) != 1 {
		t.Errorf("a section alone: missed %t, %v", missed, err)
	}
	if data, err = os.ReadFile(filepath.Join(r.dir, "REPORT.md")); err != nil || !strings.Contains(string(data), "Left out of this run: broken B2, panics B3, bad B4.") {
		t.Errorf("the report of a section alone does not say what it lacks: %v", err)
	}
	if _, err := (&run{dir: t.TempDir()}).do("unknown"); err == nil {
		t.Error("an unknown section is no error")
	}
}

// A budget that holds beside events is not met by the want of events.
func TestBeside(t *testing.T) {
	for _, c := range []struct {
		v       measure.Verdict
		reached float64
		wanted  int
		want    measure.Verdict
	}{
		{measure.Met, 0, 0, measure.Met}, {measure.Met, 19_900, 20_000, measure.Met}, {measure.Met, 12_000, 20_000, measure.Noisy}, {measure.Missed, 12_000, 20_000, measure.Missed},
	} {
		if v := beside(c.v, c.reached, c.wanted); v != c.want {
			t.Errorf("%s with %.0f of %d events a second: %s", c.v, c.reached, c.wanted, v)
		}
	}
}

func TestPlots(t *testing.T) {
	r := &run{dir: t.TempDir()}
	if err := r.bars("bars.svg", "Bars <&>", "µs", []bar{{"a", .4, true}, {"b", 90, false}, {"c", 2500, false}}); err != nil {
		t.Fatal(err)
	}
	if err := r.lines("lines.svg", "Lines", "x", "y", true, series{"a", []float64{1e3, 1e6}, []float64{1, 2}}, series{"b", []float64{1e3, 1e6}, []float64{3, 1}}); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"bars.svg", "lines.svg"} {
		f, err := os.Open(filepath.Join(r.dir, plotDir, file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		elements := 0
		for d := xml.NewDecoder(f); ; elements++ {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
		if elements < 20 {
			t.Errorf("%s holds %d elements", file, elements)
		}
		if !strings.Contains(r.page.body.String(), "]("+plotDir+"/"+file+")") {
			t.Errorf("the page does not show %s", file)
		}
	}
}

// What is compared does the work that it says: each accepts the good token, and refuses
// one whose signature is another's.
func TestContenders(t *testing.T) {
	for _, alg := range []token.Algorithm{token.EdDSA, token.ES256, token.RS256} {
		p, other := load.NewParty(alg), load.NewParty(alg)
		good, bad := p.Tokens(1)[0], other.Tokens(1)[0]
		for name, verify := range map[string]func(string) error{"jwx": jwxParse(p), "golang-jwt": golangJWT(p), "go-jose": goJOSE(p)} {
			if err := verify(good); err != nil {
				t.Errorf("%s, %s: %v", name, alg, err)
			}
			if verify(bad) == nil {
				t.Errorf("%s, %s: accepts another's token", name, alg)
			}
		}
		if s := p.Signatures([]string{good}); !p.Bare(&s[0]) {
			t.Errorf("bare, %s: refuses", alg)
		}
		if s := p.Signatures([]string{bad}); p.Bare(&s[0]) {
			t.Errorf("bare, %s: accepts another's token", alg)
		}
	}
}

// Denylists find what they hold, and nothing else; a Bloom filter may err.
func TestDenylists(t *testing.T) {
	const live = 20_000
	asked := load.Ask(5000, live)
	all := []denylist{ours(live), lockedMap(live), syncMap(live), lockedBloom(live)}
	d, err := introspection(live)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	all = append(all, d)
	finds := func(t *testing.T, d denylist) {
		hits := 0
		var wrong atomic.Int64
		c := d.asking(asked, &wrong)
		for i := range asked {
			if c.Work(i); d.revoked(&asked[i]) {
				hits++
			}
		}
		if n := wrong.Load(); n > 0 && !d.errs {
			t.Errorf("%s: %d wrong answers", d.name, n)
		}
		if hits < 5 || hits > 15 || hits != 5 && !strings.HasPrefix(d.name, "Bloom") {
			t.Errorf("%s: %d of 5,000 revoked, want 5", d.name, hits)
		}
	}
	for _, d := range all {
		finds(t, d)
	}
	t.Run("Redis", func(t *testing.T) {
		d, err := startRedis(live)
		if err != nil { // something to compare with, and nothing that the project or its gate needs
			t.Skip(err)
		}
		defer d.close()
		finds(t, d)
	})
	var wrong atomic.Int64
	never := denylist{revoked: func(*load.Asked) bool { return false }}.asking(asked, &wrong)
	for i := range asked {
		never.Work(i)
	}
	if wrong.Load() != 5 {
		t.Errorf("a list that never refuses has %d wrong answers, want 5", wrong.Load())
	}
	all[0].add(asked[0].Keys[0])
	if !all[0].revoked(&asked[0]) {
		t.Error("what was added is not found")
	}
}

func TestWaiting(t *testing.T) {
	if n := cyclesPerNanoOf(t); n < .01 || n > 20 || math.IsNaN(n) {
		t.Errorf("%v cycles in a nanosecond", n)
	}
}

func cyclesPerNanoOf(t *testing.T) float64 {
	runtime.SetBlockProfileRate(1)
	t.Cleanup(func() { runtime.SetBlockProfileRate(0) })
	return cyclesPerNano()
}

func TestJoinRounds(t *testing.T) {
	printed := []byte("64 joining\nround 1: bare 1.5s, followers 3s (first 1s); more\n\tround 9: no\nround 2: bare 800ms, followers 1m0s (first 2s)\nmedian: bare 1s\n")
	bare, ours, err := joinRounds(printed, 2)
	if err != nil || !slices.Equal(bare, measure.Samples{1.5, .8}) || !slices.Equal(ours, measure.Samples{3, 60}) {
		t.Errorf("%v, %v, %v", bare, ours, err)
	}
	for _, bad := range []string{"", "round 1: bare 1s, followers 2s (first)\n", "round 1: bare x, followers 2s (first)\nround 2: bare 1s, followers 2s (first)\n"} {
		if _, _, err := joinRounds([]byte(bad), 2); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

func TestMedians(t *testing.T) {
	if got := medians(measure.Samples{1, 9, 2, 4, 4, 7}, 2); !slices.Equal(got, measure.Samples{2, 4}) {
		t.Errorf("%v", got)
	}
}
