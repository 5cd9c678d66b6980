package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Invariant 9: without a server Publish fails when ctx says so; and the service
// that was there before the bus heals by itself.
func TestPublishServerDown(t *testing.T) {
	rig.NoLeaks(t)
	address := rig.FreeAddress(t)
	conn := bus.Config{Servers: "nats://" + address}
	b := rig.Join(t, conn, bus.Config{}, nil)
	if b.Status().Connected {
		t.Fatal("connected to nobody")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := b.Publish(ctx, rig.TokenEvent("lost")); !errors.Is(err, bus.ErrNotAcknowledged) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.PublishAll(cancelled, []revoke.Event{rig.TokenEvent("lost")}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}

	// Publishing that began before the server is there ends well.
	dir := filepath.Join(t.TempDir(), "bus")
	rig.StartEmbedded(t, embedded.Config{Dir: dir}).Close() // makes the stream
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), rig.Deadline)
		defer cancel()
		_, err := b.Publish(ctx, rig.TokenEvent("early"))
		done <- err
	}()
	srv := rig.StartEmbedded(t, embedded.Config{Listen: address, Dir: dir})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// A server that goes and comes back.
	srv.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := b.Publish(ctx, rig.TokenEvent("lost")); !errors.Is(err, bus.ErrNotAcknowledged) {
		t.Errorf("error %v", err)
	}
	srv = rig.StartEmbedded(t, embedded.Config{Listen: address, Dir: dir})
	ctx = rig.Within(t)
	if _, err := b.Publish(ctx, rig.TokenEvent("late")); err != nil {
		t.Fatal(err)
	}
	_, js := rig.Client(t, srv.URL())
	if got, want := values(t, js), []string{"early", "late"}; !slices.Equal(got, want) {
		t.Errorf("stored %q, want %q: what failed must not be sent behind the caller's back", got, want)
	}
	if s := b.Status().Publishing; s.Losses != 0 {
		t.Errorf("a plain restart is no loss: %+v", s)
	}
}

// Invariant 9: a stream that forgot gets back what the publisher knows, the event
// at hand included.
func TestPublishRecreatedStream(t *testing.T) {
	rig.NoLeaks(t)
	srv, b := rig.Publishing(t, embedded.Config{Listen: "127.0.0.1:0"})
	_, js := rig.Client(t, srv.URL())
	var want []string
	for _, v := range []string{"a", "b", "c", "d"} {
		if _, err := b.Publish(rig.Within(t), rig.TokenEvent(v)); err != nil {
			t.Fatal(err)
		}
		want = append(want, v)
	}
	config := rig.TheStream(t, js).CachedInfo().Config
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(rig.Within(t), config); err != nil {
		t.Fatal(err)
	}
	r, err := b.Publish(rig.Within(t), rig.TokenEvent("e"))
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, "e")
	if msg, err := rig.TheStream(t, js).GetMsg(rig.Within(t), r.Sequence); err != nil || !strings.Contains(string(msg.Data), `"e"`) {
		t.Errorf("the receipt points elsewhere: %v", err)
	}
	requireStored(t, b, srv.URL(), want)
	if s := b.Status().Publishing; s.Losses != 1 || s.Republished != 4 || s.Acknowledged != 5 {
		t.Errorf("stats %+v", s)
	}
}

// A stream made anew that has grown beyond what the publisher knew shows itself at
// the next reading of its state.
func TestPublishRecreatedAndGrown(t *testing.T) {
	rig.NoLeaks(t)
	srv, b := rig.Publishing(t, embedded.Config{Listen: "127.0.0.1:0", MaxBytes: 16 << 20})
	_, js := rig.Client(t, srv.URL())
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("a")); err != nil {
		t.Fatal(err)
	}
	config := rig.TheStream(t, js).CachedInfo().Config
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(rig.Within(t), config); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := js.Publish(rig.Within(t), bus.HeartbeatSubject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	e := revoke.Event{Kind: revoke.KindSubject, Value: "b", Keep: slices.Repeat([]string{strings.Repeat("s", 512)}, 64)}
	rig.AskUntil(t, "a reading, after 1 % of the stream was written", func(ctx context.Context) error {
		if _, err := b.Publish(ctx, e); err != nil {
			return err
		}
		if s := b.Status().Publishing; s.Losses != 1 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	requireStored(t, b, srv.URL(), []string{"", "a", "b"})
}

// A connection that buffers while disconnected must not send, some day, what
// Publish has reported as failed.
func TestPublishBufferingConnection(t *testing.T) {
	rig.NoLeaks(t)
	cfg := embedded.Config{Listen: rig.FreeAddress(t), Dir: filepath.Join(t.TempDir(), "bus")}
	srv := rig.StartEmbedded(t, cfg)
	nc, _ := rig.Client(t, srv.URL(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(8<<20))
	b := rig.Join(t, bus.Config{Conn: nc}, bus.Config{}, nil)
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("a")); err != nil {
		t.Fatal(err)
	}
	srv.Close()
	rig.Eventually(t, "disconnected", func() bool { return !nc.IsConnected() })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := b.Publish(ctx, rig.TokenEvent("lost")); !errors.Is(err, bus.ErrNotAcknowledged) {
		t.Errorf("error %v", err)
	}
	srv = rig.StartEmbedded(t, cfg)
	ctx = rig.Within(t)
	if _, err := b.Publish(ctx, rig.TokenEvent("b")); err != nil {
		t.Fatal(err)
	}
	_, js := rig.Client(t, srv.URL())
	if got := values(t, js); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("stored %q", got)
	}
}

// requireStored waits until the republishing ends, and wants each value stored.
func requireStored(t *testing.T, b *bus.Member, url string, want []string) {
	t.Helper()
	rig.Eventually(t, "republished", func() bool { return b.Status().Publishing.Pending == 0 && b.Status().Publishing.Republished > 0 })
	_, js := rig.Client(t, url)
	got := values(t, js)
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("stored %q, want %q", got, want)
	}
}

// The same, for a disk that was rolled back to a backup.
func TestPublishRolledBackStream(t *testing.T) {
	rig.NoLeaks(t)
	address, dir, backup := rig.FreeAddress(t), filepath.Join(t.TempDir(), "bus"), filepath.Join(t.TempDir(), "bus")
	var want []string
	publish := func(b *bus.Member, v string) {
		t.Helper()
		ctx := rig.Within(t)
		if _, err := b.Publish(ctx, rig.TokenEvent(v)); err != nil {
			t.Fatal(err)
		}
		want = append(want, v)
	}
	srv := rig.StartEmbedded(t, embedded.Config{Listen: address, Dir: dir})
	b := rig.Join(t, bus.Config{Servers: srv.URL()}, bus.Config{}, nil)
	publish(b, "a")
	srv.Close()
	if err := errors.Join(os.CopyFS(backup, os.DirFS(dir)), os.Chmod(backup, 0o700), os.Chmod(filepath.Join(backup, "jetstream"), 0o700)); err != nil {
		t.Fatal(err)
	}
	srv = rig.StartEmbedded(t, embedded.Config{Listen: address, Dir: dir})
	publish(b, "b")
	publish(b, "c")
	srv.Close()
	srv = rig.StartEmbedded(t, embedded.Config{Listen: address, Dir: backup})
	publish(b, "d")
	requireStored(t, b, srv.URL(), want)
	if s := b.Status().Publishing; s.Losses != 1 {
		t.Errorf("stats %+v", s)
	}
}

// publishingOver starts a server, and a publisher that reaches it over a line.
func publishingOver(t *testing.T) (*embedded.Server, *rig.Proxy, *bus.Member) {
	t.Helper()
	srv := rig.StartEmbedded(t, embedded.Config{Listen: "127.0.0.1:0"})
	p := rig.NewProxy(t, srv.URL())
	b := rig.Join(t, bus.Config{Servers: p.URL()}, bus.Config{}, nil)
	return srv, p, b
}

// A lost acknowledgement makes Publish try again under the same message id: the
// event is stored once, and the server's "duplicate" is no loss.
func TestPublishLostAcknowledgement(t *testing.T) {
	rig.NoLeaks(t)
	srv, p, b := publishingOver(t)
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("a")); err != nil {
		t.Fatal(err)
	}
	var lost atomic.Int64
	p.Lose(func(subject string) bool {
		return strings.HasPrefix(subject, "_INBOX.") && lost.Add(1) == 1
	})
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("b")); err != nil {
		t.Fatal(err)
	}
	if lost.Load() < 2 {
		t.Fatal("no acknowledgement was lost")
	}
	_, js := rig.Client(t, srv.URL())
	if got := values(t, js); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("stored %q", got)
	}
	if s := b.Status().Publishing; s.Losses != 0 || s.Acknowledged != 2 {
		t.Errorf("stats %+v", s)
	}
}

// An event that a restart has taken with it is sent again as soon as there is a
// connection, under the same message id, within a time in which the first sending alone
// would still be waited for; and so is a request to make the stream.
func TestPublishAsksAgainAfterLostConnection(t *testing.T) {
	rig.NoLeaks(t)
	srv := rig.StartEmbedded(t, embedded.Config{Listen: "127.0.0.1:0"})
	p := rig.NewProxy(t, srv.URL())
	conn := rig.Dial(t, p.URL())
	b, nc := rig.Join(t, conn, bus.Config{}, nil), rig.Connection(t, conn)
	n := 0
	for name, call := range map[string]func(context.Context) error{
		"Publish": func(ctx context.Context) error {
			n++
			_, err := b.Publish(ctx, rig.TokenEvent(fmt.Sprint(n)))
			return err
		},
		"CreateStream": func(ctx context.Context) error {
			return bus.CreateStream(ctx, nc, bus.StreamConfig{Replicas: 1, MaxBytes: 64 << 20, InsecureMemory: true})
		},
	} {
		if err := call(rig.Within(t)); err != nil {
			t.Fatalf("the good twin: %s: %v", name, err)
		}
		// A machine that gives nobody his time may need more: then once more.
		rig.AskUntil(t, name, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 1500*time.Millisecond)
			defer cancel()
			return p.CutWhileAsking(ctx, call)
		})
	}
	_, js := rig.Client(t, srv.URL())
	got := values(t, js)
	if slices.Sort(got); len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("stored twice: %q", got)
	}
	if s := b.Status().Publishing; s.Losses != 0 {
		t.Errorf("stats %+v", s)
	}
}

// When no acknowledgement comes at all, the caller hears that it cannot be known.
func TestPublishNoAcknowledgement(t *testing.T) {
	rig.NoLeaks(t)
	_, p, b := publishingOver(t)
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("a")); err != nil {
		t.Fatal(err)
	}
	var lost atomic.Int64
	p.Lose(func(subject string) bool {
		lost.Add(1)
		return strings.HasPrefix(subject, "_INBOX.")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := b.Publish(ctx, rig.TokenEvent("b")); !errors.Is(err, bus.ErrNotAcknowledged) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	// Closing ends a call in flight.
	lost.Store(0)
	done := make(chan error, 1)
	go func() {
		_, err := b.Publish(context.Background(), rig.TokenEvent("c"))
		done <- err
	}()
	rig.Eventually(t, "the call is in flight", func() bool { return lost.Load() > 0 })
	b.Close()
	if err := <-done; !errors.Is(err, bus.ErrClosed) || !errors.Is(err, bus.ErrNotAcknowledged) {
		t.Errorf("error %v", err)
	}
}

// Everything may be closed in any order, and more than once.
func TestCloseBusInAnyOrder(t *testing.T) {
	rig.NoLeaks(t)
	for _, order := range []string{"bcs", "bsc", "cbs", "csb", "sbc", "scb"} {
		srv, err := embedded.Start(rig.Within(t), embedded.Config{})
		if err != nil {
			t.Fatal(err)
		}
		nc, err := nats.Connect("", nats.InProcessServer(srv), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.PingInterval(2*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		b, err := bus.Join(rig.Within(t), bus.Config{Conn: nc, Issuers: []string{rig.Issuer}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Publish(rig.Within(t), rig.TokenEvent("x")); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, what := range order {
				switch what {
				case 'b':
					b.Close()
				case 'c':
					nc.Close()
				case 's':
					srv.Close()
				}
			}
		}
		if _, err := b.Publish(rig.Within(t), rig.TokenEvent("x")); !errors.Is(err, bus.ErrClosed) {
			t.Errorf("%s: %v", order, err)
		}
		if _, err := bus.Join(rig.Within(t), bus.Config{Conn: nc, Issuers: []string{rig.Issuer}}); !errors.Is(err, bus.ErrClosed) {
			t.Errorf("%s: join over a closed connection: %v", order, err)
		}
	}
	// A closed connection under an open Member.
	srv := rig.StartEmbedded(t, embedded.Config{})
	nc, err := nats.Connect("", nats.InProcessServer(srv), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.PingInterval(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	b := rig.Join(t, bus.Config{Conn: nc}, bus.Config{}, nil)
	nc.Close()
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("x")); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("connection closed: %v", err)
	}
}

// A forged acknowledgement, which anyone who may write to a publisher's inbox can send, tells
// of a loss that there was not. The stream is asked before everything is published again,
// and the event is published until there is an acknowledgement that can be believed.
func TestPublishForgedAcknowledgement(t *testing.T) {
	rig.NoLeaks(t)
	srv, p, b := publishingOver(t)
	var want []string
	for i := range 11 {
		want = append(want, fmt.Sprint("known-", i))
		if _, err := b.Publish(rig.Within(t), rig.TokenEvent(want[i])); err != nil {
			t.Fatal(err)
		}
	}
	seq := regexp.MustCompile(`"seq":\d\d`)
	forged := 3
	p.Rewrite(func(body []byte) {
		if at := seq.FindIndex(body); at != nil && bytes.HasPrefix(body, []byte(`{"stream":`)) && forged > 0 {
			forged--
			copy(body[at[0]:at[1]], `"seq":3 `)
		}
	})
	r, err := b.Publish(rig.Within(t), rig.TokenEvent("forged"))
	if err != nil || r.Sequence != 15 {
		t.Errorf("%+v, %v", r, err)
	}
	if s := b.Status().Publishing; s.Losses != 0 || s.Republished != 0 || s.Contradicted != 3 || s.Acknowledged != 12 {
		t.Errorf("%+v", s)
	}
	_, js := rig.Client(t, srv.URL())
	if got := values(t, js); !slices.Equal(got, append(want, "forged", "forged", "forged", "forged")) {
		t.Errorf("stored %q", got)
	}
}

// The same acknowledgement, where the stream does hold another message in the place of the
// newest that was acknowledged: that is a loss, and everything is published again.
func TestPublishForgedAcknowledgementConfirmed(t *testing.T) {
	rig.NoLeaks(t)
	_, p, b := publishingOver(t)
	for i := range 11 {
		if _, err := b.Publish(rig.Within(t), rig.TokenEvent(fmt.Sprint("known-", i))); err != nil {
			t.Fatal(err)
		}
	}
	seq, data := regexp.MustCompile(`"seq":\d\d`), []byte(`"data":"`)
	forged, asked := 1, 0
	p.Rewrite(func(body []byte) {
		at := seq.FindIndex(body)
		switch {
		case bytes.Contains(body, []byte("stream_msg_get_response")):
			if i := bytes.Index(body, data); i > 0 && asked == 0 {
				asked++
				copy(body[i+len(data):], "AAAA")
			}
		case at != nil && bytes.HasPrefix(body, []byte(`{"stream":`)) && forged > 0:
			forged--
			copy(body[at[0]:at[1]], `"seq":3 `)
		}
	})
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("next")); err != nil {
		t.Error(err)
	}
	if s := b.Status().Publishing; s.Losses != 1 || s.Contradicted != 0 {
		t.Fatalf("%+v", s)
	}
	rig.Eventually(t, "everything is published again", func() bool { s := b.Status().Publishing; return s.Republished == 11 && s.Pending == 0 })
}
