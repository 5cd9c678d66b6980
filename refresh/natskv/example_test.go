package natskv_test

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// All instances of the service open the one bucket, each with a connection of its own.
func ExampleNew() {
	var (
		ctx       = context.Background()
		issuer    *issue.Issuer     // as in package token
		list      *revoke.List      // that a bus feeds
		publisher refresh.Publisher // that bus
	)
	nc, err := nats.Connect("nats://n1:4222,nats://n2:4222,nats://n3:4222",
		nats.UserCredentials("sessions.creds"), nats.CustomInboxPrefix("_INBOX_sessions"),
		nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), // or New refuses it
		nats.ReconnectBufSize(-1), nats.PingInterval(2*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	store, err := natskv.New(ctx, nc, natskv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := refresh.NewManager(refresh.Config{
		Issuer: issuer, Store: store, Revocations: list, Publisher: publisher, Lifetimes: refresh.Web,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()
}

// The keys that sign tokens, shared by instances on many machines, in the bucket of their
// sessions.
func ExampleNew_keyring() {
	var (
		ctx    = context.Background()
		nc     *nats.Conn   // as above
		list   *revoke.List // that a bus feeds
		secret []byte       // 32 random bytes from a secret manager
	)
	store, err := natskv.New(ctx, nc, natskv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	seal, err := issue.NewSealKey("2026-11", secret)
	if err != nil {
		log.Fatal(err)
	}
	ring, err := issue.OpenKeyring(ctx, store, issue.KeyringConfig{
		Issuer: "https://auth.example.com", SealKeys: []*issue.SealKey{seal}, Revocations: list,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()
	http.Handle("/.well-known/jwks.json", ring)
}
