package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// serveShop serves the shop. Its sessions and signing keys rest in NATS, on disk: a restart logs
// nobody out, and several instances could share them.
func serveShop(ctx context.Context, l net.Listener, server nats.InProcessConnProvider, data, orders string) {
	list := must(revoke.NewList(revoke.Config{Logger: log}))
	member := must(bus.Join(ctx, bus.Config{InProcess: server, List: list, Issuers: []string{issuer}, OutboxFile: filepath.Join(data, "outbox"), Name: "shop", Logger: log}))
	defer member.Close()
	nc := must(nats.Connect("", nats.InProcessServer(server), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.ReconnectBufSize(-1), nats.PingInterval(2*time.Second)))
	defer nc.Close()
	must(0, natskv.CreateBucket(ctx, nc, natskv.BucketConfig{Replicas: 1, MaxBytes: 64 << 20}))
	store := must(natskv.New(ctx, nc, natskv.Config{Logger: log}))
	must(0, member.WaitFresh(ctx))

	secret := keep(filepath.Join(data, "secret"), 64)
	seal := must(issue.NewSealKey("1", secret[:32]))
	ring := must(issue.OpenKeyring(ctx, store, issue.KeyringConfig{Issuer: issuer, SealKeys: []*issue.SealKey{seal}, Revocations: list, Logger: log}))
	defer ring.Close()
	tokens := must(issue.NewIssuer(issue.Config{Issuer: issuer, Keys: ring}))
	sessions := must(refresh.NewManager(refresh.Config{Issuer: tokens, Store: store, Revocations: list, Publisher: member, Lifetimes: refresh.Web, Logger: log}))
	defer sessions.Close()
	verifier := must(token.NewVerifier(token.VerifierConfig{
		Issuer: issuer, OwnIssuer: true, Audiences: []string{"shop"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: list, Logger: log,
	}))
	browser := must(web.NewBrowser(web.BrowserConfig{
		Sessions: sessions, Verifier: verifier, Client: "shop", LoginPath: "/login", CSRFKey: secret[32:], ThrottleLogin: throttle, Logger: log,
	}))
	serve(ctx, l, (&shop{browser, sessions, orders}).handler(ring))
}

// keep returns the random bytes in a file, which it makes. A real service has a secret manager:
// who has this file and the store can issue tokens for everybody.
func keep(file string, size int) []byte {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		b = make([]byte, size)
		rand.Read(b)
		err = os.WriteFile(file, b, 0o600)
	}
	return must(b, err)
}
