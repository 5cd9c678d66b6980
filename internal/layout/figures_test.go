package layout_test

import (
	"math/big"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A page that states a figure which somebody has measured, or which reads as if, must have it from
// somewhere. These are the pages that programs write.
var measured = []string{
	"benchmarks/REPORT.md",
	"internal/e2e/chaos/ACCOUNT.md",
	"refresh/natskv/ACCOUNT.md",
	"revoke/revoketest/ACCOUNT.md",
}

// stated are figures that nothing measures: settings, limits, arithmetic on the same page, and what
// others say. A row that no page needs any more is an error.
var stated = map[string]map[string]string{
	"README.md": {
		"1.6 ms": "the run of the quickstart in docs/how-it-works.md",
		"3.7 ms": "the run of the quickstart in docs/how-it-works.md",
	},
	"docs/device-bound-sessions.md": {"4 KiB": "a limit of browsers"},
	"docs/how-it-works.md":          {"16 MiB": "the default of VerifierConfig.CacheBytes"},
	"docs/keys.md":                  {"2 %": "a share of natskv's bucket"},
	"docs/oncall.md":                {"64 KiB": "the limit of bus/WIRE.md"},
	"docs/operations.md":            {"80 %": "when the warning is logged", "177,498": "the sum of the checks in the account's table of forks"},
	"docs/scale.md": {
		"11.5 s": "the rounds in the report", "15.3 s": "the rounds in the report", "1.5 ×": "a budget",
		"250 KiB": "by hand, on the page's machine", "128 KiB": "arithmetic", "4,096 ×": "arithmetic", "1000 ×": "arithmetic",
		"1,000 ×": "arithmetic", "5 ms": "assumed", "50 ms": "assumed", "1 GiB": "the default of StreamConfig.MaxBytes", "1.6 MB": "arithmetic",
		"14 MB": "arithmetic", "3 %": "a share of the stream", "32 MB": "arithmetic", "2 MB": "arithmetic", "0.5 KB": "arithmetic",
		"0.5 MB": "arithmetic", "500 MB": "arithmetic", "43 GB": "arithmetic", "43 MB": "arithmetic", "35 MB": "arithmetic",
		"35 kB": "by hand, on the page's machine", "0.2 KB": "arithmetic", "0.4 MB": "arithmetic", "1,000,000": "arithmetic", "100,000": "assumed",
		"20,000": "by hand, on the page's machine",
	},
}

// A figure is a number with a unit of speed, size or share, a count of millions, or a number of five
// digits or more.
var figurePattern = regexp.MustCompile(`(\d[\d,]*(?:\.\d+)?)(?:(?: to |–)(\d[\d,]*(?:\.\d+)?))?[  ]?(ns|µs|ms|KiB|MiB|GiB|kB|KB|MB|GB|%|×|million [a-z]+)(?:[^\pL\d]|$)|(\d+\.\d+) s\b|(\d{1,3}(?:,\d{3})+)`)

// figures returns the figures of a piece of text, each as a number and its unit.
func figures(text string) [][2]string {
	var found [][2]string
	for _, m := range figurePattern.FindAllStringSubmatch(text, -1) {
		switch {
		case m[3] != "":
			if m[2] != "" {
				found = append(found, [2]string{m[2], m[3]})
			}
			found = append(found, [2]string{m[1], m[3]})
		case m[4] != "":
			found = append(found, [2]string{m[4], "s"})
		case len(m[5]) > 5: // 1,000 to 9,999 are counts of everyday
			found = append(found, [2]string{m[5], ""})
		}
	}
	return found
}

// TestFiguresHaveASource: each figure on a page stands, as it is or to the digits quoted, in a
// measured page, or its paragraph names a test, benchmark or finding that exists, or it is listed as stated.
func TestFiguresHaveASource(t *testing.T) {
	sources := map[string]string{}
	for _, path := range measured {
		sources[path] = read(t, path)
	}
	known := sourceNames(t)
	total := 0
	check := append(docsPages(t), page{"README.md", read(t, "README.md")})
	for _, p := range check {
		used := map[string]bool{}
		wrong, n := unsourced(p.text, sources, known, stated[p.name], used)
		total += n
		for _, w := range wrong {
			t.Errorf("%s: %s\nIt is in none of %s as quoted here. Correct it, or name the test, benchmark or finding in its paragraph, or enter it in stated.", p.name, w, strings.Join(measured, ", "))
		}
		for figure := range stated[p.name] {
			if !used[figure] {
				t.Errorf("%s no longer states %s: strike it from stated", p.name, figure)
			}
		}
	}
	for name := range stated {
		if !slices.ContainsFunc(check, func(p page) bool { return p.name == name }) {
			t.Errorf("there is no page %s", name)
		}
	}
	if total < 30 {
		t.Errorf("only %d figures found", total)
	}
}

// The twin: a figure that nothing backs is noticed, and one that something does is not.
func TestFiguresTestNotices(t *testing.T) {
	sources := map[string]string{"REPORT.md": "| bare | 37.64 µs | 1.05 [1.02, 1.06] | 7550243 |\n| R | 240,081 | 12.17 ms |"}
	known := map[string]bool{"TestThing": true, "findings/thing.sh": true}
	for text, want := range map[string]int{
		"It takes 37.64 µs.":                               0,
		"It takes 38 µs.":                                  0, // rounded
		"It takes 37.6 ms.":                                1, // another unit
		"It takes 37.5 µs.":                                1,
		"7.6 million checks, 1.05× the bare one.":          0,
		"7.5 million checks.":                              1,
		"240,081 events.":                                  0,
		"240,082 events.":                                  1,
		"It takes 5 to 12 ms.":                             1, // 12 stands there, 5 does not
		"It takes 3 ms (`TestThing`).":                     0,
		"It takes 3 ms (`TestOther`).":                     1,
		"It takes 3 ms, as `TestOther`.\n\nSee TestThing.": 1, // not in its paragraph
		"It takes 3 ms (findings/thing.sh).":               0,
		"Set 16 MiB.":                                      0, // stated
		"```\n3 ms\n```":                                   0, // what programs print
	} {
		if wrong, _ := unsourced(text, sources, known, map[string]string{"16 MiB": "a setting"}, map[string]bool{}); len(wrong) != want {
			t.Errorf("%q: %q, want %d complaints", text, wrong, want)
		}
	}
}

var namePattern = regexp.MustCompile(`\b(?:Test|Benchmark|Example|Fuzz)[A-Z]\w*|findings/[a-z0-9-]+\.sh`)

// unsourced returns the figures of text that nothing backs, and how many it has.
func unsourced(text string, sources map[string]string, known map[string]bool, stated map[string]string, used map[string]bool) (wrong []string, n int) {
	text = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
	header := false // of the table, or the paragraph above it
	for _, paragraph := range regexp.MustCompile(`\n\s*\n`).Split(text, -1) {
		named := slices.ContainsFunc(namePattern.FindAllString(paragraph, -1), func(name string) bool { return known[name] })
		backed := named || header && strings.HasPrefix(paragraph, "|")
		header = named
		for _, f := range figures(paragraph) {
			n++
			if name := strings.TrimSpace(f[0] + " " + f[1]); stated[name] != "" {
				used[name] = true
			} else if !backed && !stands(f, sources) {
				wrong = append(wrong, name)
			}
		}
	}
	return wrong, n
}

var numberPattern = regexp.MustCompile(`\d[\d,]*(?:\.\d+)?`)

// stands says whether a source has the figure, to the digits that it is quoted with, followed by its unit or by none.
func stands(f [2]string, sources map[string]string) bool {
	quoted, decimals := number(f[0])
	unit := f[1]
	if strings.HasPrefix(unit, "million") {
		quoted.Mul(quoted, big.NewRat(1_000_000, 1))
		decimals -= 6
		unit = ""
	}
	for _, source := range sources {
		for _, at := range numberPattern.FindAllStringIndex(source, -1) {
			n, _ := number(source[at[0]:at[1]])
			if rounded(n, decimals).Cmp(quoted) != 0 {
				continue
			}
			after := regexp.MustCompile(`^[  ]?(ns|µs|ms|s|KiB|MiB|GiB|kB|KB|MB|GB|%)\b`).FindStringSubmatch(source[at[1]:])
			if after == nil || after[1] == unit {
				return true
			}
		}
	}
	return false
}

func number(s string) (n *big.Rat, decimals int) {
	s = strings.ReplaceAll(s, ",", "")
	n, _ = new(big.Rat).SetString(s)
	if _, fraction, ok := strings.Cut(s, "."); ok {
		decimals = len(fraction)
	}
	return n, decimals
}

// rounded rounds half up to a number of decimals, which may be negative.
func rounded(n *big.Rat, decimals int) *big.Rat {
	scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(decimals, -decimals))), nil))
	if decimals < 0 {
		scale.Inv(scale)
	}
	x := new(big.Rat).Mul(n, scale)
	x.Add(x, big.NewRat(1, 2))
	whole := new(big.Int).Div(x.Num(), x.Denom())
	return x.Quo(new(big.Rat).SetInt(whole), scale)
}

// sourceNames are the names of the tests, benchmarks, examples and fuzz targets of the repository, and its findings.
func sourceNames(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	for name := range names(t) {
		if namePattern.MatchString(name) {
			known[name] = true
		}
	}
	scripts, err := filepath.Glob(filepath.Join(root, "findings", "*.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range scripts {
		known["findings/"+filepath.Base(path)] = true
	}
	if len(known) < 500 {
		t.Fatalf("only %d tests and findings found", len(known))
	}
	return known
}
