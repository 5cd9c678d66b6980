package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// startService starts an API that verifies tokens locally, against its own replica
// of the denylist; no request asks anyone else.
func startService(ctx context.Context, name, natsURL, issuer string, tune func(string, *token.VerifierConfig), open *closers) (*service, error) {
	// The denylist, and what keeps it up to date.
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		return nil, err
	}
	member, err := bus.Join(ctx, bus.Config{Servers: natsURL, List: list, Name: name})
	if err != nil {
		return nil, err
	}
	open.add(member.Close)

	// The issuer's keys, and the verifier over both.
	keys, err := token.NewRemoteKeySet(ctx, issuer+"/.well-known/jwks.json", token.RemoteKeySetConfig{
		InsecureAllowHTTP: true, // a socket of this machine; https everywhere else
	})
	if err != nil {
		return nil, err
	}
	open.add(keys.Close)
	cfg := token.VerifierConfig{
		Issuer:      issuer,
		OwnIssuer:   true,
		Audiences:   []string{name},
		Algorithms:  []token.Algorithm{token.EdDSA},
		Keys:        keys,
		Revocations: list,
	}
	if tune != nil {
		tune(name, &cfg)
	}
	verifier, err := token.NewVerifier(cfg)
	if err != nil {
		return nil, err
	}

	// The API itself.
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		fmt.Fprintf(w, "hello %s\n", claims.Subject())
	})
	url, err := serve(verifier.Middleware(api), open)
	if err != nil {
		return nil, err
	}
	// Until the replica has proven itself up to date, requests are answered by 503.
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	callers := &http.Client{Transport: &http.Transport{}}
	open.add(func() error { callers.CloseIdleConnections(); return nil })
	return &service{name, url, callers}, member.WaitFresh(wait)
}

// A service is an API as its callers see it.
type service struct {
	name, url string
	client    *http.Client
}

// get asks the service with a token and returns the status of the answer.
func (s *service) get(ctx context.Context, raw string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+raw)
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// serve serves h on a free port of this machine and returns the URL.
func serve(h http.Handler, open *closers) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go srv.Serve(l)
	open.add(srv.Close)
	return "http://" + l.Addr().String(), nil
}

// closers close what was opened, last first.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() {
	for i := len(*c) - 1; i >= 0; i-- {
		(*c)[i]()
	}
}
