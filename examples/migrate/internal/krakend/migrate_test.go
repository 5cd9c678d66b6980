package krakend_test

import (
	"context"
	"net"
	"net/rpc"
	"slices"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/examples/migrate/internal/krakend"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// BloomfilterRPC stands in for the gateway: its method and messages have the names that the real one has.
type BloomfilterRPC struct{ added chan string }

func (b *BloomfilterRPC) Add(in krakend.AddInput, out *krakend.AddOutput) error {
	for _, e := range in.Elems {
		b.added <- string(e)
	}
	out.Count = len(in.Elems)
	return nil
}

func TestBefore(t *testing.T) {
	gateway := &BloomfilterRPC{make(chan string, 10)}
	server := rpc.NewServer()
	if err := server.Register(gateway); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go server.Accept(l)
	if err := krakend.Revoke([]string{l.Addr().String()}, "sub", "user-1"); err != nil {
		t.Fatal(err)
	}
	if got := <-gateway.added; got != "sub-user-1" {
		t.Errorf("added %q", got)
	}
	l.Close()
	if err := krakend.Revoke([]string{l.Addr().String()}, "sub", "user-1"); err == nil {
		t.Error("a gateway that is down is no error")
	}
}

// The claims of token_keys become events; one service hears of them that was not there when they were published, and
// the user's next login passes.
func TestAfter(t *testing.T) {
	const iss = "https://auth.example.com"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	srv, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	join := func(cfg bus.Config) *bus.Member {
		t.Helper()
		cfg.InProcess = srv
		m, err := bus.Join(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	publisher := join(bus.Config{Issuers: []string{iss}})
	var cutoff time.Time
	for claim, value := range map[string]string{"jti": "token-1", "sid": "session-1", "sub": "user-1", "client_id": "client-1", "tenant": "tenant-1"} {
		receipt, err := krakend.Publish(ctx, publisher, claim, value)
		if err != nil {
			t.Fatal(claim, err)
		}
		if claim == "sub" {
			cutoff = receipt.Event.Before
		}
	}
	if _, err := krakend.Publish(ctx, publisher, "email", "a@example.com"); err == nil {
		t.Error("a claim that nothing is revoked by is no error")
	}

	late, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := join(bus.Config{List: late}).WaitFresh(ctx); err != nil {
		t.Fatal(err)
	}
	base := revoke.Identity{Issuer: iss, Token: "t", Session: "s", Subject: "u", Client: "c", Tenant: "n", IssuedAt: time.Now().Add(-time.Minute)}
	var refused []string
	for name, change := range map[string]func(*revoke.Identity){
		"none": func(*revoke.Identity) {},
		"jti":  func(id *revoke.Identity) { id.Token = "token-1" },
		"sid":  func(id *revoke.Identity) { id.Session = "session-1" },
		"sub":  func(id *revoke.Identity) { id.Subject = "user-1" },
		"next login": func(id *revoke.Identity) {
			id.Subject, id.IssuedAt = "user-1", cutoff.Add(time.Millisecond)
		},
		"client_id": func(id *revoke.Identity) { id.Client = "client-1" },
		"tenant":    func(id *revoke.Identity) { id.Tenant = "tenant-1" },
	} {
		id := base
		change(&id)
		if late.Check(revoke.Now(), &id, revoke.Deny()) != nil {
			refused = append(refused, name)
		}
	}
	slices.Sort(refused)
	if want := []string{"client_id", "jti", "sid", "sub", "tenant"}; !slices.Equal(refused, want) {
		t.Errorf("refused: %q, want %q", refused, want)
	}
}
