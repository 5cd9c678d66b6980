package refresh

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type duration time.Duration

func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = duration(v)
	return err
}

type turnsTable struct {
	Source string
	Rounds [2]int
	Skew   duration
	Tabs   struct {
		Count  [2]int
		Spread duration
	}
	Lost     struct{ Times [2]int }
	Retry    [2]duration
	Outage   [2]duration
	OutageIs string `json:"outage is"`
	Rhythms  []duration
	Profiles []turnsProfile
}

type turnsProfile struct {
	Name    string
	Why     string
	Seed    uint64
	Bound   bool
	Pause   [2]duration
	Sleep   [2]duration
	Thief   int // percent of the sessions
	Weights map[string]int
}

func readTurns(t *testing.T) *turnsTable {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "turns", "behaviours.json"))
	if err != nil {
		t.Fatal(err)
	}
	table := new(turnsTable)
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(table); err != nil {
		t.Fatal(err)
	}
	return table
}

// turnCounts prove that the sessions held what they are about.
type turnCounts struct {
	sessions, refreshes, window, late, burnt, told int
	outages                                        map[string]int
	turns                                          map[time.Duration]int // of the thief, by the delay
	byWindow, caught, repeats                      int
}

// missing names what the sessions did not hold.
func (c *turnCounts) missing(w *turnWorld) (list []string) {
	need := map[string]int{"refreshes": c.refreshes, "told to try again": c.told, "sessions of thieves that were ended": c.caught, "thieves who repeat": c.repeats}
	if w.lives.Grace > 0 {
		need["retries inside the window"], need["thieves inside a window"] = c.window, c.byWindow
	}
	if w.profile.Sleep[1] > 0 {
		need["late retries"], need["burnt tokens"] = c.late, c.burnt
	}
	for _, what := range []string{"store", "application", "bus"} {
		need["outages of the "+what] = c.outages[what]
	}
	for _, d := range w.table.Rhythms {
		if time.Duration(d) < w.lives.Idle {
			need["thief's turns after "+time.Duration(d).String()] = c.turns[time.Duration(d)]
		}
	}
	for what, n := range need {
		if n == 0 {
			list = append(list, what)
		}
	}
	slices.Sort(list)
	return list
}

func (c *turnCounts) String() string {
	var turns, outages []string
	for _, d := range slices.Sorted(func(yield func(time.Duration) bool) {
		for d := range c.turns {
			if !yield(d) {
				return
			}
		}
	}) {
		turns = append(turns, fmt.Sprintf("%s %d", d, c.turns[d]))
	}
	for _, what := range []string{"store", "application", "bus"} {
		outages = append(outages, fmt.Sprintf("%s %d", what, c.outages[what]))
	}
	return fmt.Sprintf("%d sessions, %d refreshes; %d retries inside the window, %d late retries, %d burnt tokens presented; outages: %s, with %d calls told to try again; honest clients logged out 0, second families 0; thieves: %d ended, %d inside a window, %d repetitions; turns by delay: %s",
		c.sessions, c.refreshes, c.window, c.late, c.burnt, strings.Join(outages, ", "), c.told, c.caught, c.byWindow, c.repeats, strings.Join(turns, ", "))
}
