package service

import (
	"context"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// Issuer is in every token, whatever address the auth service has at the moment.
const Issuer = "https://auth.example.com"

// API is the main function of a service that accepts tokens. It verifies them by itself, against a
// replica of the denylist of its own, and asks nobody.
func API(name string, routes func(mux *http.ServeMux, tokens *token.Verifier)) {
	listen := flag.String("listen", "127.0.0.1:0", "`address` to serve at")
	natsURL := flag.String("nats", "nats://127.0.0.1:4222", "`URL` of the NATS servers")
	jwks := flag.String("jwks", "", "`URL` of the auth service's keys")
	state := flag.String("state", "", "`file` that keeps what is revoked over a restart")
	staleness := flag.Duration("max-staleness", 15*time.Second, "how old the denylist may be before requests are answered 503")
	flag.Parse()

	Main(name, func(ctx context.Context, log *slog.Logger) error {
		list, err := revoke.NewList(revoke.Config{StateFile: *state, MaxStaleness: *staleness, Logger: log})
		if err != nil {
			return err
		}
		member, err := bus.Join(ctx, bus.Config{
			Servers: *natsURL, List: list, Name: name, Logger: log,
			InboxPrefix: "_INBOX_verifier",
			Options:     []nats.Option{nats.UserInfo("verifier", os.Getenv("VERIFIER_PASSWORD"))},
		})
		if err != nil {
			return err
		}
		defer member.Close() // writes the state file
		keys, err := token.NewRemoteKeySet(ctx, *jwks, token.RemoteKeySetConfig{
			InsecureAllowHTTP: true, // a socket of this machine; https everywhere else
			Logger:            log,
		})
		if err != nil {
			return err
		}
		defer keys.Close()
		verifier, err := token.NewVerifier(token.VerifierConfig{
			Issuer: Issuer, OwnIssuer: true, Audiences: []string{name}, Algorithms: []token.Algorithm{token.EdDSA},
			Keys: keys, Revocations: list, Logger: log,
		})
		if err != nil {
			return err
		}

		mux := http.NewServeMux()
		routes(mux, verifier)
		mux.Handle("GET /ready", member.Readiness(revoke.Deny())) // 503 until the replica was first up to date
		return Serve(ctx, *listen, mux)
	})
}
