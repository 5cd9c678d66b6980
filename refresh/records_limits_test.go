package refresh

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Pending work, one bad member a row: at each limit it is read, one beyond it is not.
func TestPendingWorkAtItsLimits(t *testing.T) {
	sid := sidText([16]byte{1})
	for name, c := range map[string]struct {
		w    work
		good bool
	}{
		"of a session":         {work{SID: sid, At: 5}, true},
		"of a subject":         {work{Subject: "u", At: 5}, true},
		"of both":              {work{SID: sid, Subject: "u", At: 5}, false},
		"of nobody":            {work{At: 5}, false},
		"of no session's id":   {work{SID: "x", At: 5}, false},
		"the same, a subject":  {work{SID: "x", Subject: "u", At: 5}, false},
		"at the first moment":  {work{Subject: "u", At: 0}, true},
		"before it":            {work{Subject: "u", At: -1}, false},
		"at the last moment":   {work{Subject: "u", At: maxMillis}, true},
		"after the last":       {work{Subject: "u", At: maxMillis + 1}, false},
		"a session, before it": {work{SID: sid, At: -1}, false},
	} {
		b, err := encodeRecord(&workList{V: recordVersion, Work: []work{c.w}})
		if err != nil {
			t.Fatal(err)
		}
		if l, err := decodeWork(b); (err == nil) != c.good || (l == nil) == c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of the record of outages so many are read, those that lie within an hour, up to now by the
// clock that is furthest ahead.
func TestOutagesAtTheirLimits(t *testing.T) {
	const now, skew = 1_800_000_000_000, 2000
	read := func(spans ...span) int {
		b, err := json.Marshal(outageRecord{V: recordVersion, Spans: spans})
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeOutages(b, now, skew)
		if err != nil {
			t.Fatal(err)
		}
		return len(got)
	}
	for name, c := range map[string]struct {
		x    span
		want int
	}{
		"now":             {span{now - 1, now}, 1},
		"a moment":        {span{now, now}, 1},
		"backwards":       {span{now, now - 1}, 0},
		"ahead":           {span{now, now + skew}, 1},
		"too far ahead":   {span{now, now + skew + 1}, 0},
		"an hour ago":     {span{now - 3_600_001, now - 3_600_000}, 1},
		"longer ago":      {span{now - 3_600_001, now - 3_600_001}, 0},
		"since 1970":      {span{0, now}, 1},
		"since before it": {span{-1, now}, 0},
	} {
		if got := read(c.x); got != c.want {
			t.Errorf("%s: %d", name, got)
		}
	}
	for n, want := range map[int]int{63: 63, 64: 64, 65: 64, 1000: 64} {
		if got := read(spansOf(n, span{now - 1, now})...); got != want {
			t.Errorf("of %d outages %d are read, want %d", n, got, want)
		}
	}
}

func spansOf(n int, x span) (list []span) {
	for range n {
		list = append(list, x)
	}
	return list
}

// What an instance has seen of an outage becomes one with what others have seen of it, be it the
// first that the record has or the last, and where they only touch; another one stands beside it.
func TestOutagesBecomeOne(t *testing.T) {
	for name, c := range map[string]struct{ others, own, want []span }{
		"the only one":       {[]span{{100, 200}}, []span{{150, 300}}, []span{{100, 300}}},
		"the first":          {[]span{{100, 200}, {1000, 1100}}, []span{{50, 150}}, []span{{50, 200}, {1000, 1100}}},
		"the last":           {[]span{{100, 200}, {1000, 1100}}, []span{{1050, 1060}}, []span{{100, 200}, {1000, 1100}}},
		"touching its end":   {[]span{{100, 200}}, []span{{200, 300}}, []span{{100, 300}}},
		"touching its start": {[]span{{100, 200}}, []span{{50, 100}}, []span{{50, 200}}},
		"a moment after":     {[]span{{100, 200}}, []span{{201, 300}}, []span{{100, 200}, {201, 300}}},
		"a moment before":    {[]span{{100, 200}}, []span{{50, 99}}, []span{{100, 200}, {50, 99}}},
		"none before":        {nil, []span{{50, 99}}, []span{{50, 99}}},
	} {
		m := instances(t, Web, 0)[0]
		now := m.millis()
		at := func(list []span) (moved []span) {
			for _, x := range list {
				moved = append(moved, span{now - 10_000 + x.from(), now - 10_000 + x.to()})
			}
			return moved
		}
		b, err := encodeRecord(&outageRecord{V: recordVersion, Spans: at(c.others)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.cfg.Store.Save(t.Context(), m.outageKey(), b, 0, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		m.outages.mu.Lock()
		m.outages.own = at(c.own)
		m.outages.mu.Unlock()
		if err := m.tellOutages(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := m.loadOutages(t.Context())
		if err != nil || fmt.Sprint(got.Spans) != fmt.Sprint(at(c.want)) {
			t.Errorf("%s: %v, want %v, %v", name, got.Spans, at(c.want), err)
		}
	}
}

// A restore is over for sessions that begin after its boundary, and for none of those that began
// at it or before; without one no session is brought back, whenever it began.
func TestRevivedAtTheBoundary(t *testing.T) {
	m := instances(t, Web, 0)[0]
	for _, c := range []struct {
		boundary, start int64
		want            bool
	}{{0, 0, false}, {0, 5, false}, {100, 99, true}, {100, 100, true}, {100, 101, false}} {
		m.guard.boundary.Store(c.boundary)
		if got := m.revived(&session{Start: c.start}); got != c.want {
			t.Errorf("begun at %d, restored at %d: %t", c.start, c.boundary, got)
		}
	}
	m.guard.boundary.Store(0)
}

// Each declaration of a restore is a later state of the store than any before, by its count too.
func TestEachDeclarationIsLater(t *testing.T) {
	m := instances(t, Web, 0)[0]
	last, err := m.loadEpoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := m.DeclareRestore(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		e, err := m.loadEpoch(t.Context())
		if err != nil || e.Count <= last.Count || e.Epoch <= last.Epoch || e.Boundary < last.Boundary || e.At == 0 {
			t.Errorf("%+v after %+v, %v", e, last, err)
		}
		last = e
	}
}

// A Manager is printed by its issuer, and where there is none as that.
func TestManagersArePrinted(t *testing.T) {
	var none *Manager
	m := instances(t, Web, 0)[0]
	for _, verb := range []string{"%v", "%+v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, m); !strings.Contains(got, m.issuer.Issuer) {
			t.Errorf("%s: %s", verb, got)
		}
		if got := fmt.Sprintf(verb, none); got != "refresh.Manager(nil)" {
			t.Errorf("%s: %s", verb, got)
		}
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("m", "of", m, "none", none)
	if !strings.Contains(logged.String(), m.issuer.Issuer) || !strings.Contains(logged.String(), "refresh.Manager(nil)") {
		t.Errorf("logged: %s", &logged)
	}
}
