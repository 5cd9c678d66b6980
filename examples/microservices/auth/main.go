// The auth service: logs users in and out, and publishes its keys. Sessions and signing keys rest in
// NATS, so that it can be restarted, and run several times.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/examples/microservices/internal/service"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`address` to serve at")
	natsURL := flag.String("nats", "nats://127.0.0.1:4222", "`URL` of the NATS servers")
	outbox := flag.String("outbox", "", "`file` that keeps revocations until NATS has them")
	sealKey := flag.String("seal", "", "`file` of 32 random bytes that encrypt the signing keys")
	flag.Parse()
	service.Main("auth", func(ctx context.Context, log *slog.Logger) error {
		return run(ctx, log, *listen, *natsURL, *outbox, *sealKey)
	})
}

func run(ctx context.Context, log *slog.Logger, listen, natsURL, outbox, sealKey string) error {
	// The denylist, and the right to add to it.
	list, err := revoke.NewList(revoke.Config{Logger: log})
	if err != nil {
		return err
	}
	member, err := bus.Join(ctx, bus.Config{
		Servers: natsURL, List: list, Issuers: []string{service.Issuer}, OutboxFile: outbox, Name: "auth", Logger: log,
		InboxPrefix: "_INBOX_auth",
		Options:     []nats.Option{nats.UserInfo("auth", os.Getenv("AUTH_PASSWORD"))},
	})
	if err != nil {
		return err
	}
	defer member.Close()
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := member.WaitFresh(starting); err != nil {
		return fmt.Errorf("the denylist: %w", err)
	}

	// Sessions and signing keys, in a bucket that only this service may read.
	nc, err := nats.Connect(natsURL, nats.UserInfo("sessions", os.Getenv("SESSIONS_PASSWORD")), nats.CustomInboxPrefix("_INBOX_sessions"),
		nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.ReconnectBufSize(-1), nats.PingInterval(2*time.Second))
	if err != nil {
		return err
	}
	defer nc.Close()
	store, err := natskv.New(starting, nc, natskv.Config{Logger: log})
	if err != nil {
		return err
	}
	secret, err := os.ReadFile(sealKey)
	if err != nil {
		return err
	}
	seal, err := issue.NewSealKey("1", secret)
	if err != nil {
		return err
	}
	ring, err := issue.OpenKeyring(starting, store, issue.KeyringConfig{
		Issuer: service.Issuer, SealKeys: []*issue.SealKey{seal}, Revocations: list, Logger: log,
	})
	if err != nil {
		return err
	}
	defer ring.Close()
	issuer, err := issue.NewIssuer(issue.Config{Issuer: service.Issuer, Keys: ring})
	if err != nil {
		return err
	}
	sessions, err := refresh.NewManager(refresh.Config{
		Issuer: issuer, Store: store, Publisher: member, Revocations: list, Lifetimes: refresh.Web, Logger: log,
	})
	if err != nil {
		return err
	}
	defer sessions.Close()

	// The same over HTTP: /oauth/token refreshes, /oauth/logout logs out.
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: service.Issuer, Audiences: []string{"auth"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: list, Logger: log,
	})
	if err != nil {
		return err
	}
	app, err := web.NewApp(web.AppConfig{
		Sessions: sessions, Verifier: verifier, Logger: log,
		Client: func(r *http.Request, c web.Credentials) (bool, error) {
			return c.ClientID == "app" && c.Method == "none", nil
		},
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/oauth/", app.Handler())
	mux.Handle("GET /.well-known/jwks.json", ring)
	mux.Handle("GET /ready", member.Readiness(revoke.Deny()))
	mux.HandleFunc("POST /login", login(app, log))
	return service.Serve(ctx, listen, mux)
}
