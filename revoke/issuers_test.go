package revoke_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestNamingIssuersIsLinear: the memory that naming takes, which no load of the machine
// changes, grows with the number of issuers and not with its square.
func TestNamingIssuersIsLinear(t *testing.T) {
	const n = 20_000
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("https://tenant-%d.example.com", i)
	}
	l := localList(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, iss := range names {
		l.ExpectIssuer(iss)
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / n; per > 2000 {
		t.Errorf("naming %d issuers allocated %d bytes each", n, per)
	}
	if got := l.ExpectedIssuers(); len(got) != n || !slices.IsSorted(got) {
		t.Errorf("%d issuers, sorted: %v", len(got), slices.IsSorted(got))
	}
	for _, iss := range names {
		l.ForgetIssuer(iss)
	}
	if got := l.ExpectedIssuers(); len(got) != 0 {
		t.Errorf("%d issuers are left", len(got))
	}
}

// TestCheckCostsTheSameForAnyNumberOfIssuers compares, in turns, checks on a List with
// one issuer and on one with 5,000; the fastest round of each decides.
func TestCheckCostsTheSameForAnyNumberOfIssuers(t *testing.T) {
	few, many := localList(t), localList(t)
	few.ExpectIssuer(iss)
	for i := range 5000 {
		many.ExpectIssuer(fmt.Sprintf("https://tenant-%d.example.com", i))
	}
	many.ExpectIssuer(iss) // the last
	now := revoke.Now()
	id := revoke.Identity{Issuer: iss, Token: "good", Session: "s", Subject: "u", IssuedAt: now.Time()}
	for _, l := range []*revoke.List{few, many} {
		if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "gone"}); err != nil {
			t.Fatal(err)
		}
	}
	round := func(l *revoke.List) time.Duration {
		begin := time.Now()
		for range 20_000 {
			if err := l.Check(now, &id, revoke.Deny()); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(begin)
	}
	least := [2]time.Duration{time.Hour, time.Hour}
	for range 20 {
		least[0], least[1] = min(least[0], round(few)), min(least[1], round(many))
	}
	if ratio := float64(least[1]) / float64(least[0]); ratio > 3 {
		t.Errorf("with 5,001 issuers a check takes %.1f times as long as with one", ratio)
	} else {
		t.Logf("ratio %.2f", ratio)
	}
	if n := testing.AllocsPerRun(1000, func() { many.Check(now, &id, revoke.Deny()) }); n != 0 {
		t.Errorf("a check among many issuers allocates %v times", n)
	}
}

// TestIssuersAreCountedByName: a name is gone when all who gave it have taken it back.
func TestIssuersAreCountedByName(t *testing.T) {
	l := localList(t)
	l.ExpectIssuer("https://a")
	l.ExpectIssuer("https://a")
	l.ExpectIssuer("https://b")
	l.ForgetIssuer("https://a")
	l.ForgetIssuer("https://never")
	if got := l.ExpectedIssuers(); !slices.Equal(got, []string{"https://a", "https://b"}) {
		t.Errorf("issuers %q", got)
	}
	l.ForgetIssuer("https://a")
	l.ForgetIssuer("https://a")
	if got := l.ExpectedIssuers(); !slices.Equal(got, []string{"https://b"}) {
		t.Errorf("issuers %q", got)
	}
	got := l.ExpectedIssuers()
	got[0] = "https://changed"
	if again := l.ExpectedIssuers(); again[0] != "https://b" {
		t.Error("the caller can change the List's issuers")
	}
}

// TestIssuersWhileChecking names and forgets beside checks: what is named throughout is
// found throughout, as the answers of revoked tokens show, and nobody waits.
func TestIssuersWhileChecking(t *testing.T) {
	l := localList(t)
	now := revoke.Now()
	l.ExpectIssuer(iss)
	if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "gone"}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			id := revoke.Identity{Issuer: iss, Token: "gone"}
			for {
				select {
				case <-stop:
					return
				default:
				}
				if l.Check(now, &id, revoke.Deny()) == nil {
					t.Error("a revoked token passed")
					return
				}
			}
		})
	}
	for round := range 4 {
		for i := range 500 {
			l.ExpectIssuer(fmt.Sprint(round, i))
		}
		for i := range 500 {
			l.ForgetIssuer(fmt.Sprint(round, i))
		}
	}
	close(stop)
	wg.Wait()
	if got := l.ExpectedIssuers(); !slices.Equal(got, []string{iss}) {
		t.Errorf("issuers %q", got)
	}
}

// TestMisspeltIssuerDegrades: an event for an issuer with a slash too many revokes
// nothing. Whichever way it came, it is counted, logged and shown; one for an issuer that is
// simply another's, as on a log that systems share, is counted and logged, no more.
func TestMisspeltIssuerDegrades(t *testing.T) {
	ways := map[string]func(t *testing.T, cfg revoke.Config, issuer string) (*revoke.List, revoke.Instant){
		"Apply to a Local List": func(t *testing.T, cfg revoke.Config, issuer string) (*revoke.List, revoke.Instant) {
			cfg.Local = true
			l, err := revoke.NewList(cfg)
			if err != nil {
				t.Fatal(err)
			}
			l.ExpectIssuer(iss)
			now := revoke.Now()
			if err := l.Apply(now, revoke.Event{Issuer: issuer, Kind: revoke.KindToken, Value: "x"}); err != nil {
				t.Fatal(err)
			}
			return l, now
		},
		"Feed": func(t *testing.T, cfg revoke.Config, issuer string) (*revoke.List, revoke.Instant) {
			r, l := tape.NewReader(t, cfg), &tape.Log{}
			r.Begin(l)
			r.List.ExpectIssuer(iss)
			l.Append(r.Now.Time(), tape.Message{Event: &revoke.Event{Issuer: issuer, Kind: revoke.KindToken, Value: "x"}})
			r.Must(r.Read(l))
			return r.List, r.Now
		},
	}
	for way, apply := range ways {
		for _, c := range []struct {
			issuer              string
			foreign, misspelt   uint64
			degraded, isMistake bool
		}{
			{iss, 0, 0, false, false},
			{iss + "/", 1, 1, true, true},
			{strings.ToUpper(iss), 1, 1, true, true},
			{strings.Replace(iss, "https:", "http:", 1), 1, 1, true, true},
			{"https://another.example.org", 1, 0, false, true},
		} {
			t.Run(way+"/"+c.issuer, func(t *testing.T) {
				var logged bytes.Buffer
				l, now := apply(t, revoke.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}, c.issuer)
				s := l.Stats(now)
				if s.ForeignIssuer != c.foreign || s.MisspeltIssuer != c.misspelt {
					t.Errorf("%d foreign, %d misspelt", s.ForeignIssuer, s.MisspeltIssuer)
				}
				if got := l.Status(now).Degraded; got != c.degraded {
					t.Errorf("degraded: %v", got)
				}
				if strings.Contains(logged.String(), "no verifier here uses") != c.isMistake {
					t.Errorf("logged:\n%s", &logged)
				}
				if l.Status(now.Add(2 * time.Hour)).Degraded {
					t.Error("degraded for ever")
				}
			})
		}
	}
}

// A verifier whose issuers nobody can name beforehand leaves no event foreign, and once it is
// gone those are foreign again that no other verifier uses.
func TestAnyIssuer(t *testing.T) {
	r, log := tape.NewReader(t, revoke.Config{}), &tape.Log{}
	r.Begin(log)
	l, n := r.List, 0
	foreign := func(issuer string) uint64 {
		before := l.Stats(r.Now).ForeignIssuer
		n++
		log.Append(r.Now.Time(), tape.Message{Event: &revoke.Event{Issuer: issuer, Kind: revoke.KindToken, Value: fmt.Sprint(n)}})
		r.Must(r.Read(log))
		return l.Stats(r.Now).ForeignIssuer - before
	}
	l.ExpectIssuer(iss)
	if n := foreign("https://b.example.com"); n != 1 {
		t.Errorf("%d foreign events, want 1", n)
	}
	l.ExpectIssuer("")
	l.ExpectIssuer("")
	for range 2 {
		if n := foreign("https://b.example.com"); n != 0 || len(l.ExpectedIssuers()) != 0 {
			t.Errorf("%d foreign events beside any issuer; expected %q", n, l.ExpectedIssuers())
		}
		l.ForgetIssuer("")
	}
	if n := foreign("https://b.example.com"); n != 1 || len(l.ExpectedIssuers()) != 1 {
		t.Errorf("%d foreign events after any issuer went, want 1; expected %q", n, l.ExpectedIssuers())
	}
}

// A log that systems share brings events of other issuers all day long: each is counted, and one
// a minute is logged.
func TestForeignIssuersAreLoggedOnceAMinute(t *testing.T) {
	var logged bytes.Buffer
	l, err := revoke.NewList(revoke.Config{Local: true, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	l.ExpectIssuer(iss)
	logged.Reset()
	now := revoke.Now()
	for i, c := range []struct {
		after time.Duration
		lines int
	}{{0, 1}, {0, 1}, {time.Minute - 1, 1}, {1, 2}, {time.Minute - 1, 2}, {1, 3}} {
		now = now.Add(c.after)
		if err := l.Apply(now, revoke.Event{Issuer: "https://another.example.org", Kind: revoke.KindToken, Value: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(logged.String(), "no verifier here uses"); n != c.lines || l.Stats(now).ForeignIssuer != uint64(i+1) {
			t.Errorf("event %d: %d lines, want %d; %d counted", i, n, c.lines, l.Stats(now).ForeignIssuer)
		}
	}
}
