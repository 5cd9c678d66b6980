package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
)

const module = "github.com/hybridtoken/hybridtoken/examples/microservices"

// A system is everything that runs.
type system struct {
	data, bin string   // directories
	source    string   // the directory of this program, which has the server's configuration
	env       []string // of every process
	passwords []string // of the bus, as NAME_PASSWORD=…; no command line shows them, and each process is given its own
	staleness time.Duration

	natsURL, authURL string
	nats, auth       *process
	apis             []*api
	running          []*process
}

// An api is a service that accepts tokens.
type api struct {
	name, path string
	url        string // once it runs
	*process
}

func newSystem(data string, staleness time.Duration) *system {
	return &system{
		data: data, bin: filepath.Join(data, "bin"), staleness: staleness,
		apis: []*api{{name: "orders", path: "/orders"}, {name: "billing", path: "/invoices"}},
	}
}

// build has the Go command build the services, and the nats-server of the version in go.mod.
func (s *system) build(ctx context.Context) error {
	dir, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return errors.New("start this from a clone of the repository, with the Go command installed")
	}
	s.source = strings.TrimSpace(string(dir))
	cmd := exec.CommandContext(ctx, "go", "build", "-o", s.bin+string(filepath.Separator),
		module+"/auth", module+"/orders", module+"/billing", "github.com/nats-io/nats-server/v2")
	cmd.Dir, cmd.Stderr = s.source, os.Stderr
	if err := os.MkdirAll(s.bin, 0o700); err != nil {
		return err
	}
	return cmd.Run()
}

// setUp does what an operator does once: passwords, the key that seals the signing keys, a server
// with a stream of revocations and a bucket of sessions.
func (s *system) setUp(ctx context.Context) error {
	var operator, sessionsOperator string
	for _, user := range []string{"OPERATOR", "AUTH", "SESSIONS", "SESSIONS_OPERATOR", "PUBLISHER", "VERIFIER"} {
		password := "p" + rand.Text() // a letter first: the server's configuration takes digits for a number
		s.passwords = append(s.passwords, user+"_PASSWORD="+password)
		switch user {
		case "OPERATOR":
			operator = password
		case "SESSIONS_OPERATOR":
			sessionsOperator = password
		}
	}
	seal := make([]byte, 32)
	rand.Read(seal)
	if err := os.WriteFile(s.sealFile(), seal, 0o600); err != nil {
		return err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := free.Addr().String()
	free.Close()
	s.natsURL = "nats://" + address
	s.env = append(s.env, "NATS_LISTEN="+address, "NATS_STORE="+filepath.Join(s.data, "nats"))
	if err := s.startNATS(ctx); err != nil {
		return err
	}
	err = s.as(ctx, "operator", operator, func(nc *nats.Conn) error {
		return bus.CreateStream(ctx, nc, bus.StreamConfig{Replicas: 1, MaxBytes: 64 << 20})
	})
	if err != nil {
		return fmt.Errorf("making the stream: %w", err)
	}
	err = s.as(ctx, "sessions_operator", sessionsOperator, func(nc *nats.Conn) error {
		return natskv.CreateBucket(ctx, nc, natskv.BucketConfig{Replicas: 1, MaxBytes: 64 << 20})
	})
	if err != nil {
		return fmt.Errorf("making the bucket: %w", err)
	}
	return nil
}

// environment returns what the program of that name finds in its environment. A service that only
// verifies is not given what revokes.
func (s *system) environment(name string) []string {
	users := []string{"VERIFIER"}
	switch name {
	case "nats-server":
		return slices.Concat(s.env, s.passwords)
	case "auth":
		users = []string{"AUTH", "SESSIONS"}
	}
	env := slices.Clone(s.env)
	for _, p := range s.passwords {
		if user, _, _ := strings.Cut(p, "_PASSWORD="); slices.Contains(users, user) {
			env = append(env, p)
		}
	}
	return env
}

// as connects as a user of the server while do runs.
func (s *system) as(ctx context.Context, user, password string, do func(*nats.Conn) error) error {
	nc, err := nats.Connect(s.natsURL, nats.UserInfo(user, password), nats.CustomInboxPrefix("_INBOX_"+user))
	if err != nil {
		return err
	}
	defer nc.Close()
	return do(nc)
}

func (s *system) sealFile() string { return filepath.Join(s.data, "seal.key") }

// startNATS starts the server and waits until it takes connections.
func (s *system) startNATS(ctx context.Context) (err error) {
	s.nats, err = s.start("nats-server", "-c", filepath.Join(s.source, "nats.conf"))
	if err != nil {
		return err
	}
	return until(ctx, "nats-server takes connections", func() error {
		if s.nats.ended() {
			return permanent{fmt.Errorf("nats-server ended: see %s", s.nats.log)}
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.natsURL, "nats://"))
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// startAuth starts the auth service: the first time at a port that the system chooses, later at the
// same.
func (s *system) startAuth(ctx context.Context) (err error) {
	s.auth, err = s.start("auth", "-listen", listen(s.authURL), "-nats", s.natsURL, "-outbox", filepath.Join(s.data, "auth.outbox"), "-seal", s.sealFile())
	if err != nil {
		return err
	}
	s.authURL, err = s.auth.url(ctx)
	return err
}

// startAPI is startAuth for one of the services.
func (s *system) startAPI(ctx context.Context, a *api) (err error) {
	a.process, err = s.start(a.name, "-listen", listen(a.url), "-nats", s.natsURL, "-jwks", s.authURL+"/.well-known/jwks.json",
		"-state", filepath.Join(s.data, a.name+".state"), "-max-staleness", s.staleness.String())
	if err != nil {
		return err
	}
	a.url, err = a.process.url(ctx)
	return err
}

func listen(url string) string {
	if url == "" {
		return "127.0.0.1:0"
	}
	return strings.TrimPrefix(url, "http://")
}

// stop ends all, the server last.
func (s *system) stop() error {
	var errs []error
	for _, p := range slices.Backward(s.running) {
		if !p.ended() && p != s.nats {
			errs = append(errs, p.stop())
		}
	}
	if s.nats != nil && !s.nats.ended() {
		errs = append(errs, s.nats.stop())
	}
	return errors.Join(errs...)
}
