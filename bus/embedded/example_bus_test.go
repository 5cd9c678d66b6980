package embedded_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// join makes a member of a server in memory.
func join(ctx context.Context, srv *embedded.Server, cfg bus.Config) *bus.Member {
	cfg.InProcess = srv
	m, err := bus.Join(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	return m
}

// Only the auth service can log a user out everywhere: followers heed events of the
// mass kinds with its signature alone, no matter who else may publish.
func ExampleServer_signed() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	srv, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	public, private, err := ed25519.GenerateKey(rand.Reader) // kept in a KMS, or a file of the auth service
	if err != nil {
		log.Fatal(err)
	}
	auth := join(ctx, srv, bus.Config{Issuers: []string{"https://auth.example.com"}, Signer: private})
	defer auth.Close()
	other := join(ctx, srv, bus.Config{Issuers: []string{"https://auth.example.com"}})
	defer other.Close()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		log.Fatal(err)
	}
	orders := join(ctx, srv, bus.Config{List: list, Trust: []ed25519.PublicKey{public}})
	defer orders.Close()

	for b, user := range map[*bus.Member]string{auth: "user-1", other: "user-2"} {
		if _, err := b.Publish(ctx, revoke.Event{Kind: revoke.KindSubject, Value: user}); err != nil {
			log.Fatal(err)
		}
	}
	if err := orders.Barrier(ctx); err != nil {
		log.Fatal(err)
	}
	now := time.Now()
	for _, user := range []string{"user-1", "user-2"} {
		id := revoke.Identity{Issuer: "https://auth.example.com", Token: "t", Subject: user, IssuedAt: now, ExpiresAt: now.Add(time.Minute)}
		fmt.Println(user, "revoked:", errors.Is(list.Check(revoke.Now(), &id, revoke.Deny()), revoke.ErrRevoked))
	}
	// Output:
	// user-1 revoked: true
	// user-2 revoked: false
}

// Many users are logged out at once, and those whose event was not acknowledged are
// tried again: to publish twice is harmless.
func ExampleServer_publishAll() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	srv, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	auth := join(ctx, srv, bus.Config{Issuers: []string{"https://auth.example.com"}})
	defer auth.Close()

	var events []revoke.Event
	for n := range 1000 {
		events = append(events, revoke.Event{Kind: revoke.KindSubject, Value: fmt.Sprintf("user-%d", n), Reason: "breach"})
	}
	for attempt := 1; len(events) > 0 && ctx.Err() == nil; attempt++ {
		results, err := auth.PublishAll(ctx, events)
		if errors.Is(err, revoke.ErrInvalidEvent) {
			log.Fatal(err) // nothing was sent
		}
		var again []revoke.Event
		for i, r := range results {
			if r.Err != nil {
				again = append(again, events[i])
			}
		}
		fmt.Println("attempt", attempt, "left:", len(again))
		events = again
	}
	// Output: attempt 1 left: 0
}

// What watches a member, for a gauge or an alarm: State says whether tokens are
// accepted, Reason and Hazards why not, and what could go wrong.
func ExampleServer_observe() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	srv, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		log.Fatal(err)
	}
	orders := join(ctx, srv, bus.Config{List: list})
	defer orders.Close()
	for s := (bus.Status{}); s.State != revoke.StateFresh; { // in a service: for ever
		if s, err = orders.WaitChange(ctx, s); err != nil {
			log.Fatal(err)
		}
		if s.State == revoke.StateFresh {
			fmt.Println(s.State, s.Connected)
		}
	}
	// Output: fresh true
}
