package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// maxStaleness is shorter than the usual 15 s, so that the outage below does not take long.
const maxStaleness = 6 * time.Second

// A world is a NATS server, an auth service in Go, and an API in each language.
type world struct {
	dir, node, python string

	bus       *embedded.Server
	address   string // of the bus
	issuerURL string
	issuer    *issue.Issuer
	auth      *bus.Member
	list      *revoke.List // of the Go API
	apis      []api
	publish   func(request map[string]any) (seq uint64, err error) // by Node
	keys      atomic.Int32                                         // how the issuer answers who asks for its keys
	stderr    lockedBuffer                                         // of the programs

	open []func()
}

const (
	keysBusy = iota
	keysPage
	keysThere
)

type api struct{ name, url string }

func (w *world) close() {
	for i := len(w.open) - 1; i >= 0; i-- {
		w.open[i]()
	}
}

func (w *world) startBus(ctx context.Context, listen string) error {
	srv, err := embedded.Start(ctx, embedded.Config{Dir: filepath.Join(w.dir, "nats"), Listen: listen})
	if err != nil {
		return err
	}
	w.bus, w.address = srv, strings.TrimPrefix(srv.URL(), "nats://")
	return nil
}

func (w *world) start(ctx context.Context, out io.Writer) error {
	if err := w.startBus(ctx, "127.0.0.1:0"); err != nil {
		return err
	}
	w.open = append(w.open, func() { w.bus.Close() })
	natsURL := w.bus.URL()

	// The auth service. Its tokens are EdDSA, which jose and PyJWT know.
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/jwks.json", func(rw http.ResponseWriter, r *http.Request) {
		switch w.keys.Load() {
		case keysBusy:
			http.Error(rw, "busy", http.StatusServiceUnavailable)
		case keysPage: // such as a proxy in between answers
			fmt.Fprintln(rw, "<html>Log in to the network</html>")
		default:
			ring.ServeHTTP(rw, r)
		}
	})
	issuerURL, err := w.serve(mux)
	if err != nil {
		return err
	}
	w.issuerURL = issuerURL
	if w.issuer, err = issue.NewIssuer(issue.Config{Issuer: issuerURL, Keys: ring}); err != nil {
		return err
	}
	if w.auth, err = bus.Join(ctx, bus.Config{Servers: natsURL, Issuers: []string{issuerURL}, Name: "go-auth"}); err != nil {
		return err
	}
	w.open = append(w.open, func() { w.auth.Close() })

	// The API in Go.
	if w.list, err = revoke.NewList(revoke.Config{MaxStaleness: maxStaleness}); err != nil {
		return err
	}
	member, err := bus.Join(ctx, bus.Config{Servers: natsURL, List: w.list, Name: "go-api"})
	if err != nil {
		return err
	}
	w.open = append(w.open, func() { member.Close() })
	keys, err := token.NewRemoteKeySet(ctx, issuerURL+"/.well-known/jwks.json", token.RemoteKeySetConfig{InsecureAllowHTTP: true}) // a socket of this machine
	if err != nil {
		return err
	}
	w.open = append(w.open, func() { keys.Close() })
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: issuerURL, OwnIssuer: true, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: keys, Revocations: w.list,
	})
	if err != nil {
		return err
	}
	goURL, err := w.serve(verifier.Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		fmt.Fprintf(rw, "hello %s\n", claims.Subject())
	})))
	if err != nil {
		return err
	}

	// The programs in other languages.
	env := []string{"NATS_URL=" + natsURL, "ISSUER=" + issuerURL, "AUDIENCE=orders", fmt.Sprint("MAX_STALENESS_MS=", maxStaleness.Milliseconds())}
	_, said, err := w.program(ctx, env, w.node, filepath.Join(w.dir, "node", "api.mjs"))
	if err != nil {
		return err
	}
	nodeURL, err := line(said)
	if err != nil {
		return fmt.Errorf("the Node API does not start: %w\n%s", err, w.stderr.String())
	}
	_, said, err = w.program(ctx, append(env, "FOLLOWER="+nodeURL), w.python, filepath.Join(w.dir, "python", "api.py"))
	if err != nil {
		return err
	}
	pythonURL, err := line(said)
	if err != nil {
		return fmt.Errorf("the Python API does not start: %w\n%s", err, w.stderr.String())
	}
	requests, answers, err := w.program(ctx, env, w.node, filepath.Join(w.dir, "node", "publish.mjs"))
	if err != nil {
		return err
	}
	w.publish = func(request map[string]any) (uint64, error) {
		request["iss"] = issuerURL
		if err := json.NewEncoder(requests).Encode(request); err != nil {
			return 0, err
		}
		text, err := line(answers)
		if err != nil {
			return 0, err
		}
		var answer struct {
			Seq   uint64
			Error string
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			return 0, err
		}
		if answer.Error != "" {
			return 0, errors.New(answer.Error)
		}
		return answer.Seq, nil
	}
	w.apis = []api{{"go", goURL}, {"node", nodeURL}, {"python", pythonURL}}
	fmt.Fprintf(out, "%-8s %s\n%-8s %s\n", "nats", natsURL, "issuer", issuerURL)
	for _, a := range w.apis {
		fmt.Fprintf(out, "%-8s %s/orders\n", a.name, a.url)
	}
	return nil
}

// program starts a program that ends when its standard input does.
func (w *world) program(ctx context.Context, env []string, name string, args ...string) (io.Writer, *bufio.Reader, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = &w.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	w.open = append(w.open, func() {
		in.Close()
		giveUp := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		defer giveUp.Stop()
		cmd.Wait()
	})
	return in, bufio.NewReader(stdout), nil
}

func line(r *bufio.Reader) (string, error) {
	s, err := r.ReadString('\n')
	return strings.TrimSpace(s), err
}

// serve serves h on a free port of this machine and returns the URL.
func (w *world) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go srv.Serve(l)
	w.open = append(w.open, func() { srv.Close() })
	return "http://" + l.Addr().String(), nil
}

// A lockedBuffer keeps what the programs write to standard error, up to a bound.
type lockedBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.text) < 64<<10 {
		b.text = append(b.text, p...)
	}
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}
