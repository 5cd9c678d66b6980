package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// The part of an API service: a list, kept in step.
func ExampleJoin() {
	ctx := context.Background()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		log.Fatal(err)
	}
	member, err := bus.Join(ctx, bus.Config{
		Servers: "nats://nats-1:4222,nats://nats-2:4222,nats://nats-3:4222", CredentialsFile: "orders.creds",
		List: list, Logger: slog.Default(),
	})
	if err != nil {
		log.Fatal(err) // nothing that waiting would mend: servers that are down are waited for
	}
	defer member.Close()
	http.Handle("/readyz", member.Readiness(revoke.Deny()))
	// A token.VerifierConfig takes the list as its Revocations.
}

func ExampleMember_Publish() {
	ctx := context.Background()
	member, err := bus.Join(ctx, bus.Config{
		Servers: "nats://nats-1:4222,nats://nats-2:4222", CredentialsFile: "auth.creds",
		Issuers: []string{"https://auth.example.com"}, Logger: slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer member.Close()

	// The password was changed: every session ends but the one it was changed in. In a
	// handler ctx is r.Context(), which ends when the browser goes away; a revocation
	// must not end with it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	receipt, err := member.Publish(ctx, revoke.Event{
		Kind: revoke.KindSubject, Value: "user-1", Keep: []string{"the-session-at-hand"}, Reason: "password_change",
	})
	switch {
	case errors.Is(err, bus.ErrNotAcknowledged):
		log.Print("unknown whether it took effect; it must be published again: ", err)
	case err != nil:
		log.Print("not revoked: ", err)
	default:
		// The cutoff lies up to 2 s ahead: the user's next login gets an iat after it.
		iat := receipt.Event.Before.Add(time.Millisecond)
		log.Print("revoked at ", receipt.Sequence, ", next login from ", iat)
	}
}

func ExampleCreateStream() {
	ctx := context.Background()
	nc, err := nats.Connect("nats://nats-1:4222", nats.UserCredentials("operator.creds"))
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	err = bus.CreateStream(ctx, nc, bus.StreamConfig{
		Replicas:  3,
		MaxBytes:  4 << 30, // 20 million live revocations
		Retention: revoke.Retention{TokenLifetime: 15 * time.Minute, SessionLifetime: 30 * 24 * time.Hour},
	})
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleSubject() {
	fmt.Println(bus.Subject("https://auth.example.com", revoke.KindSession))
	// Output: revocations.v1.1ce18487e0b9bfefc8259d779bfe9874.session
}
