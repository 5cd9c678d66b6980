package issue_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// This file simulates a service of several instances that share a ring, and
// verifiers that keep what the instances serve: with clocks that differ, a store
// that fails in all the ways a store can, and crashes. What must hold at each
// instant (CVE-2025-22149):
//
//   - no token is signed with a key that some verifier does not know, though it keeps
//     what it was served for no longer than it may;
//   - no verifier that keeps to that lacks a key while a token of it is unexpired;
//   - no key that was removed by hand comes back;
//   - an instance stops signing only when its store has been away for as long as
//     KeyringConfig says.
//
// Verifiers that cannot reach a server that answers cannot know: that is no violation.

const (
	simStep     = 15 * time.Second
	simLength   = 2 * time.Hour
	simMaxAge   = time.Minute
	simLifetime = 5 * time.Minute
	simSkew     = time.Minute
)

func simConfig() issue.KeyringConfig {
	return issue.KeyringConfig{
		MaxAge: simMaxAge, AnnounceFor: 6 * simMaxAge, RotateEvery: 7 * time.Minute, TokenLifetime: simLifetime, MaxSkew: simSkew,
		RefreshInterval: 30 * time.Second, Issuer: forge.Issuer, SealKeys: kept(issue.KeyringConfig{}).SealKeys,
	}
}

// A simulation is one run. Only the goroutine of the test touches it, but for what
// mu guards.
type simulation struct {
	t         *testing.T
	rand      *rand.Rand
	store     issue.Store
	alone     time.Duration
	instances []*simInstance
	caches    []simCache
	verifiers []*token.Verifier
	remotes   []*token.RemoteKeySet

	liveUntil map[string]time.Time // by kid: until when some verifier takes a token of it
	removed   map[string]bool      // by hand: what it signed may be refused
	gone      map[string]time.Time // by hand: since when
	young     map[string]time.Time // took over in an emergency: until when verifiers may not know it
	broken    map[string]int       // violations
	seen      map[string]int       // what happened at all

	chaos bool

	mu      sync.Mutex // guards seen, pick and history
	pick    *rand.Rand
	history []simRead // what the store has held, and since when
}

func (s *simulation) violation(format string, args ...any) {
	s.broken[fmt.Sprintf(format, args...)]++
}

// A simCache is a verifier's key set, as simple as one can be: it keeps what it was
// served for as long as it was told, and does not ask for a kid that it misses.
type simCache struct {
	name   string
	lookup func(kid string) (known, canKnow bool)
}

// RoundTrip asks an instance that runs, as a load balancer does.
func (s *simulation) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	ring := s.instances[s.pick.IntN(len(s.instances))].ring.Load()
	s.mu.Unlock()
	if ring == nil {
		return nil, errSim
	}
	w := httptest.NewRecorder()
	ring.ServeHTTP(w, req)
	return w.Result(), nil
}

// served is a response as a cache keeps it.
type served struct {
	body  string
	until time.Time
}

// fetch asks from, and keeps the answer as long as its max-age says from now on: the
// age that it may have already is ignored, as many do.
func fetch(from func() (string, bool)) func() (string, bool) {
	var kept served
	return func() (string, bool) {
		if time.Now().Before(kept.until) {
			return kept.body, true
		}
		body, ok := from()
		if !ok {
			return "", false // what it has is too old
		}
		kept = served{body, time.Now().Add(simMaxAge)}
		return body, true
	}
}

func (s *simulation) origin() (string, bool) {
	resp, err := s.RoundTrip(httptest.NewRequest("GET", "https://auth.example.com/jwks.json", nil))
	if err != nil || resp.StatusCode != 200 {
		return "", false
	}
	if got, want := resp.Header.Get("Cache-Control"), fmt.Sprintf("public, max-age=%d", int(simMaxAge.Seconds())); got != want {
		s.t.Fatalf("Cache-Control %q, want %q", got, want)
	}
	return forge.Body(s.t, resp), true
}

// check holds every cache to what it must know, and every instance to what it must
// have forgotten.
func (s *simulation) check() {
	now := time.Now()
	for _, i := range s.instances {
		ring := i.ring.Load()
		if ring == nil {
			continue
		}
		for _, k := range ring.Status().Keys {
			if gone, ok := s.gone[k.Key.ID()]; ok && ring.Status().Loaded.After(gone.Add(simSkew)) {
				s.violation("a removed key is back")
			}
		}
	}
	maps.DeleteFunc(s.liveUntil, func(_ string, until time.Time) bool { return !now.Before(until) })
	for kid := range s.liveUntil {
		if s.excused(kid) {
			continue
		}
		for _, c := range s.caches {
			switch known, can := c.lookup(kid); {
			case !can:
				s.count("cache empty")
			case !known:
				s.violation("%s misses a key in use", c.name)
			default:
				s.count("cache knows")
			}
		}
		for _, i := range s.instances {
			if i.ring.Load() == nil {
				continue
			}
			if _, err := i.ring.Load().Lookup(context.Background(), kid, token.EdDSA); err != nil && !errors.Is(err, token.ErrUnavailable) {
				s.violation("an instance misses a key in use")
			}
		}
	}
}

// simulate runs one simulation. change may break its rules.
func simulate(t *testing.T, seed uint64, chaos bool, change func(*simulation)) (broken, seen map[string]int) {
	synctest.Test(t, func(t *testing.T) {
		alone, _, _ := simConfig().Timing()
		s := &simulation{
			t: t, rand: rand.New(rand.NewPCG(seed, 1)), pick: rand.New(rand.NewPCG(seed, 2)), store: new(issue.MemoryStore), alone: time.Duration(alone), chaos: chaos,
			liveUntil: map[string]time.Time{}, removed: map[string]bool{}, gone: map[string]time.Time{}, young: map[string]time.Time{}, broken: map[string]int{}, seen: map[string]int{},
		}
		for n := range 3 {
			s.instances = append(s.instances, &simInstance{sim: s, name: fmt.Sprint(n), chaos: chaos, rand: rand.New(rand.NewPCG(seed, uint64(n)+10)),
				skew: time.Duration(s.rand.Int64N(int64(simSkew))) - simSkew/2})
		}
		if change != nil {
			change(s)
		}
		var opening sync.WaitGroup // all of them find the store empty
		for _, i := range s.instances {
			opening.Go(i.open)
		}
		opening.Wait()
		cdn := fetch(s.origin)
		for n, from := range []func() (string, bool){s.origin, s.origin, cdn, cdn} {
			get := fetch(from)
			s.caches = append(s.caches, simCache{fmt.Sprintf("cache %d", n), func(kid string) (bool, bool) {
				set, ok := get()
				return strings.Contains(set, `"kid":"`+kid+`"`), ok
			}})
		}
		for range 2 {
			remote, err := token.NewRemoteKeySet(t.Context(), "https://auth.example.com/jwks.json", token.RemoteKeySetConfig{Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			s.remotes = append(s.remotes, remote)
			s.verifiers = append(s.verifiers, forge.Verifier(t, func(c *token.VerifierConfig) {
				c.Algorithms, c.Keys, c.Leeway = []token.Algorithm{token.EdDSA}, remote, revoke.MaxLeeway
			}))
		}
		kids := map[string]bool{}
		for end := time.Now().Add(simLength); time.Now().Before(end); time.Sleep(simStep) {
			synctest.Wait()
			for _, n := range s.rand.Perm(len(s.instances)) {
				i := s.instances[n]
				i.run()
				i.byHand()
				i.issue()
				if i.ring.Load() != nil {
					kids[i.ring.Load().Active().ID()] = true
				}
			}
			s.check()
		}
		for _, i := range s.instances {
			if i.ring.Load() != nil {
				i.ring.Load().Close()
			}
		}
		for _, r := range s.remotes {
			r.Close()
		}
		s.count("runs")
		time.Sleep(time.Hour) // late saves
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen["active keys"] = len(kids)
		broken, seen = s.broken, s.seen
	})
	return broken, seen
}

func TestKeyringSimulation(t *testing.T) {
	total := map[string]int{}
	for seed := range uint64(8) {
		chaos := seed%4 != 0
		broken, seen := simulate(t, seed, chaos, nil)
		for what, n := range broken {
			t.Errorf("seed %d: %s (%d times)", seed, what, n)
		}
		if !chaos && seen["active keys"] < 12 {
			t.Errorf("seed %d: only %d keys were ever active: nothing rotates", seed, seen["active keys"])
		}
		for what, n := range seen {
			total[what] += n
		}
	}
	t.Log(total)
	for _, what := range []string{"crash", "open failed", "save ack lost", "save late", "save crash before", "save crash after",
		"conflict", "read from a deposed leader", "rotated by hand", "removed active", "removed announced", "removed retired", "stopped signing", "cannot verify", "verified", "cache knows", "cache empty"} {
		if total[what] == 0 {
			t.Errorf("in no run: %s: the simulation tests less than it says", what)
		}
	}
}

// The simulation must notice what OpenKeyring and Store forbid; otherwise it
// might notice nothing at all.
func TestKeyringSimulationSeesBreaks(t *testing.T) {
	for name, change := range map[string]func(*simulation){
		"reads from a replica":      func(s *simulation) { s.instances[2].lag = 15 * time.Minute },
		"a clock that is far ahead": func(s *simulation) { s.instances[1].ahead = time.Hour },
	} {
		n := 0
		for seed := uint64(0); n == 0 && seed < 12; seed++ {
			broken, _ := simulate(t, seed, seed%2 == 1, change)
			for what, times := range broken {
				t.Logf("%s: seed %d: %s (%d times)", name, seed, what, times)
			}
			n += len(broken)
		}
		if n == 0 {
			t.Errorf("%s: nothing noticed", name)
		}
	}
}
