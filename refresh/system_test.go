package refresh_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A system is one Manager with its parts: a Local replica, so that what it publishes is
// what services know.
type system struct {
	*refresh.Manager
	store    *recorder
	list     *revoke.List
	issuer   *issue.Issuer
	verifier *token.Verifier
	events   []revoke.Event
	fail     error // of the next publishing
	end      bool  // what the application says, where a test has it asked
	mu       sync.Mutex
}

func (s *system) Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fail; err != nil {
		return revoke.Receipt{}, err
	}
	if err := e.Validate(); err != nil { // as a bus does
		return revoke.Receipt{}, err
	}
	s.events = append(s.events, e)
	return revoke.Receipt{ID: e.ID, Event: e}, nil
}

// A recorder remembers what was stored.
type recorder struct {
	refresh.Store
	mu    sync.Mutex
	saved [][]byte
	fail  error
}

func (r *recorder) Load(ctx context.Context, key string) (refresh.Record, error) {
	r.mu.Lock()
	err := r.fail
	r.mu.Unlock()
	if err != nil {
		return refresh.Record{}, err
	}
	return r.Store.Load(ctx, key)
}

func (r *recorder) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	r.mu.Lock()
	r.saved = append(r.saved, append([]byte(key+" "), value...))
	r.mu.Unlock()
	return r.Store.Save(ctx, key, value, revision, expires)
}

// last returns what was stored last under a key that begins so.
func (r *recorder) last(t *testing.T, kind string) []byte {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, saved := range slices.Backward(r.saved) {
		if key, value, _ := strings.Cut(string(saved), " "); strings.HasPrefix(key, kind) {
			return []byte(value)
		}
	}
	t.Fatal("nothing was stored")
	return nil
}

const issuerName = "https://auth.example.com"

func newSystem(t *testing.T, change ...func(*refresh.Config)) *system {
	t.Helper()
	return newSystemOf(t, revoke.Config{Local: true}, change...)
}

func newSystemOf(t *testing.T, replica revoke.Config, change ...func(*refresh.Config)) *system {
	t.Helper()
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: issuerName, Keys: ring, MaxSkew: replica.MaxSkew})
	if err != nil {
		t.Fatal(err)
	}
	s := &system{store: &recorder{Store: refresh.NewMemoryStore()}, issuer: issuer}
	if s.list, err = revoke.NewList(replica); err != nil {
		t.Fatal(err)
	}
	if s.verifier, err = token.NewVerifier(token.VerifierConfig{
		Issuer: issuerName, Audiences: []string{"api"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: s.list,
	}); err != nil {
		t.Fatal(err)
	}
	cfg := refresh.Config{Issuer: issuer, Store: s.store, Revocations: s.list, Publisher: s, Lifetimes: refresh.Web}
	for _, c := range change {
		c(&cfg)
	}
	if s.Manager, err = refresh.NewManager(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *system) login(t *testing.T, change ...func(*refresh.Login)) *refresh.Grant {
	t.Helper()
	l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now(), Scope: []string{"read", "write"}}
	for _, c := range change {
		c(&l)
	}
	g, err := s.Login(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// request is what the client of [system.login] asks, with what a test changes about it.
func request(refreshToken string, change ...func(*refresh.Request)) refresh.Request {
	r := refresh.Request{Token: refreshToken, Client: "web"}
	for _, c := range change {
		c(&r)
	}
	return r
}

func byClient(id string) func(*refresh.Request) {
	return func(r *refresh.Request) { r.Client = id }
}

func boundTo(b token.Binding) func(*refresh.Request) {
	return func(r *refresh.Request) { r.Binding = b }
}

func narrowedTo(scope ...string) func(*refresh.Request) {
	return func(r *refresh.Request) { r.Scope = append([]string{}, scope...) }
}

func (s *system) refresh(t *testing.T, g *refresh.Grant, change ...func(*refresh.Request)) *refresh.Grant {
	t.Helper()
	next, err := s.Refresh(t.Context(), request(g.RefreshToken(), change...))
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// refused expects an error of that kind and of its family alone.
func (s *system) refused(t *testing.T, g *refresh.Grant, want error, change ...func(*refresh.Request)) {
	t.Helper()
	_, err := s.Refresh(t.Context(), request(g.RefreshToken(), change...))
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
	if want != refresh.ErrScope && errors.Is(err, refresh.ErrLoginAgain) == errors.Is(err, refresh.ErrTryAgain) {
		t.Fatalf("error %v is of both families or of none", err)
	}
}

// accepted and dead say what services make of a grant's access token.
func (s *system) accepted(t *testing.T, g *refresh.Grant) *token.Claims {
	t.Helper()
	c, err := s.verifier.Verify(t.Context(), g.AccessToken())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *system) dead(t *testing.T, g *refresh.Grant) {
	t.Helper()
	if _, err := s.verifier.Verify(t.Context(), g.AccessToken()); !errors.Is(err, revoke.ErrRevoked) {
		t.Fatalf("the access token is not refused as revoked: %v", err)
	}
}
