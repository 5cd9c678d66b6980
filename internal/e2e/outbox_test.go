package e2e_test

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
	"github.com/hybridtoken/hybridtoken/revoke"
)

// An event that could not be published is published when the server is back: by the same
// process, and by the next one.
func TestOutboxUnacknowledged(t *testing.T) {
	t.Parallel() // it waits for half a minute
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	file := filepath.Join(t.TempDir(), "outbox")
	conn := dial(t, br.url())
	b, err := bus.Join(within(t), joining(conn, bus.Config{Issuers: []string{issuer}, OutboxFile: file}, nil))
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "before"})
	br.stop()
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
	br.start()
	l := newList(t, quick)
	f := join(t, dial(t, br.url()), bus.Config{}, l)
	eventually(t, "published by the same process", func() bool { return refused(l, session("while down")) })
	eventually(t, "nothing pending", func() bool { return b.Status().Publishing.Pending == 0 })

	br.stop()
	failing("at the end")
	if _, err := bus.Join(within(t), joining(conn, bus.Config{Issuers: []string{issuer}, OutboxFile: file}, nil)); !errors.Is(err, bus.ErrOutbox) {
		t.Errorf("two have it open: %v", err)
	}
	// With the connection, which might bring it when the server is back.
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	br.start()
	waitFresh(t, f)
	mustPass(t, l, session("at the end"))
	next := join(t, dial(t, br.url()), bus.Config{OutboxFile: file}, nil)
	eventually(t, "published by the next process", func() bool { return refused(l, session("at the end")) })
	// What the last process published, some of it with another time, is found where it was.
	eventually(t, "the stream was looked at", func() bool { return !next.Status().Publishing.Checked.IsZero() })
	if s := next.Status().Publishing; s.Losses != 0 {
		t.Errorf("stats %+v", s)
	}
}

// A stream that was made anew while the publisher was down: what it knows comes back.
func TestOutboxRecreated(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	createStream(t, conn, bus.StreamConfig{})
	file := filepath.Join(t.TempDir(), "outbox")
	key, public := signingKey(1)
	cfg := bus.Config{Issuers: []string{issuer}, OutboxFile: file, Signer: key}
	b, err := bus.Join(within(t), joining(conn, cfg, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, sid := range []string{"one", "two", "three"} {
		publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: sid})
	}
	publish(t, b, revoke.Event{Kind: revoke.KindClient, Value: "app"})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	_, js := plain(t, br.url())
	if err := js.DeleteStream(within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	createStream(t, conn, bus.StreamConfig{})
	b = join(t, conn, cfg, nil)
	publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "next"})
	eventually(t, "republished", func() bool { s := b.Status().Publishing; return s.Losses == 1 && s.Republished >= 4 && s.Pending == 0 })
	l := newList(t, quick)
	waitFresh(t, join(t, dial(t, br.url()), bus.Config{Trust: trustOf(public)}, l))
	id := session("other")
	id.Client, id.IssuedAt = "app", time.Now().Add(-time.Minute)
	mustRefuse(t, l, id, session("one"), session("two"), session("three"), session("next"))
}

// Invariant 9: a process that ends while it publishes again what the stream has lost
// leaves the rest to the next, which must not take it to be there because other events,
// published again, are.
func TestOutboxEndsWhileRepublishing(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	createStream(t, conn, bus.StreamConfig{})
	file := filepath.Join(t.TempDir(), "outbox")
	cfg := bus.Config{Issuers: []string{issuer}, OutboxFile: file}
	b, err := bus.Join(within(t), joining(conn, cfg, nil))
	if err != nil {
		t.Fatal(err)
	}
	banned := session("other")
	banned.Subject, banned.IssuedAt = "banned", time.Now().Add(-time.Minute)
	large := revoke.Event{Kind: revoke.KindSubject, Value: "banned"}
	for i := range revoke.MaxKeep {
		large.Keep = append(large.Keep, fmt.Sprintf("a session with a rather long name, number %d", i))
	}
	publish(t, b, large)
	for i := range 5 {
		publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint(i)})
	}
	_, js := plain(t, br.url())
	s := theStream(t, js)
	sc := s.CachedInfo().Config
	whole := sc.MaxMsgSize
	sc.MaxMsgSize = 1 << 10 // the large one has to wait
	if err := js.DeleteStream(within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	made(t, func(ctx context.Context) error { _, err := js.CreateStream(ctx, sc); return err })
	for i := range 10 { // beyond where the large one was
		publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("next ", i)})
	}
	eventually(t, "all but one republished", func() bool { s := b.Status().Publishing; return s.Losses == 1 && s.Pending == 1 })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	sc.MaxMsgSize = whole
	if _, err := js.UpdateStream(within(t), sc); err != nil {
		t.Fatal(err)
	}
	b = join(t, conn, cfg, nil)
	l := newList(t, quick)
	waitFresh(t, join(t, dial(t, br.url()), bus.Config{}, l))
	eventually(t, "the last one republished", func() bool { return refused(l, banned) })
	mustRefuse(t, l, session("0"), session("next 0"))
	eventually(t, "nothing pending", func() bool { return b.Status().Publishing.Pending == 0 })
}

// Invariant 9: a service whose outbox was damaged while it was down, beyond its first line
// and with more zeros than any line has, starts, and publishes what checks out of it.
func TestOutboxDamagedWhileDown(t *testing.T) {
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	createStream(t, conn, bus.StreamConfig{})
	file := filepath.Join(t.TempDir(), "outbox")
	cfg := bus.Config{Issuers: []string{issuer}, OutboxFile: file}
	b, err := bus.Join(within(t), joining(conn, cfg, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, sid := range []string{"one", "two", "three"} {
		publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: sid})
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
	_, js := plain(t, br.url())
	if err := js.DeleteStream(within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	createStream(t, conn, bus.StreamConfig{})
	var log journal
	cfg.Logger = log.logger()
	l := newList(t, quick)
	b = join(t, conn, cfg, l)
	waitFresh(t, b)
	eventually(t, "published again", func() bool { return refused(l, session("one")) && refused(l, session("three")) })
	mustPass(t, l, session("two"))
	s := b.Status().Publishing
	if kept, err := os.ReadFile(s.OutboxSetAside); err != nil || !bytes.Equal(kept, damaged) || s.OutboxDamaged == 0 || s.OutboxErr != nil {
		t.Errorf("stats %+v, %v", s, err)
	}
	if log.count("level=ERROR", "outbox", s.OutboxSetAside) != 1 {
		t.Errorf("logged %s", &log)
	}
}
