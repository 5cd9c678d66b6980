package main

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A world is an auth service, a gateway, nginx and caddy, and an upstream behind all three.
type world struct {
	dir      string
	issuer   *issue.Issuer // of the auth service
	auth     *bus.Member
	gateway  *gateway
	upstream string // its address
	entries  []entry
	stderr   lockedBuffer

	open []func()
}

// An entry is a way in, with the client that reaches it.
type entry struct {
	name, url string
	client    *http.Client
}

func (w *world) close() {
	for i := len(w.open) - 1; i >= 0; i-- {
		w.open[i]()
	}
}

func (w *world) start(ctx context.Context, nginx, caddy string, edit func(name, conf string) string) error {
	dir, err := os.MkdirTemp("", "gateway") // a socket's path is short
	if err != nil {
		return err
	}
	w.dir = dir
	w.open = append(w.open, func() { os.RemoveAll(dir) })
	srv, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		return err
	}
	w.open = append(w.open, func() { srv.Close() })

	// The auth service, and what the gateway knows of its tokens.
	const issuerURL = "https://auth.example.com"
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	if err != nil {
		return err
	}
	if w.issuer, err = issue.NewIssuer(issue.Config{Issuer: issuerURL, Keys: ring}); err != nil {
		return err
	}
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		return err
	}
	if w.auth, err = bus.Join(ctx, bus.Config{InProcess: srv, Issuers: []string{issuerURL}, Name: "auth"}); err != nil {
		return err
	}
	w.open = append(w.open, func() { w.auth.Close() })
	member, err := bus.Join(ctx, bus.Config{InProcess: srv, List: list, Name: "gateway"})
	if err != nil {
		return err
	}
	w.open = append(w.open, func() { member.Close() })
	authURL, err := w.serve(jwks(ring))
	if err != nil {
		return err
	}
	keys, err := token.NewRemoteKeySet(ctx, authURL+"/.well-known/jwks.json", token.RemoteKeySetConfig{InsecureAllowHTTP: true}) // a socket of this machine
	if err != nil {
		return err
	}
	w.open = append(w.open, func() { keys.Close() })
	users, err := token.NewVerifier(token.VerifierConfig{
		Issuer: issuerURL, OwnIssuer: true, Audiences: []string{"shop"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: keys, Revocations: list,
	})
	if err != nil {
		return err
	}

	// The gateway is an issuer, too: of what it tells upstreams.
	const gatewayIssuer = "https://gateway.internal"
	gatewayRing, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	if err != nil {
		return err
	}
	gatewayTokens, err := issue.NewIssuer(issue.Config{Issuer: gatewayIssuer, Keys: gatewayRing})
	if err != nil {
		return err
	}
	g := &gateway{users: users, issuer: gatewayTokens}
	w.gateway = g
	keysURL, err := w.serve(jwks(gatewayRing))
	if err != nil {
		return err
	}
	gatewayKeys, err := token.NewRemoteKeySet(ctx, keysURL+"/.well-known/jwks.json", token.RemoteKeySetConfig{InsecureAllowHTTP: true})
	if err != nil {
		return err
	}
	w.open = append(w.open, func() { gatewayKeys.Close() })
	upstream, err := newUpstream(ctx, "orders", gatewayIssuer, gatewayKeys)
	if err != nil {
		return err
	}
	upstreamURL, err := w.serve(upstream)
	if err != nil {
		return err
	}
	w.upstream = strings.TrimPrefix(upstreamURL, "http://")
	to, err := url.Parse(upstreamURL)
	if err != nil {
		return err
	}
	gatewayURL, err := w.serve(g.handler("orders", to))
	if err != nil {
		return err
	}
	w.entries = append(w.entries, entry{"gateway", gatewayURL, &http.Client{Transport: new(http.Transport)}})

	for _, p := range []struct{ name, program, conf, method, uri string }{
		{"nginx", nginx, nginxConf, "X-Original-Method", "X-Original-Uri"},
		{"caddy", caddy, caddyfile, "X-Forwarded-Method", "X-Forwarded-Uri"},
	} {
		check, err := g.check("orders", p.method, p.uri)
		if err != nil {
			return err
		}
		checkURL, err := w.serve(check)
		if err != nil {
			return err
		}
		if edit != nil {
			p.conf = edit(p.name, p.conf)
		}
		client, err := w.startProxy(ctx, p.name, p.program, p.conf, strings.TrimPrefix(checkURL, "http://"))
		if err != nil {
			return err
		}
		w.entries = append(w.entries, entry{p.name, "http://shop.example.com", client})
	}
	return nil
}

func jwks(ring *issue.Keyring) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/.well-known/jwks.json", ring)
	return mux
}

// serve serves h on a free port of this machine and returns the URL.
func (w *world) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go srv.Serve(l)
	w.open = append(w.open, func() { srv.Close() })
	return "http://" + l.Addr().String(), nil
}

// A lockedBuffer keeps what the proxies write to standard error, up to a bound.
type lockedBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.text) < 64<<10 {
		b.text = append(b.text, p...)
	}
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}
