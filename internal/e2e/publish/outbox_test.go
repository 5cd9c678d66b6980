package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// An event that could not be published is published when the server is back: by the same
// process, and by the next one.
func TestOutboxUnacknowledged(t *testing.T) {
	t.Parallel() // it waits for half a minute
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	file := filepath.Join(t.TempDir(), "outbox")
	conn := rig.Dial(t, br.URL())
	b, err := bus.Join(rig.Within(t), rig.Joining(conn, bus.Config{Issuers: []string{rig.Issuer}, OutboxFile: file}, nil))
	if err != nil {
		t.Fatal(err)
	}
	rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "before"})
	br.Stop()
	failing := func(sid string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := b.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: sid}); !errors.Is(err, bus.ErrNotAcknowledged) {
			t.Fatal(err)
		}
	}
	failing("while down")
	if s := b.Status().Publishing; s.Pending != 1 || s.Acknowledged != 1 {
		t.Errorf("stats %+v", s)
	}
	br.Start()
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	rig.Eventually(t, "published by the same process", func() bool { return rig.Refused(l, rig.Session("while down")) })
	rig.Eventually(t, "nothing pending", func() bool { return b.Status().Publishing.Pending == 0 })

	br.Stop()
	failing("at the end")
	if _, err := bus.Join(rig.Within(t), rig.Joining(conn, bus.Config{Issuers: []string{rig.Issuer}, OutboxFile: file}, nil)); !errors.Is(err, bus.ErrOutbox) {
		t.Errorf("two have it open: %v", err)
	}
	// With the connection, which might bring it when the server is back.
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	br.Start()
	rig.WaitFresh(t, f)
	rig.MustPass(t, l, rig.Session("at the end"))
	next := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{OutboxFile: file}, nil)
	rig.Eventually(t, "published by the next process", func() bool { return rig.Refused(l, rig.Session("at the end")) })
	// What the last process published, some of it with another time, is found where it was.
	rig.Eventually(t, "the stream was looked at", func() bool { return !next.Status().Publishing.Checked.IsZero() })
	if s := next.Status().Publishing; s.Losses != 0 {
		t.Errorf("stats %+v", s)
	}
}

// A stream that was made anew while the publisher was down: what it knows comes back.
func TestOutboxRecreated(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	file := filepath.Join(t.TempDir(), "outbox")
	key, public := rig.SigningKey(1)
	cfg := bus.Config{Issuers: []string{rig.Issuer}, OutboxFile: file, Signer: key}
	b, err := bus.Join(rig.Within(t), rig.Joining(conn, cfg, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, sid := range []string{"one", "two", "three"} {
		rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: sid})
	}
	rig.Publish(t, b, revoke.Event{Kind: revoke.KindClient, Value: "app"})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	_, js := rig.Client(t, br.URL())
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	rig.CreateStream(t, conn, bus.StreamConfig{})
	b = rig.Join(t, conn, cfg, nil)
	rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "next"})
	rig.Eventually(t, "republished", func() bool { s := b.Status().Publishing; return s.Losses == 1 && s.Republished >= 4 && s.Pending == 0 })
	l := rig.NewList(t, rig.Quick)
	rig.WaitFresh(t, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Trust: rig.TrustOf(public)}, l))
	id := rig.Session("other")
	id.Client, id.IssuedAt = "app", time.Now().Add(-time.Minute)
	rig.MustRefuse(t, l, id, rig.Session("one"), rig.Session("two"), rig.Session("three"), rig.Session("next"))
}

// Invariant 9: a process that ends while it publishes again what the stream has lost
// leaves the rest to the next, which must not take it to be there because other events,
// published again, are.
func TestOutboxEndsWhileRepublishing(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	file := filepath.Join(t.TempDir(), "outbox")
	cfg := bus.Config{Issuers: []string{rig.Issuer}, OutboxFile: file}
	b, err := bus.Join(rig.Within(t), rig.Joining(conn, cfg, nil))
	if err != nil {
		t.Fatal(err)
	}
	banned := rig.Session("other")
	banned.Subject, banned.IssuedAt = "banned", time.Now().Add(-time.Minute)
	large := revoke.Event{Kind: revoke.KindSubject, Value: "banned"}
	for i := range revoke.MaxKeep {
		large.Keep = append(large.Keep, fmt.Sprintf("a session with a rather long name, number %d", i))
	}
	rig.Publish(t, b, large)
	for i := range 5 {
		rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint(i)})
	}
	_, js := rig.Client(t, br.URL())
	s := rig.TheStream(t, js)
	sc := s.CachedInfo().Config
	whole := sc.MaxMsgSize
	sc.MaxMsgSize = 1 << 10 // the large one has to wait
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	rig.Made(t, func(ctx context.Context) error { _, err := js.CreateStream(ctx, sc); return err })
	for i := range 10 { // beyond where the large one was
		rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("next ", i)})
	}
	rig.Eventually(t, "all but one republished", func() bool { s := b.Status().Publishing; return s.Losses == 1 && s.Pending == 1 })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	sc.MaxMsgSize = whole
	if _, err := js.UpdateStream(rig.Within(t), sc); err != nil {
		t.Fatal(err)
	}
	b = rig.Join(t, conn, cfg, nil)
	l := rig.NewList(t, rig.Quick)
	rig.WaitFresh(t, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l))
	rig.Eventually(t, "the last one republished", func() bool { return rig.Refused(l, banned) })
	rig.MustRefuse(t, l, rig.Session("0"), rig.Session("next 0"))
	rig.Eventually(t, "nothing pending", func() bool { return b.Status().Publishing.Pending == 0 })
}

// Invariant 9: a service whose outbox was damaged while it was down, beyond its first line
// and with more zeros than any line has, starts, and publishes what checks out of it.
func TestOutboxDamagedWhileDown(t *testing.T) {
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	file := filepath.Join(t.TempDir(), "outbox")
	cfg := bus.Config{Issuers: []string{rig.Issuer}, OutboxFile: file}
	b, err := bus.Join(rig.Within(t), rig.Joining(conn, cfg, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, sid := range []string{"one", "two", "three"} {
		rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: sid})
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(data, []byte("two"))
	clear(data[:40])
	damaged := slices.Concat(data[:i], make([]byte, 300<<10), data[i:])
	if err := os.WriteFile(file, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	_, js := rig.Client(t, br.URL())
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	rig.CreateStream(t, conn, bus.StreamConfig{})
	var log rig.Journal
	cfg.Logger = log.Logger()
	l := rig.NewList(t, rig.Quick)
	b = rig.Join(t, conn, cfg, l)
	rig.WaitFresh(t, b)
	rig.Eventually(t, "published again", func() bool { return rig.Refused(l, rig.Session("one")) && rig.Refused(l, rig.Session("three")) })
	rig.MustPass(t, l, rig.Session("two"))
	s := b.Status().Publishing
	if kept, err := os.ReadFile(s.OutboxSetAside); err != nil || !bytes.Equal(kept, damaged) || s.OutboxDamaged == 0 || s.OutboxErr != nil {
		t.Errorf("stats %+v, %v", s, err)
	}
	if log.Count("level=ERROR", "outbox", s.OutboxSetAside) != 1 {
		t.Errorf("logged %s", &log)
	}
}
