package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// A page is the report as it is written.
type page struct {
	head, body bytes.Buffer
}

func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.body, format+"\n\n", args...) }

func (p *page) title(text string) { p.line("## %s", text) }

// table writes rows of equal length; the first is the head.
func (p *page) table(rows ...[]string) {
	for i, row := range rows {
		fmt.Fprintf(&p.body, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&p.body, "|%s\n", strings.Repeat(" --- |", len(row)))
		}
	}
	p.body.WriteByte('\n')
}

func (p *page) plot(file, what string) { p.line("![%s](%s)", what, file) }

// machine says what was measured on, and with what; no names of hosts or users.
func (p *page) machine(quick bool, left []string) {
	fmt.Fprintf(&p.head, "# Measured: speed, memory, propagation\n\n")
	if quick {
		fmt.Fprintf(&p.head, "**A quick run: small sizes, few rounds. It shows that everything works; take figures from a full one.**\n\n")
	}
	if len(left) > 0 {
		fmt.Fprintf(&p.head, "**Left out of this run: %s.**\n\n", strings.Join(left, ", "))
	}
	fmt.Fprintf(&p.head, "Written by `go run ./benchmarks/report`. Ways to do the same work took turns; times are medians of rounds, with quartiles in brackets. On a shared machine absolute times vary by a factor of two between\nmoments: ratios within one table are what to trust.\n\n")
	fmt.Fprintf(&p.head, "| | |\n| --- | --- |\n| machine | %s, %d cores, %s of memory |\n| system | %s/%s, %s |\n", processor(), runtime.NumCPU(), memoryOf(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	fmt.Fprintf(&p.head, "| with | %s |\n", strings.Join(versions(), ", "))
}

func (p *page) bytes(took time.Duration) []byte {
	fmt.Fprintf(&p.head, "| took | %s |\n\n", took.Round(time.Second))
	return append(bytes.Clone(p.head.Bytes()), p.body.Bytes()...)
}

func (p *page) verdicts(all []budget) {
	p.title("Verdict")
	rows := [][]string{{"budget", "what", "measured", "allowed", "verdict"}}
	for _, b := range all {
		v := "**" + string(b.verdict) + "**"
		rows = append(rows, []string{b.name, b.what, b.measured, b.limit, v})
	}
	p.table(rows...)
	p.line("Met and missed: both quartiles are on one side of the budget. Noisy: they are on both, or there were fewer than eight rounds, or events came more slowly than they were to. B4 and B8 count and do not time: one value decides.")
}

// processor returns the model's name where the system tells it.
func processor() string { return fieldOf("/proc/cpuinfo", "model name", "unknown processor") }

func memoryOf() string {
	var kib float64
	if _, err := fmt.Sscanf(fieldOf("/proc/meminfo", "MemTotal", ""), "%f kB", &kib); err != nil {
		return "unknown size"
	}
	return fmt.Sprintf("%.0f GiB", kib/(1<<20))
}

func fieldOf(file, name, otherwise string) string {
	data, _ := os.ReadFile(file)
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return otherwise
}

// versions returns those of the libraries that matter here.
func versions() []string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return []string{"unknown versions"}
	}
	var list []string
	for _, m := range info.Deps {
		for _, name := range []string{
			"lestrrat-go/jwx/v2", "golang-jwt/jwt/v5", "go-jose/go-jose/v4", "redis/go-redis/v9", "bits-and-blooms/bloom/v3", "maypok86/otter/v2", "nats-io/nats.go", "nats-io/nats-server/v2",
		} {
			if strings.HasSuffix(m.Path, name) {
				list = append(list, fmt.Sprintf("%s %s", name, m.Version))
			}
		}
	}
	return list
}
