// The quickstart: an auth service, three API services that verify its tokens
// locally, and what happens when tokens are revoked.
//
//	go run ./examples/quickstart
//
// It brings its own NATS server, or uses the one that NATS_URL names. It ends by
// itself; the exit code is 0 only if everything went as it says.
//
// service.go is all that an API service needs, auth.go all that the auth service
// does; trial.go asks and measures.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	neturl "net/url"
	"os"
	"os/signal"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, config{natsURL: os.Getenv("NATS_URL"), patience: 5 * time.Second})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\nquickstart:", err)
		os.Exit(1)
	}
}

type config struct {
	natsURL  string        // empty: an embedded server
	patience time.Duration // how long a refusal may take

	// tune lets a test weaken a service, to see that the quickstart notices.
	tune func(service string, c *token.VerifierConfig)
}

// services are the names of the APIs, as in a token's audience.
var services = []string{"orders", "billing", "search"}

func run(ctx context.Context, out io.Writer, cfg config) error {
	var open closers
	defer open.close()
	natsURL, err := startNATS(ctx, out, cfg.natsURL, &open)
	if err != nil {
		return err
	}
	a, err := startAuth(ctx, natsURL, &open)
	if err != nil {
		return fmt.Errorf("auth service: %w", err)
	}
	fmt.Fprintf(out, "%-8s %s issues tokens and publishes its keys\n", "auth", a.url)
	t := &trial{out: out, auth: a, patience: cfg.patience}
	for _, name := range services {
		s, err := startService(ctx, name, natsURL, a.url, cfg.tune, &open)
		if err != nil {
			return fmt.Errorf("service %s: %w", name, err)
		}
		t.services = append(t.services, s)
		fmt.Fprintf(out, "%-8s %s has a connection and a denylist of its own\n", name, s.url)
	}
	story(ctx, t)
	return t.verdict()
}

// story is what happens, and what is expected.
func story(ctx context.Context, t *trial) {
	t.say("Alice logs in on a laptop, a phone and a tablet; the laptop has two tokens. Bob logs in, too.")
	laptopSession, tabletSession := rand.Text(), rand.Text()
	laptop := t.login(ctx, "alice", "laptop", laptopSession)
	laptop2 := t.login(ctx, "alice", "laptop (second token)", laptopSession)
	phone := t.login(ctx, "alice", "phone", rand.Text())
	tablet := t.login(ctx, "alice", "tablet", tabletSession)
	bob := t.login(ctx, "bob", "laptop", rand.Text())
	t.check(ctx)

	t.say("One token of the laptop leaks: revoke that token. The laptop's other one goes on.")
	t.revoke(ctx, "one token", revoke.Event{Kind: revoke.KindToken, Value: laptop.jti, Until: laptop.expires}, laptop)

	t.say("Alice logs out on the laptop: revoke that session. Phone and tablet go on.")
	t.revoke(ctx, "one session", revoke.Event{Kind: revoke.KindSession, Value: laptopSession, Reason: "logout"}, laptop2)

	t.say("Alice changes her password on the tablet: revoke what she was issued until now, but keep the tablet's session.")
	now := time.Now()
	t.revoke(ctx, "one user", revoke.Event{
		Kind: revoke.KindSubject, Value: "alice", Before: now, Keep: []string{tabletSession}, Reason: "password_change",
	}, phone)

	t.say("Alice logs in anew, with the new password.")
	time.Sleep(time.Until(now.Add(2 * time.Millisecond))) // later than the cutoff, which is in milliseconds
	anew := t.login(ctx, "alice", "phone, anew", rand.Text())
	t.check(ctx)

	t.say("The signing key leaks: rotate it, have people log in again, then revoke the old key.")
	old := t.rotate(ctx)
	t.login(ctx, "alice", "laptop, under the new key", rand.Text())
	t.login(ctx, "bob", "laptop, under the new key", rand.Text())
	t.check(ctx)
	t.revoke(ctx, "one key", revoke.Event{Kind: revoke.KindKey, Value: old.Thumbprint(), Reason: "key_compromise"}, tablet, bob, anew)
}

// startNATS returns the URL of a server that has the stream of revocations.
func startNATS(ctx context.Context, out io.Writer, url string, open *closers) (string, error) {
	if url == "" {
		dir, err := os.MkdirTemp("", "quickstart-")
		if err != nil {
			return "", err
		}
		open.add(func() error { return os.RemoveAll(dir) })
		srv, err := embedded.Start(ctx, embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
		if err != nil {
			return "", err
		}
		open.add(srv.Close)
		fmt.Fprintf(out, "%-8s %s is embedded and syncs every event to disk\n", "nats", srv.URL())
		return srv.URL(), nil
	}
	nc, err := nats.Connect(url, nats.Name("quickstart"))
	if errors.Is(err, nats.ErrNoServers) {
		return "", errors.New("no server answers at NATS_URL; start one with JetStream (nats-server -js), or unset NATS_URL")
	}
	if _, ok := errors.AsType[*neturl.Error](err); ok { // it quotes the URL, which may hold a password
		return "", errors.New("NATS_URL is not the URL of a server")
	}
	if err != nil {
		return "", fmt.Errorf("NATS_URL: %w", err)
	}
	defer nc.Close()
	// An operator makes the stream once, on three servers. Here one has to do.
	err = bus.CreateStream(ctx, nc, bus.StreamConfig{Replicas: 1})
	if err != nil && !errors.Is(err, bus.ErrStreamExists) { // if it exists in another form, that may do
		return "", fmt.Errorf("the server at NATS_URL has no stream of revocations, and none can be made (is JetStream enabled? may this connection create streams?): %w", err)
	}
	fmt.Fprintf(out, "%-8s NATS_URL, stream %s\n", "nats", bus.DefaultStream)
	return url, nil
}
