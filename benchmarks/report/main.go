// Command report measures hybridtoken beside what one would use instead, on this
// machine, and holds it to the project's budgets:
//
//	go run ./benchmarks/report          # some seven minutes
//	go run ./benchmarks/report -quick   # two minutes; smaller, noisier
//
// It writes REPORT.md and plots/ into the directory that -o names, and says where. Ways to do the same work take turns, so that a busy
// neighbour slows them alike; ratios say more than times. It ends with a line for each
// budget and with exit code 1 if one is missed. "Noisy" means that the quartiles lie on
// both sides of the budget, or that there were too few rounds to tell. What could not be
// measured says so, and is not missed.
//
// Redis is measured if redis-server is installed; the program starts and ends it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
)

// A run is one run of the program.
type run struct {
	quick  bool
	dir    string
	began  time.Time
	page   page
	budget []budget
}

// A budget is one line of the verdict.
type budget struct {
	name, what, measured, limit string
	verdict                     measure.Verdict
}

// sections, in the order of the report. Each says what it found, or returns an error
// that is reported in its place.
var sections = []struct {
	name, budgets string
	measure       func(*run) error
}{
	{"verify", "B1", (*run).verify},
	{"cached", "B2, B13", (*run).cached},
	{"cores", "", (*run).cores},
	{"requests", "", (*run).requests},
	{"check", "B3", (*run).check},
	{"denylists", "", (*run).denylists},
	{"filter", "", (*run).filter},
	{"memory", "B4", (*run).memory},
	{"replay", "B5", (*run).replay},
	{"propagation", "B6", (*run).propagation},
	{"joining", "B7", (*run).joining},
	{"publishing", "B10", (*run).publishing},
	{"stalls", "B8", (*run).stalls},
}

func main() {
	r := new(run)
	flag.BoolVar(&r.quick, "quick", false, "small sizes and few rounds: two minutes")
	flag.StringVar(&r.dir, "o", "", "directory that the report is written to (a new temporary one)")
	only := flag.String("only", "", "comma-separated names of sections: "+names())
	flag.Parse()
	missed, err := r.do(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	if missed {
		os.Exit(1)
	}
}

func names() string {
	var list []string
	for _, s := range sections {
		list = append(list, s.name)
	}
	return strings.Join(list, ",")
}

func (r *run) do(only string) (missed bool, err error) {
	var want []string
	if only != "" {
		want = strings.Split(only, ",")
		for _, name := range want {
			if !slices.Contains(strings.Split(names(), ","), name) {
				return false, fmt.Errorf("no section %q; there are %s", name, names())
			}
		}
	}
	if r.dir == "" {
		r.dir, err = os.MkdirTemp("", "hybridtoken-report-")
	} else {
		err = os.MkdirAll(r.dir, 0o755)
	}
	if err != nil {
		return false, err
	}
	if r.began.IsZero() {
		r.began = time.Now()
	}
	var left []string
	for _, s := range sections {
		if want != nil && !slices.Contains(want, s.name) {
			left = append(left, strings.TrimSpace(s.name+" "+s.budgets))
		}
	}
	r.page.machine(r.quick, left)
	for _, s := range sections {
		if want != nil && !slices.Contains(want, s.name) {
			continue
		}
		began := time.Now()
		fmt.Fprintf(os.Stderr, "%6.1f s  %s…\n", time.Since(r.began).Seconds(), s.name)
		before := len(r.budget)
		if err := r.section(s.measure); err != nil {
			fmt.Fprintf(os.Stderr, "          %s: %v\n", s.name, err)
			r.page.line("Not measured: %v", err)
			if s.budgets != "" && len(r.budget) == before {
				r.judge(s.budgets, s.name, "–", "–", measure.Unmade)
			}
		}
		fmt.Fprintf(os.Stderr, "          took %.1f s\n", time.Since(began).Seconds())
	}
	r.page.verdicts(r.budget)
	for _, b := range r.budget {
		fmt.Printf("%-3s %-12s %s: %s (budget %s)\n", b.name, b.verdict, b.what, b.measured, b.limit)
		missed = missed || b.verdict == measure.Missed
	}
	page := filepath.Join(r.dir, "REPORT.md")
	if err := os.WriteFile(page, r.page.bytes(time.Since(r.began)), 0o644); err != nil {
		return missed, err
	}
	fmt.Fprintln(os.Stderr, "written to", page)
	return missed, nil
}

// section turns what cannot be set up into an error.
func (r *run) section(measure func(*run) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if e, ok := p.(error); ok {
				err = e
			} else {
				err = errors.New(fmt.Sprint(p))
			}
		}
	}()
	return measure(r)
}

func (r *run) judge(name, what, measured, limit string, v measure.Verdict) {
	r.budget = append(r.budget, budget{name, what, measured, limit, v})
}

// pick returns the one for a full run or the one for a quick run.
func pick[T any](r *run, full, quick T) T {
	if r.quick {
		return quick
	}
	return full
}
