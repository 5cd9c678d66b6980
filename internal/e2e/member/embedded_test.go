package member_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func TestEmbeddedKeepsItsDirectory(t *testing.T) {
	rig.NoLeaks(t)
	cfg := embedded.Config{Dir: filepath.Join(t.TempDir(), "made", "by", "start"), Retention: revoke.Retention{TokenLifetime: 10 * time.Minute}}
	for i, want := range []uint64{1, 2, 3} {
		srv, err := embedded.Start(rig.Within(t), cfg)
		if err != nil {
			t.Fatal(err)
		}
		b := rig.Join(t, bus.Config{InProcess: srv}, bus.Config{}, nil)
		r, err := b.Publish(rig.Within(t), rig.TokenEvent("x"))
		if err != nil || r.Sequence != want {
			t.Errorf("start %d: sequence %d, %v", i+1, r.Sequence, err)
		}
		if left := r.Event.Until.Sub(r.Event.At).Round(time.Second); left != 10*time.Minute {
			t.Errorf("start %d: the event lives %s: not by the stream's retention", i+1, left)
		}
		// One directory, one server.
		if _, err := embedded.Start(rig.Within(t), cfg); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("a second server on the directory: %v", err)
		}
		b.Close()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}
	// Retention is never changed silently.
	cfg.Retention.TokenLifetime = 5 * time.Minute
	if srv, err := embedded.Start(rig.Within(t), cfg); !errors.Is(err, bus.ErrStreamExists) || !strings.Contains(err.Error(), "token_lifetime") {
		t.Errorf("another retention: %v, %v", srv, err)
	}
}

func TestEmbeddedInMemory(t *testing.T) {
	rig.NoLeaks(t)
	t.Setenv("TMPDIR", t.TempDir())
	var log bytes.Buffer
	srv, b := rig.Publishing(t, embedded.Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if srv.URL() != "" {
		t.Errorf("listens at %s without being asked to", srv.URL())
	}
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("x")); err != nil {
		t.Fatal(err)
	}
	if weak := b.Status().Publishing.Weak; !slices.Contains(weak, "kept in memory") {
		t.Errorf("weaknesses %q", weak)
	}
	b.Close()
	srv.Close()
	for _, want := range []string{"kept in memory", "nats: "} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestEmbeddedListensOnLoopbackOnly(t *testing.T) {
	rig.NoLeaks(t)
	for _, listen := range []string{"0.0.0.0:0", ":0", "[::]:4222", "192.0.2.1:4222", "example.com:1", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"} {
		srv, err := embedded.Start(rig.Within(t), embedded.Config{Listen: listen})
		if err == nil {
			srv.Close()
			t.Errorf("%q accepted", listen)
		}
	}
	srv := rig.StartEmbedded(t, embedded.Config{Listen: "localhost:0"})
	host, _, err := net.SplitHostPort(strings.TrimPrefix(srv.URL(), "nats://"))
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		t.Errorf("URL %s", srv.URL())
	}
}

// A taken port is told at once, and whose it is to mend.
func TestEmbeddedPortTaken(t *testing.T) {
	rig.NoLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	srv, err := embedded.Start(rig.Within(t), embedded.Config{Listen: taken})
	if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), taken) {
		t.Errorf("on a taken port: %v, %v", srv, err)
	}
	l.Close()
	if srv := rig.StartEmbedded(t, embedded.Config{Listen: taken}); srv.URL() != "nats://"+taken {
		t.Errorf("listens at %s", srv.URL())
	}
}

func TestCreateStream(t *testing.T) {
	rig.NoLeaks(t)
	srv := rig.StartEmbedded(t, embedded.Config{Listen: "127.0.0.1:0"})
	nc, js := rig.Client(t, srv.URL())
	conn := bus.Config{Servers: srv.URL()}
	s := rig.TheStream(t, js)

	// As it is on the server, not as it was asked for.
	c := s.CachedInfo().Config
	if c.Retention != jetstream.LimitsPolicy || c.Discard != jetstream.DiscardNew || c.MaxBytes != 64<<20 || c.MaxAge != 0 ||
		c.MaxMsgs != -1 || c.MaxMsgsPerSubject != -1 || !c.AllowMsgTTL || c.SubjectDeleteMarkerTTL != 0 ||
		!c.DenyDelete || !c.DenyPurge || c.AllowRollup || !slices.Equal(c.Subjects, []string{"revocations.v1.>"}) {
		t.Errorf("%+v", c)
	}
	if _, err := js.Publish(rig.Within(t), bus.HeartbeatSubject, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(rig.Within(t)); err == nil {
		t.Error("a plain client purged the stream")
	}
	if err := s.DeleteMsg(rig.Within(t), 1); err == nil {
		t.Error("a plain client deleted a message")
	}
	if err := s.SecureDeleteMsg(rig.Within(t), 1); err == nil {
		t.Error("a plain client erased a message")
	}
	rollup := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(rollup)
	if err != nil {
		t.Fatal(err)
	}
	msg := &nats.Msg{Subject: bus.HeartbeatSubject, Reply: rollup, Header: nats.Header{"Nats-Rollup": {"all"}}}
	if err := nc.PublishMsg(msg); err != nil {
		t.Fatal(err)
	}
	if answer, err := sub.NextMsgWithContext(rig.Within(t)); err != nil || !strings.Contains(string(answer.Data), "error") {
		t.Errorf("a plain client rolled the stream up: %v", err)
	}

	same := bus.StreamConfig{Replicas: 1, MaxBytes: 64 << 20, InsecureMemory: true}
	if err := bus.CreateStream(rig.Within(t), rig.Connection(t, conn), same); err != nil {
		t.Errorf("the same again: %v", err)
	}
	for name, change := range map[string]func(*bus.StreamConfig){
		"max bytes":           func(c *bus.StreamConfig) { c.MaxBytes = 32 << 20 },
		"storage":             func(c *bus.StreamConfig) { c.InsecureMemory = false },
		"token_lifetime_ms":   func(c *bus.StreamConfig) { c.Retention.TokenLifetime = 2 * time.Hour },
		"session_lifetime_ms": func(c *bus.StreamConfig) { c.Retention.SessionLifetime = time.Hour },
	} {
		other := same
		change(&other)
		if err := bus.CreateStream(rig.Within(t), rig.Connection(t, conn), other); !errors.Is(err, bus.ErrStreamExists) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Nothing of this changed anything.
	if after := rig.TheStream(t, js).CachedInfo().Config; after.MaxBytes != c.MaxBytes || after.Metadata["hybridtoken.token_lifetime_ms"] != "3600000" {
		t.Errorf("%+v", after)
	}
	// The server's metadata of its own and settings that do not matter are no difference.
	c.Description = "ours"
	if _, err := js.UpdateStream(rig.Within(t), c); err != nil {
		t.Fatal(err)
	}
	if err := bus.CreateStream(rig.Within(t), rig.Connection(t, conn), same); err != nil {
		t.Errorf("with another description: %v", err)
	}
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	if err := bus.CreateStream(rig.Within(t), rig.Connection(t, conn), bus.StreamConfig{MaxBytes: 16 << 20}); err == nil || !strings.Contains(err.Error(), "Replicas: 1") {
		t.Errorf("three replicas on a single server: %v", err)
	}
}
