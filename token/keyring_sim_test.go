package token_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// This file simulates a service of several instances that share a ring, and
// verifiers that keep what the instances serve: with clocks that differ, a store
// that fails in all the ways a store can, and crashes. What must hold at each
// instant (T16, CVE-2025-22149):
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

func simConfig() token.KeyringConfig {
	return token.KeyringConfig{
		MaxAge: simMaxAge, AnnounceFor: 6 * simMaxAge, RotateEvery: 7 * time.Minute, TokenLifetime: simLifetime, MaxSkew: simSkew,
		RefreshInterval: 30 * time.Second,
	}
}

// A simulation is one run. Only the goroutine of the test touches it, but for what
// mu guards.
type simulation struct {
	t         *testing.T
	rand      *rand.Rand
	store     token.KeyStore
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

	mu   sync.Mutex // guards seen and pick
	pick *rand.Rand
}

func (s *simulation) violation(format string, args ...any) {
	s.broken[fmt.Sprintf(format, args...)]++
}

// A simInstance is one instance of the auth service, with a link of its own to the
// store.
type simInstance struct {
	sim    *simulation
	name   string
	ring   atomic.Pointer[token.Keyring] // nil while it is down
	issuer *token.Issuer
	down   time.Time // until when the process does not run

	mu      sync.Mutex
	skew    time.Duration
	ahead   time.Duration // beyond what is allowed
	lag     time.Duration // of what it reads, which is not allowed
	reads   []simRead
	cut     time.Time // until when the link is cut
	crash   bool      // the process died within a call
	chaos   bool
	rand    *rand.Rand
	lastGot time.Time // when Load last succeeded
}

func (i *simInstance) now() revoke.Instant {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := revoke.Now()
	return revoke.Instant{Wall: now.Wall + int64(i.skew+i.ahead), Mono: now.Mono}
}

var errSim = errors.New("the network ate it")

// fails says what becomes of a call, of which one in odds fails: "" is well.
func (i *simInstance) fails(odds int) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.crash:
		return "crashed"
	case time.Now().Before(i.cut):
		return []string{"refused", "hangs"}[i.rand.IntN(2)]
	case !i.chaos || i.rand.IntN(odds) > 0:
		return ""
	}
	return []string{"refused", "hangs", "ack lost", "late", "crash before", "crash after"}[i.rand.IntN(6)]
}

func (i *simInstance) Load(ctx context.Context) ([]byte, string, error) {
	switch i.fails(10) {
	case "refused", "crashed":
		return nil, "", errSim
	case "hangs":
		<-ctx.Done()
		return nil, "", ctx.Err()
	}
	at := time.Now()
	i.travel()
	blob, revision, err := i.sim.store.Load(ctx)
	i.travel()
	i.mu.Lock()
	defer i.mu.Unlock()
	if err == nil {
		i.lastGot = at
	}
	if i.lag > 0 && err == nil && i.ring.Load() != nil {
		i.reads = append(i.reads, simRead{at, blob, revision})
		for len(i.reads) > 1 && time.Since(i.reads[1].at) > i.lag {
			i.reads = i.reads[1:]
		}
		return i.reads[0].blob, i.reads[0].revision, nil
	}
	return blob, revision, err
}

type simRead struct {
	at       time.Time
	blob     []byte
	revision string
}

func (i *simInstance) Save(ctx context.Context, blob []byte, revision string) error {
	how := i.fails(3)
	i.mu.Lock()
	delay := time.Duration(i.rand.Int64N(int64(40*time.Minute) >> i.rand.IntN(8)))
	i.mu.Unlock()
	i.sim.count("save " + how)
	switch how {
	case "refused", "crashed":
		return errSim
	case "hangs":
		<-ctx.Done()
		return ctx.Err()
	case "late": // what was sent arrives, when nobody waits for it any more
		blob := slices.Clone(blob)
		go func() {
			time.Sleep(delay)
			if i.sim.store.Save(context.Background(), blob, revision) == nil {
				i.sim.count("late save took effect")
			}
		}()
		return errSim
	case "crash before":
		i.die()
		return errSim
	}
	i.travel()
	defer i.travel()
	err := i.sim.store.Save(ctx, blob, revision)
	switch how {
	case "ack lost":
		return errSim
	case "crash after":
		i.die()
		return errSim
	}
	if errors.Is(err, token.ErrKeyStoreConflict) {
		i.sim.count("conflict")
	}
	return err
}

// travel is the time that a message takes.
func (i *simInstance) travel() {
	i.mu.Lock()
	d := time.Duration(i.rand.Int64N(int64(2 * time.Second)))
	i.mu.Unlock()
	time.Sleep(d)
}

func (i *simInstance) die() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.crash = true
}

func (s *simulation) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[what]++
}

// run lets an instance live: it opens, crashes, is cut off, its clock is set.
func (i *simInstance) run() {
	s := i.sim
	i.mu.Lock()
	crashed := i.crash
	if s.rand.IntN(200) == 0 {
		i.skew = time.Duration(s.rand.Int64N(int64(simSkew))) - simSkew/2
	}
	if s.rand.IntN(150) == 0 && s.chaos {
		i.cut = time.Now().Add(time.Duration(s.rand.Int64N(int64(3 * s.alone))))
	}
	i.mu.Unlock()
	if i.ring.Load() != nil && (crashed || s.chaos && s.rand.IntN(300) == 0) {
		i.ring.Swap(nil).Close()
		i.down = time.Now().Add(time.Duration(s.rand.Int64N(int64(10 * time.Minute))))
		s.count("crash")
	}
	if i.ring.Load() != nil || time.Now().Before(i.down) {
		return
	}
	i.open()
}

// open starts the process.
func (i *simInstance) open() {
	s := i.sim
	i.mu.Lock()
	i.crash = false
	i.mu.Unlock()
	cfg := simConfig()
	cfg.SetClock(i.now)
	ring, err := token.OpenKeyring(context.Background(), i, cfg)
	if err != nil {
		s.count("open failed")
		return
	}
	i.issuer, err = token.NewIssuer(token.IssuerConfig{Issuer: forgedIssuer, Keys: ring, Lifetime: simLifetime})
	if err != nil {
		s.t.Error(err)
	}
	i.ring.Store(ring)
}

// byHand does what an operator does now and then.
func (i *simInstance) byHand() {
	s := i.sim
	if i.ring.Load() == nil {
		return
	}
	switch s.rand.IntN(150) {
	case 0:
		s.count("rotated by hand")
		i.ring.Load().Rotate(context.Background())
	case 1:
		// Over a link that works, so that the test knows what to excuse.
		i.mu.Lock()
		chaos := i.chaos
		i.chaos, i.cut = false, time.Time{}
		i.mu.Unlock()
		keys := i.ring.Load().Status().Keys
		k := keys[s.rand.IntN(len(keys))]
		s.removed[k.Key.ID()] = true
		if i.ring.Load().Remove(context.Background(), k.Key.ID()) == nil {
			s.count("removed " + string(k.State))
			s.gone[k.Key.ID()] = time.Now()
			for _, k := range i.ring.Load().Status().Keys {
				if k.State == token.KeyActive && k.Key.ID() != i.ring.Load().Active().ID() {
					s.t.Error("two keys are active")
				}
			}
			// The ring may have moved on since keys was read.
			_, ripe, _ := simConfig().Timing()
			active := i.ring.Load().Active().ID()
			if !slices.ContainsFunc(keys, func(k token.KeyStatus) bool {
				return k.Key.ID() == active && (k.State == token.KeyActive || !k.Since.IsZero() && time.Since(k.Since) > time.Duration(ripe)+simSkew)
			}) {
				s.count("took over too young")
				s.young[active] = time.Now().Add(10 * time.Minute)
			}
		}
		i.mu.Lock()
		i.chaos = chaos
		i.mu.Unlock()
	}
}

// issue signs a token and holds every verifier to knowing its key.
func (i *simInstance) issue() {
	s := i.sim
	if i.ring.Load() == nil {
		return
	}
	i.mu.Lock()
	r := request()
	r.IssuedAt = time.Now().Add(min(i.skew, 2*time.Second)).Truncate(time.Millisecond) // no issuer writes more
	away := time.Since(i.lastGot)
	i.mu.Unlock()
	issued, err := i.issuer.Issue(context.Background(), r)
	switch {
	case errors.Is(err, token.ErrKeysUnavailable):
		s.count("stopped signing")
		if away < s.alone-simSkew {
			s.violation("stopped signing %v after it had read the store", away)
		}
		return
	case err != nil:
		s.t.Fatal(err)
	case away > s.alone:
		s.violation("still signs, long after it read the store")
	}
	kid := i.kid(issued)
	// What a verifier whose clock is behind takes, with the largest leeway.
	until := issued.Claims().ExpiresAt().Add(revoke.MaxLeeway + simSkew/2)
	if until.After(s.liveUntil[kid]) {
		s.liveUntil[kid] = until
	}
	for n, v := range s.verifiers {
		_, err := s.remotes[n].Lookup(context.Background(), kid, token.EdDSA)
		if err == nil && s.rand.IntN(4) == 0 {
			_, err = v.Verify(context.Background(), issued.Token())
		}
		switch {
		case err == nil:
			s.count("verified")
		case errors.Is(err, token.ErrUnavailable):
			s.count("cannot verify")
		case s.excused(kid):
		default:
			s.violation("verifier %d refuses a new token: %v", n, err)
		}
	}
}

func (i *simInstance) kid(issued *token.Issued) string { return issued.Claims().Identity().Key }

func (s *simulation) excused(kid string) bool {
	return s.removed[kid] || time.Now().Before(s.young[kid])
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
	return body(s.t, resp), true
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
			t: t, rand: rand.New(rand.NewPCG(seed, 1)), pick: rand.New(rand.NewPCG(seed, 2)), store: new(token.MemoryStore), alone: time.Duration(alone), chaos: chaos,
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
			remote, err := token.RemoteKeys(t.Context(), "https://auth.example.com/jwks.json", token.RemoteKeysConfig{Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			s.remotes = append(s.remotes, remote)
			s.verifiers = append(s.verifiers, forgedVerifier(t, func(c *token.VerifierConfig) {
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
		"conflict", "rotated by hand", "removed active", "removed announced", "removed retired", "stopped signing", "cannot verify", "verified", "cache knows", "cache empty"} {
		if total[what] == 0 {
			t.Errorf("in no run: %s: the simulation tests less than it says", what)
		}
	}
}

// The simulation must notice what OpenKeyring and KeyStore forbid; otherwise it
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
