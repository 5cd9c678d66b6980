package refresh_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// The table of docs/lifetimes.md says what the profiles are.
func TestLifetimesPage(t *testing.T) {
	text, err := os.ReadFile("../docs/lifetimes.md")
	if err != nil {
		t.Fatal(err)
	}
	row := func(name string) []string {
		for line := range strings.Lines(string(text)) {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			if len(cells) == 4 && strings.Contains(cells[0], name) {
				return cells[1:]
			}
		}
		t.Fatalf("no row of %s", name)
		return nil
	}
	units := map[string]time.Duration{"s": time.Second, "min": time.Minute, "h": time.Hour, "days": 24 * time.Hour}
	duration := func(cell string) time.Duration {
		if cell = strings.TrimSpace(cell); cell == "none" {
			return 0
		}
		if strings.HasPrefix(cell, "once a day") {
			return 24 * time.Hour
		}
		m := regexp.MustCompile(`^(\d+) (s|min|h|days)$`).FindStringSubmatch(cell)
		if m == nil {
			t.Fatalf("%q is no duration", cell)
		}
		n, _ := strconv.Atoi(m[1])
		return time.Duration(n) * units[m[2]]
	}
	profiles := []refresh.Lifetimes{refresh.HighSecurity, refresh.Web, refresh.Consumer}
	for i, p := range profiles {
		for name, want := range map[string]time.Duration{"access token": p.Access, "`Idle`": p.Idle, "`Absolute`": p.Absolute, "`Grace`": p.Grace, "`LateEvery`": p.LateEvery} {
			if got := duration(row(name)[i]); got != want {
				t.Errorf("profile %d, %s: the page says %v, the code %v", i, name, got, want)
			}
		}
		if got := strings.Contains(row("`LateEvery`")[i], "bound sessions only"); got != p.LateBound {
			t.Errorf("profile %d: LateBound is %t", i, p.LateBound)
		}
	}
}
