package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
)

// A metric line of "go test -bench": its parameters and its figures.
type benchLine struct {
	params  map[string]string
	figures map[string]float64
}

// goBench runs benchmarks that look inside a package, which no program can.
func goBench(pkg, pattern string, env ...string) ([]benchLine, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchtime", "1x", "-timeout", "10m", pkg)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go test -bench %s: %w: %s", pattern, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return parseBench(string(out)), nil
}

var benchName = regexp.MustCompile(`^Benchmark\S+?(?:-\d+)?\s`)

func parseBench(out string) (lines []benchLine) {
	for line := range strings.Lines(out) {
		name := benchName.FindString(line)
		if name == "" {
			continue
		}
		b := benchLine{map[string]string{}, map[string]float64{}}
		name = strings.TrimSpace(name)
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			if _, err := strconv.Atoi(name[i+1:]); err == nil {
				name = name[:i]
			}
		}
		for _, part := range strings.Split(name, "/")[1:] {
			k, v, _ := strings.Cut(part, "=")
			b.params[k] = v
		}
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		for i := 2; i+1 < len(f); i += 2 {
			if x, err := strconv.ParseFloat(f[i], 64); err == nil {
				b.figures[f[i+1]] = x
			}
		}
		lines = append(lines, b)
	}
	return lines
}

const revokePackage = "github.com/hybridtoken/hybridtoken/revoke"

// filter reports what the filter promises and what it is worth.
func (r *run) filter() error {
	most := pick(r, "10000000", "100000")
	lines, err := goBench(revokePackage, "^BenchmarkFalsePositives$", "HYBRIDTOKEN_FILTER="+most)
	if err != nil {
		return err
	}
	r.page.title("The filter: how often it errs")
	r.page.line("Share of 5,000,000 keys that were never added and that the filter sends on to the exact table, in parts per million. An error costs a look-up there and refuses nobody. *Reported* is what `Stats.FalsePositiveRate` says, from the bits that are set.")
	rows := [][]string{{"entries", "identifiers", "promised", "measured", "reported"}}
	byShape := map[string]*series{}
	var shapes []string
	worst := 0.0
	for _, l := range lines {
		n, _ := strconv.Atoi(l.params["entries"])
		shape := l.params["keys"]
		rows = append(rows, []string{thousands(n), shape, fmt.Sprintf("%.0f", l.figures["promised-ppm"]), fmt.Sprintf("%.1f", l.figures["measured-ppm"]), fmt.Sprintf("%.1f", l.figures["reported-ppm"])})
		s := byShape[shape]
		if s == nil {
			s = &series{name: shape}
			byShape[shape], shapes = s, append(shapes, shape)
		}
		s.x, s.y = append(s.x, float64(n)), append(s.y, l.figures["measured-ppm"])
		worst = max(worst, l.figures["measured-ppm"]/l.figures["promised-ppm"])
	}
	if len(shapes) == 0 {
		return fmt.Errorf("go test printed no figures")
	}
	r.page.table(rows...)
	promised := series{name: "promised", x: byShape[shapes[0]].x}
	for range promised.x {
		promised.y = append(promised.y, lines[0].figures["promised-ppm"])
	}
	all := []series{promised}
	for _, s := range shapes {
		all = append(all, *byShape[s])
	}
	if err := r.lines("falsepositives.svg", "False positives", "entries", "parts per million", true, all...); err != nil {
		return err
	}
	r.judge("B4", "measured false-positive rate over the promised, worst", fmt.Sprintf("%.2f×", worst), "1.2×", measure.JudgeExact(worst, 1.2))

	if lines, err = goBench(revokePackage, "^BenchmarkFilterGain$"); err != nil {
		return err
	}
	r.page.title("The filter: what it is worth")
	r.page.line("Seven keys that are in no list, hashes ready, freshness not judged: through the filters, and straight in the exact table. There is a filter for each kind, and those of the four kinds that have few entries stay in the processor's nearest cache; the table is one for all, so that all seven keys are looked for in it. A part of what is saved is that.")
	rows = [][]string{{"entries", "with the filter", "exact table alone", "the filter saves", "its bytes an entry"}}
	for _, l := range lines {
		n, _ := strconv.Atoi(l.params["entries"])
		with, without := l.figures["filter-ns"], l.figures["table-ns"]
		rows = append(rows, []string{thousands(n), measure.Nanos(with), measure.Nanos(without), fmt.Sprintf("%.0f %%", 100*(1-with/without)), fmt.Sprintf("%.1f", l.figures["filter-B/entry"])})
	}
	r.page.table(rows...)
	return nil
}
