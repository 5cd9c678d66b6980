package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func ExampleBus_Publish() {
	ctx := context.Background()
	conn, err := bus.Dial(ctx, "nats://nats-1:4222,nats://nats-2:4222", bus.DialConfig{CredentialsFile: "auth.creds"})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	b, err := bus.Open(ctx, conn, bus.Config{Issuer: "https://auth.example.com"})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()

	// The password was changed: every session ends but the one it was changed in. In a
	// handler ctx is r.Context(), which ends when the browser goes away; a revocation
	// must not end with it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	receipt, err := b.Publish(ctx, revoke.Event{
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
	conn, err := bus.Dial(ctx, "nats://nats-1:4222", bus.DialConfig{CredentialsFile: "operator.creds"})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	err = bus.CreateStream(ctx, conn, bus.StreamConfig{
		Replicas: 3,
		MaxBytes: 4 << 30, // 20 million live revocations
		Horizons: revoke.Horizons{TokenLifetime: 15 * time.Minute, SessionLifetime: 30 * 24 * time.Hour},
	})
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleSubject() {
	fmt.Println(bus.Subject("https://auth.example.com", revoke.KindSession))
	// Output: revocations.v1.1ce18487e0b9bfefc8259d779bfe9874.session
}
