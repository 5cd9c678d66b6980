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

// serve returns a connection to a server in memory, and what ends both.
func serve(ctx context.Context) (*bus.Conn, func()) {
	srv, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		log.Fatal(err)
	}
	conn, err := srv.Dial(ctx, bus.DialConfig{})
	if err != nil {
		log.Fatal(err)
	}
	return conn, func() { conn.Close(); srv.Close() }
}

// Only the auth service can log a user out everywhere: followers heed events of the
// mass kinds with its signature alone, whoever else may publish.
func ExampleServer_signed() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, stop := serve(ctx)
	defer stop()
	public, private, err := ed25519.GenerateKey(rand.Reader) // kept in a KMS, or a file of the auth service
	if err != nil {
		log.Fatal(err)
	}
	open := func(cfg bus.Config) *bus.Bus {
		b, err := bus.Open(ctx, conn, cfg)
		if err != nil {
			log.Fatal(err)
		}
		return b
	}
	auth := open(bus.Config{Issuer: "https://auth.example.com", Signer: private})
	defer auth.Close()
	other := open(bus.Config{Issuer: "https://auth.example.com"})
	defer other.Close()
	orders := open(bus.Config{Trust: []ed25519.PublicKey{public}})
	defer orders.Close()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		log.Fatal(err)
	}
	follower, err := orders.Follow(ctx, list)
	if err != nil {
		log.Fatal(err)
	}
	defer follower.Close()

	for b, user := range map[*bus.Bus]string{auth: "user-1", other: "user-2"} {
		if _, err := b.Publish(ctx, revoke.Event{Kind: revoke.KindSubject, Value: user}); err != nil {
			log.Fatal(err)
		}
	}
	if err := follower.Barrier(ctx); err != nil {
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
	conn, stop := serve(ctx)
	defer stop()
	b, err := bus.Open(ctx, conn, bus.Config{Issuer: "https://auth.example.com"})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()

	var events []revoke.Event
	for n := range 1000 {
		events = append(events, revoke.Event{Kind: revoke.KindSubject, Value: fmt.Sprintf("user-%d", n), Reason: "breach"})
	}
	for attempt := 1; len(events) > 0 && ctx.Err() == nil; attempt++ {
		results, err := b.PublishAll(ctx, events)
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

// What watches a follower, for a gauge or an alarm: State says whether tokens are
// accepted, Reason and Hazards why not, and what could go wrong.
func ExampleServer_observe() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, stop := serve(ctx)
	defer stop()
	b, err := bus.Open(ctx, conn, bus.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		log.Fatal(err)
	}
	follower, err := b.Follow(ctx, list)
	if err != nil {
		log.Fatal(err)
	}
	defer follower.Close()
	for s := (bus.FollowerStatus{}); s.State != revoke.StateFresh; { // in a service: for ever
		if s, err = follower.WaitChange(ctx, s); err != nil {
			log.Fatal(err)
		}
		if s.State == revoke.StateFresh {
			fmt.Println(s.State, s.Connected)
		}
	}
	// Output: fresh true
}
