package rollcall_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/rollcall"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// An operator bans a stolen client, and is shown which services obey. Package bus/embedded
// has an Example that runs.
func Example() {
	ctx := context.Background()
	auth, err := bus.Join(ctx, bus.Config{Servers: "nats://n1.example.com,nats://n2.example.com", Issuers: []string{"https://auth.example.com"}})
	if err != nil {
		log.Fatal(err)
	}
	defer auth.Close()
	receipt, err := rollcall.Revoke(ctx, auth, revoke.Event{Kind: revoke.KindClient, Value: "stolen-app"}, rollcall.Config{})
	switch {
	case err == nil:
	case errors.Is(err, rollcall.ErrUnconfirmed):
		log.Print("revoked, obeyed everywhere at the latest at ", receipt.EffectiveBy.Format(time.TimeOnly), ": ", err)
	default:
		log.Fatal("not revoked: ", err)
	}
	for _, r := range receipt.Replicas {
		fmt.Println(r.Name, r.Applied, r.Delay, r.Problem)
	}
}
