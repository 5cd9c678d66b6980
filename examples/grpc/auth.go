package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// An auth keeps sessions and publishes its keys. examples/microservices has one that survives a
// restart.
type auth struct {
	url      string // its address, and its name as an issuer
	sessions *refresh.Manager
	closing  []func() error
}

func startAuth(ctx context.Context, nats *embedded.Server, log *slog.Logger) (a *auth, err error) {
	a = new(auth)
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a.url = "http://" + l.Addr().String()
	srv := &http.Server{Handler: ring, ReadHeaderTimeout: 5 * time.Second}
	go srv.Serve(l) // until it is closed
	a.closing = append(a.closing, srv.Close)
	issuer, err := issue.NewIssuer(issue.Config{Issuer: a.url, Keys: ring})
	if err != nil {
		return nil, err
	}
	list, err := revoke.NewList(revoke.Config{Logger: log})
	if err != nil {
		return nil, err
	}
	member, err := bus.Join(ctx, bus.Config{InProcess: nats, List: list, Issuers: []string{a.url}, Name: "auth", Logger: log})
	if err != nil {
		return nil, err
	}
	a.closing = append(a.closing, member.Close)
	a.sessions, err = refresh.NewManager(refresh.Config{
		Issuer: issuer, Store: refresh.NewMemoryStore(), Publisher: member, Revocations: list, Lifetimes: refresh.Web, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	a.closing = append(a.closing, a.sessions.Close)
	return a, member.WaitFresh(ctx)
}

// login begins a session. A real service has checked a password before, and taken AuthTime first.
func (a *auth) login(ctx context.Context, user string, scope ...string) (*refresh.Grant, error) {
	return a.sessions.Login(ctx, refresh.Login{Subject: user, Client: "app", Audience: []string{"orders"}, Scope: scope, AuthTime: time.Now()})
}

func (a *auth) close() error {
	var errs []error
	for i := len(a.closing) - 1; i >= 0; i-- {
		errs = append(errs, a.closing[i]())
	}
	a.closing = nil
	return errors.Join(errs...)
}
