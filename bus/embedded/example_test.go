package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/bus/rollcall"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A publisher and a replica, from the start of the server to a revocation that has
// taken effect. Against a cluster only the first step differs: Config.Servers instead of
// InProcess, and one bus.CreateStream by an operator.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	srv, err := embedded.Start(ctx, embedded.Config{}) // in memory: for tests and demonstrations
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	// An API service: a list, kept in step. token.VerifierConfig.Revocations takes it.
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		log.Fatal(err)
	}
	orders, err := bus.Join(ctx, bus.Config{InProcess: srv, List: list, Name: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	defer orders.Close()
	if err := orders.WaitFresh(ctx); err != nil { // or let Readiness tell the load balancer
		log.Fatal(err)
	}
	probe := httptest.NewRecorder()
	orders.Readiness(revoke.Deny()).ServeHTTP(probe, httptest.NewRequest("GET", "/readyz", nil))
	fmt.Println("ready:", probe.Code)

	// The auth service names the issuers whose tokens it revokes: its own, and perhaps some
	// that others run.
	auth, err := bus.Join(ctx, bus.Config{InProcess: srv, Issuers: []string{"https://auth.example.com"}, Name: "auth"})
	if err != nil {
		log.Fatal(err)
	}
	defer auth.Close()
	if _, err := auth.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: "session-1", Reason: "logout"}); err != nil {
		log.Fatal("not revoked: ", err)
	}

	// Milliseconds later every service refuses; Barrier makes sure that this one does.
	if err := orders.Barrier(ctx); err != nil {
		log.Fatal(err)
	}
	now := time.Now()
	for _, session := range []string{"session-1", "session-2"} {
		id := revoke.Identity{Issuer: "https://auth.example.com", Token: "t", Session: session, IssuedAt: now, ExpiresAt: now.Add(time.Minute)}
		fmt.Println(session, "revoked:", errors.Is(list.Check(revoke.Now(), &id, revoke.Deny()), revoke.ErrRevoked))
	}

	// A caller that must show that a revocation took effect waits for the replicas.
	receipt, err := rollcall.Revoke(ctx, auth, revoke.Event{Kind: revoke.KindClient, Value: "stolen-app"}, rollcall.Config{Replicas: 1})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range receipt.Replicas {
		fmt.Println(r.Name, "applied:", r.Applied)
	}
	// Output:
	// ready: 200
	// session-1 revoked: true
	// session-2 revoked: false
	// orders applied: true
}

// A service with a state file restarts while the bus is down: it refuses what it knew
// to be revoked, and about everything else it cannot know.
func ExampleStart_stateFile() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "orders") // mode 0700: nobody else may write there
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cfg := revoke.Config{StateFile: filepath.Join(dir, "revocations")}

	srv, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		log.Fatal(err)
	}
	list, err := revoke.NewList(cfg)
	if err != nil {
		log.Fatal(err)
	}
	member, err := bus.Join(ctx, bus.Config{InProcess: srv, Issuers: []string{"https://auth.example.com"}, List: list})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := member.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: "session-1"}); err != nil {
		log.Fatal(err)
	}
	if err := member.Barrier(ctx); err != nil {
		log.Fatal(err)
	}
	member.Close() // writes the file a last time
	srv.Close()

	list, err = revoke.NewList(cfg) // after the restart, with nobody to follow
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now()
	for _, session := range []string{"session-1", "session-2"} {
		id := revoke.Identity{Issuer: "https://auth.example.com", Token: "t", Session: session, IssuedAt: now, ExpiresAt: now.Add(time.Minute)}
		err := list.Check(revoke.Now(), &id, revoke.Deny())
		fmt.Println(session, "revoked:", errors.Is(err, revoke.ErrRevoked), "cannot know:", errors.Is(err, revoke.ErrStale))
	}
	// Output:
	// session-1 revoked: true cannot know: false
	// session-2 revoked: false cannot know: true
}
