package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// serviceNames are the APIs, as in a token's audience. The last one follows the mirror.
var serviceNames = []string{"orders", "billing", "search"}

// policies are what a service can be told to do while its replica cannot prove itself.
var policies = []struct {
	name   string
	policy revoke.Policy
	says   string
}{
	{"Deny", revoke.Deny(), "While it cannot vouch for a token it answers 503: nobody who was revoked comes through."},
	{"MaxStaleness", revoke.MaxStaleness(30 * time.Second), "It accepts while its proof is younger than that, which exposes everybody who was revoked since."},
	{"AllowYounger", revoke.AllowYounger(time.Minute), "It accepts tokens that were issued within the last minute, so that a revoked one survives for a minute at most."},
	{"InsecureAllow", revoke.InsecureAllow(), "It accepts everything that it does not know to be revoked: users who are logged out meanwhile stay exposed until their tokens expire."},
}

// A service is an API with an address, a link to NATS, and, while it runs, a replica of its own.
type service struct {
	name     string
	mirrored bool
	address  string
	keySet   string // URL
	issuer   string
	link     *link
	policy   atomic.Int32 // index in policies

	mu  sync.Mutex
	api *api // nil while it is restarted
}

// An api is a service that runs: what dies with its process.
type api struct {
	list   *revoke.List
	member *bus.Member
	close  closers
}

func startService(ctx context.Context, name string, mirrored bool, b *broker, issuer string) (*service, error) {
	k, err := newLink(func() string { return b.address })
	if err != nil {
		return nil, err
	}
	s := &service{name: name, mirrored: mirrored, address: "127.0.0.1:0", keySet: issuer + "/.well-known/jwks.json", issuer: issuer, link: k}
	if err := s.start(ctx); err != nil {
		k.close()
		return nil, err
	}
	return s, nil
}

// start is all that a service needs: a denylist, what keeps it in step, the issuer's keys, and a
// verifier over them. No request asks anybody else.
func (s *service) start(ctx context.Context) (err error) {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	a := &api{}
	defer func() {
		if err != nil {
			l.Close()
			a.close.all()
		}
	}()
	if a.list, err = revoke.NewList(freshness); err != nil {
		return err
	}
	cfg := bus.Config{Servers: s.link.url(), List: a.list, Name: s.name, Logger: log}
	if s.mirrored {
		cfg.Stream, cfg.NoHeartbeats = mirrorName, true
	}
	if a.member, err = bus.Join(ctx, cfg); err != nil {
		return err
	}
	a.close.add(a.member.Close)
	keys, err := token.NewRemoteKeySet(ctx, s.keySet, token.RemoteKeySetConfig{
		InsecureAllowHTTP: true, // a socket of this machine; https everywhere else
		MinInterval:       time.Second, RefreshInterval: 5 * time.Second, Logger: log,
	})
	if err != nil {
		return err
	}
	a.close.add(keys.Close)
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: s.issuer, OwnIssuer: true, Audiences: []string{s.name}, Algorithms: []token.Algorithm{token.EdDSA},
		Keys: keys, Revocations: a.list, Logger: log,
	})
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		fmt.Fprintf(w, "hello %s\n", claims.Subject())
	})
	mux.Handle("GET /hello", s.byPolicy(verifier, hello))
	mux.Handle("GET /events", s.byPolicy(verifier, http.HandlerFunc(events), token.WithGrace(0)))
	a.close.add(serve(l, mux))

	s.mu.Lock()
	defer s.mu.Unlock()
	s.address, s.api = l.Addr().String(), a
	return nil
}

// byPolicy lets requests pass by the policy of the moment. A service that never changes it sets
// VerifierConfig.WhenStale.
func (s *service) byPolicy(v *token.Verifier, next http.Handler, opts ...token.VerifyOption) http.Handler {
	var handlers []http.Handler
	for _, p := range policies {
		handlers = append(handlers, v.Middleware(next, append(opts, token.WithStalePolicy(p.policy))...))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handlers[s.policy.Load()].ServeHTTP(w, r) })
}

// stop ends the process, as far as one service in a process of many can.
func (s *service) stop() {
	s.mu.Lock()
	a := s.api
	s.api = nil
	s.mu.Unlock()
	if a != nil {
		a.close.all()
	}
}

func (s *service) running() *api {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.api
}

func (s *service) url() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "http://" + s.address
}

// An answer is what a device got from a service.
type answer string

const (
	noAnswer answer = ""         // not asked yet
	accepted answer = "accepted" // 200
	refused  answer = "refused"  // 401
	unknown  answer = "unknown"  // 503: the service cannot know, and says so
	down     answer = "down"     // nobody answers
)

// ask calls the service with an access token.
func (s *service) ask(ctx context.Context, client *http.Client, raw string) answer {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url()+"/hello", nil)
	if err != nil {
		return down
	}
	r.Header.Set("Authorization", "Bearer "+raw)
	resp, err := client.Do(r)
	if err != nil {
		return down
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	switch resp.StatusCode {
	case http.StatusOK:
		return accepted
	case http.StatusUnauthorized:
		return refused
	case http.StatusServiceUnavailable:
		return unknown
	}
	return down
}
