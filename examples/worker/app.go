package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/examples/worker/internal/job"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

const issuer = "https://reports.example.com" // in the tokens: the address of a real one

// An app logs users in and takes their requests for reports, which a worker does later.
type app struct {
	url      string
	sessions *refresh.Manager
	closers  closers
}

// keys is where the app publishes its keys.
func (a *app) keys() string { return a.url + "/.well-known/jwks.json" }

func (a *app) close() error { return a.closers.close() }

func startApp(ctx context.Context, server *embedded.Server, data, listen string, log *slog.Logger) (a *app, err error) {
	a = new(app)
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	list, err := revoke.NewList(revoke.Config{Logger: log})
	if err != nil {
		return nil, err
	}
	member, err := bus.Join(ctx, bus.Config{
		InProcess: server, List: list, Issuers: []string{issuer}, OutboxFile: filepath.Join(data, "outbox"), Name: "app", Logger: log,
	})
	if err != nil {
		return nil, err
	}
	a.closers.add(member.Close)
	if err := member.WaitFresh(ctx); err != nil {
		return nil, err
	}

	// Sessions, signing keys and jobs are on the disk of the NATS server.
	nc, err := nats.Connect("", nats.InProcessServer(server), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.ReconnectBufSize(-1), nats.PingInterval(2*time.Second))
	if err != nil {
		return nil, err
	}
	a.closers.add(func() error { nc.Close(); return nil })
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	if err := makeQueue(ctx, js); err != nil {
		return nil, err
	}
	if err := natskv.CreateBucket(ctx, nc, natskv.BucketConfig{Replicas: 1, MaxBytes: 64 << 20}); err != nil {
		return nil, err
	}
	store, err := natskv.New(ctx, nc, natskv.Config{Logger: log})
	if err != nil {
		return nil, err
	}
	seal, err := sealKey(filepath.Join(data, "seal.key"))
	if err != nil {
		return nil, err
	}
	ring, err := issue.OpenKeyring(ctx, store, issue.KeyringConfig{Issuer: issuer, SealKeys: []*issue.SealKey{seal}, Revocations: list, Logger: log})
	if err != nil {
		return nil, err
	}
	a.closers.add(ring.Close)
	tokens, err := issue.NewIssuer(issue.Config{Issuer: issuer, Keys: ring})
	if err != nil {
		return nil, err
	}
	a.sessions, err = refresh.NewManager(refresh.Config{Issuer: tokens, Store: store, Publisher: member, Revocations: list, Lifetimes: refresh.Web, Logger: log})
	if err != nil {
		return nil, err
	}
	a.closers.add(a.sessions.Close)
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: issuer, Audiences: []string{"reports"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: list, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	oauth, err := web.NewApp(web.AppConfig{
		Sessions: a.sessions, Verifier: verifier, Logger: log,
		Client: func(_ *http.Request, c web.Credentials) (bool, error) {
			return c.ClientID == "app" && c.Method == "none", nil
		},
	})
	if err != nil {
		return nil, err
	}

	mux := http.NewServeMux()
	mux.Handle("/oauth/", oauth.Handler())
	mux.Handle("GET /.well-known/jwks.json", ring)
	mux.HandleFunc("POST /login", login(oauth, log))
	mux.Handle("POST /reports/{name}", verifier.Middleware(request(js, log)))
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	a.url = "http://" + l.Addr().String()
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go srv.Serve(l) // until it is closed
	a.closers.add(func() error {
		last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return srv.Shutdown(last)
	})
	return a, nil
}

// request queues a job for whose token it is.
func request(js jetstream.JetStream, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		if err := add(r.Context(), js, job.Job{Report: r.PathValue("name"), For: claims.Identity()}); err != nil {
			log.Error("queueing a job", "error", err)
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}
}

// login checks a password and begins a session.
func login(oauth *web.App, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, password := r.PostFormValue("user"), r.PostFormValue("password")
		check := func(context.Context) error {
			if password == "" || passwords[user] != password {
				return errors.New("wrong user or password")
			}
			return nil
		}
		before := time.Now() // before the password is checked
		if err := check(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		_, err := oauth.Login(w, r, refresh.Login{ // which answers the request
			Subject: user, Client: "app", Audience: []string{"reports"}, AuthTime: before, Recheck: check,
		})
		if err != nil {
			log.Warn("login", "user", user, "error", err)
		}
	}
}

// passwords is a stub in place of a user table. Yours is a database with slow hashes (Argon2id), and
// a limit on guesses.
var passwords = map[string]string{"alice": "wonderland", "bob": "can we fix it", "carol": "christmas"}

// sealKey returns the key in a file, which it makes. A real service has a secret manager: who has this
// and the store can issue tokens for everybody.
func sealKey(file string) (*issue.SealKey, error) {
	secret, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		secret = make([]byte, 32)
		rand.Read(secret)
		err = os.WriteFile(file, secret, 0o600)
	}
	if err != nil {
		return nil, err
	}
	return issue.NewSealKey("1", secret)
}
