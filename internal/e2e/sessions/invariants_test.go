package sessions_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/revoke"
	tokens "github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A recorded store remembers all that was stored through it.
type recorded struct {
	refresh.Store
	mu    *sync.Mutex
	saved *[]byte
}

func (r recorded) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	r.mu.Lock()
	*r.saved = append(append(append(*r.saved, key...), ' '), value...)
	r.mu.Unlock()
	return r.Store.Save(ctx, key, value, revision, expires)
}

// twinGrace is the grace window of a twin. Ten uses at a time fit into it, on a busy
// machine too.
const twinGrace = 8 * time.Second

// A twin is a service of two instances over one store, and the one replica there is.
type twin struct {
	managers [2]*refresh.Manager
	list     *revoke.List
	verifier *tokens.Verifier
	mu       sync.Mutex
	down     error // of publishing; guarded by mu
	saved    []byte
}

func (w *twin) Publish(_ context.Context, e revoke.Event) (revoke.Receipt, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return revoke.Receipt{ID: e.ID, Event: e}, w.down
}

func (w *twin) fails(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = err
}

func newTwin(t *testing.T, open func() refresh.Store) *twin {
	t.Helper()
	w := new(twin)
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: tokens.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	iss, err := issue.NewIssuer(issue.Config{Issuer: rig.Issuer, Keys: ring, MaxSkew: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	w.list = rig.NewList(t, revoke.Config{Local: true, MaxSkew: 50 * time.Millisecond})
	if w.verifier, err = tokens.NewVerifier(tokens.VerifierConfig{
		Issuer: rig.Issuer, Audiences: []string{"api"}, Algorithms: []tokens.Algorithm{tokens.EdDSA}, Keys: ring, Revocations: w.list,
	}); err != nil {
		t.Fatal(err)
	}
	lifetimes := refresh.Web
	lifetimes.Grace = twinGrace
	for i := range w.managers {
		if w.managers[i], err = refresh.NewManager(refresh.Config{
			Issuer: iss, Store: recorded{open(), &w.mu, &w.saved}, Revocations: w.list, Publisher: w, Lifetimes: lifetimes,
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.managers[i].Close() })
	}
	return w
}

func (w *twin) login(t *testing.T, user string) *refresh.Grant {
	t.Helper()
	g, err := w.managers[0].Login(rig.Within(t), refresh.Login{Subject: user, Client: "web", Audience: []string{"api"}, AuthTime: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (w *twin) dead(t *testing.T, g *refresh.Grant) {
	t.Helper()
	if _, err := w.verifier.Verify(t.Context(), g.AccessToken()); !errors.Is(err, revoke.ErrRevoked) {
		t.Errorf("session %s: its access token is not refused as revoked: %v", g.SessionID, err)
	}
	if _, err := w.managers[1].Refresh(rig.Within(t), refresh.Request{Token: g.RefreshToken(), Client: "web"}); !errors.Is(err, refresh.ErrLoginAgain) {
		t.Errorf("session %s: it is not over: %v", g.SessionID, err)
	}
}

// What a Manager promises, over each of the stores: invariants 8, 9 and 10, and the race
// of logins and refreshes with a logout everywhere.
func TestSessionsOnBothStores(t *testing.T) {
	t.Parallel()
	stores := map[string]func(t *testing.T) func() refresh.Store{
		"memory": func(*testing.T) func() refresh.Store {
			s := refresh.NewMemoryStore()
			return func() refresh.Store { return s }
		},
		"natskv": func(t *testing.T) func() refresh.Store {
			br := rig.NewBroker(t, nil)
			rig.CreateBucket(t, rig.StoreConnection(t, br.URL()), natskv.BucketConfig{})
			return func() refresh.Store { return rig.OpenStore(t, rig.StoreConnection(t, br.URL())) }
		},
	}
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			t.Run("invariant 8", func(t *testing.T) { oneSuccess(t, newTwin(t, store(t))) })
			t.Run("invariant 9", func(t *testing.T) { pendingIsFinished(t, newTwin(t, store(t))) })
			t.Run("invariant 10", func(t *testing.T) { nothingSecretStored(t, newTwin(t, store(t))) })
			t.Run("logout everywhere", func(t *testing.T) { logoutAllRaces(t, newTwin(t, store(t))) })
		})
	}
}

func oneSuccess(t *testing.T, w *twin) {
	for i := range 5 {
		g := w.login(t, fmt.Sprint("user-", i))
		var wg sync.WaitGroup
		var mu sync.Mutex
		successors, start := map[string]bool{}, make(chan struct{})
		for k := range 10 {
			wg.Go(func() {
				<-start
				next, err := w.managers[k%2].Refresh(rig.Within(t), refresh.Request{Token: g.RefreshToken(), Client: "web"})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					successors[generation(next.RefreshToken())] = true
				} else if !errors.Is(err, refresh.ErrTryAgain) {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		if len(successors) != 1 {
			t.Fatalf("%d successors of one refresh token", len(successors))
		}
		if i > 0 {
			continue
		}
		used := time.Now() // by now; the clocks of instances may differ by MaxSkew
		rig.Eventually(t, "the window is over", func() bool { return time.Since(used) > twinGrace+time.Second })
		if _, err := w.managers[1].Refresh(rig.Within(t), refresh.Request{Token: g.RefreshToken(), Client: "web"}); !errors.Is(err, refresh.ErrReused) {
			t.Errorf("a use after the window is theft: %v", err)
		}
		w.dead(t, g)
	}
}

func pendingIsFinished(t *testing.T, w *twin) {
	down := errors.New("bus down")
	one, kept, other := w.login(t, "one"), w.login(t, "two"), w.login(t, "two")
	w.fails(down)
	if err := w.managers[0].Logout(rig.Within(t), one.SessionID); !errors.Is(err, refresh.ErrPending) || !errors.Is(err, down) {
		t.Fatal(err)
	}
	if _, err := w.managers[0].LogoutAll(rig.Within(t), "two", refresh.Keep(kept.SessionID)); !errors.Is(err, refresh.ErrPending) {
		t.Fatal(err)
	}
	w.fails(nil)
	// The other instance comes upon both.
	for _, g := range []*refresh.Grant{one, other} {
		if _, err := w.managers[1].Refresh(rig.Within(t), refresh.Request{Token: g.RefreshToken(), Client: "web"}); !errors.Is(err, refresh.ErrEnded) {
			t.Fatal(err)
		}
	}
	if _, err := w.managers[1].Sessions(rig.Within(t), "two"); err != nil {
		t.Fatal(err)
	}
	w.dead(t, one)
	w.dead(t, other)
	if _, err := w.managers[1].Refresh(rig.Within(t), refresh.Request{Token: kept.RefreshToken(), Client: "web"}); err != nil {
		t.Error(err)
	}
}

func nothingSecretStored(t *testing.T, w *twin) {
	grants := []*refresh.Grant{w.login(t, "user")}
	for i := range 3 {
		g, err := w.managers[i%2].Refresh(rig.Within(t), refresh.Request{Token: grants[i].RefreshToken(), Client: "web"})
		if err != nil {
			t.Fatal(err)
		}
		grants = append(grants, g)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !bytes.Contains(w.saved, []byte(`"seal"`)) || !bytes.Contains(w.saved, []byte(grants[0].SessionID)) {
		t.Fatal("nothing was looked at")
	}
	for _, g := range grants {
		raw := strings.TrimPrefix(g.RefreshToken(), "htr1_")
		// Beyond the session id and the time, which are no secrets.
		for _, secret := range []string{raw[33:74], raw[76:], g.AccessToken()[strings.LastIndexByte(g.AccessToken(), '.'):]} {
			if bytes.Contains(w.saved, []byte(secret)) {
				t.Error("a secret rests in the store")
			}
		}
	}
}

func logoutAllRaces(t *testing.T, w *twin) {
	for round := range 5 {
		user := fmt.Sprint("racer-", round)
		before := time.Now()
		grants := []*refresh.Grant{w.login(t, user), w.login(t, user), w.login(t, user)}
		var mu sync.Mutex
		var wg sync.WaitGroup
		add := func(g *refresh.Grant, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				grants = append(grants, g)
			} else if !errors.Is(err, refresh.ErrLoginAgain) && !errors.Is(err, refresh.ErrTryAgain) {
				t.Error(err)
			}
		}
		first := grants
		for k, g := range first {
			wg.Go(func() {
				add(w.managers[k%2].Refresh(rig.Within(t), refresh.Request{Token: g.RefreshToken(), Client: "web"}))
			})
			// Authenticated before, with what was the password.
			wg.Go(func() {
				add(w.managers[k%2].Login(rig.Within(t), refresh.Login{Subject: user, Client: "web", Audience: []string{"api"}, AuthTime: before}))
			})
		}
		wg.Go(func() {
			if _, err := w.managers[1].LogoutAll(rig.Within(t), user); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		for _, g := range grants {
			w.dead(t, g)
		}
		// The cutoff covers its own millisecond; nobody checks a password in less.
		l := refresh.Login{Subject: user, Client: "web", Audience: []string{"api"}, AuthTime: time.Now().Add(time.Millisecond), Recheck: func(context.Context) error { return nil }}
		g, err := w.managers[0].Login(rig.Within(t), l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.verifier.Verify(t.Context(), g.AccessToken()); err != nil {
			t.Errorf("a login after it does not pass: %v", err)
		}
	}
}
