package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/rollcall"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// large is an event that fits into what servers take by default, and not below lowPayload.
func large(value string) revoke.Event {
	e := revoke.Event{Kind: revoke.KindSubject, Value: value}
	for i := range 64 {
		e.Keep = append(e.Keep, fmt.Sprintf("%d-%s", i, strings.Repeat("s", 150)))
	}
	return e
}

// alive asserts that everything which hangs on a connection works: publishing, following,
// beating, asking replicas and answering.
func alive(t *testing.T, name string, b *bus.Member, l *revoke.List) {
	t.Helper()
	waitFresh(t, b)
	barrier(t, b)
	sid := "alive-" + name
	askUntil(t, name+": a replica confirms", func(ctx context.Context) error {
		_, err := rollcall.Revoke(ctx, b, revoke.Event{Kind: revoke.KindSession, Value: sid}, rollcall.Config{Replicas: 1})
		return err
	})
	mustRefuse(t, l, session(sid))
}

// A max_payload that is lowered by a reload makes the server end the connection of a client
// that was told another, for good as the client library sees it. One of ours lives on over the
// next, with all that hangs on it; the event that no longer fits is named.
func TestPayloadLowered(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	var links atomic.Int32
	conn := dial(t, br.url(), nats.ConnectHandler(func(*nats.Conn) { links.Add(1) }))
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	l := newList(t, quick)
	b := join(t, conn, bus.Config{OutboxFile: filepath.Join(t.TempDir(), "outbox")}, l)
	alive(t, "before", b, l)
	publish(t, b, large("fits"))

	br.reload(lowPayload)
	_, err := b.Publish(within(t), large("does-not"))
	if err == nil || errors.Is(err, bus.ErrClosed) || !strings.Contains(err.Error(), "larger than the server takes") {
		t.Errorf("the event that no longer fits: %v", err)
	}
	alive(t, "after", b, l)
	eventually(t, "the library's second connection", func() bool { return links.Load() == 2 })
	if s := b.Status(); s.Closed || !s.Connected || s.Returned == 0 {
		t.Errorf("status %+v", s)
	}
	other := newList(t, quick)
	waitFresh(t, join(t, conn, bus.Config{}, other))
	mustRefuse(t, other, session("alive-before"), session("alive-after"))
}

// The same where nobody publishes: what ended the connection came from elsewhere on it,
// and comes back.
func TestEndedAgainAndAgain(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	var log journal
	nc := make(chan *nats.Conn, 16)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	l := newList(t, quick)
	b := join(t, bus.Config{Servers: br.url(), Logger: log.logger(), Options: []nats.Option{nats.ConnectHandler(func(c *nats.Conn) { nc <- c })}}, bus.Config{}, l)
	for round := range 3 {
		alive(t, fmt.Sprint(round), b, l)
		c := <-nc
		br.reload(lowPayload)
		if err := c.Publish("elsewhere", tooLarge); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the client library has given the connection up", c.IsClosed)
		br.reload(func(o *server.Options) {})
	}
	alive(t, "last", b, l)
	if n := log.count("level=WARN", "was ended for good; dialling again", "Maximum Payload"); n != 3 {
		t.Errorf("told %d times, want 3\n%s", n, &log)
	}
	if log.count("connection closed") != 0 {
		t.Errorf("called closed, and is not\n%s", &log)
	}
}

// A password that is wrong for a while ends nothing: neither a connection of ours nor the
// session store's. A client without the option that New asks for is given up meanwhile,
// or this test would not have waited for long enough.
func TestPasswordWrongForAWhile(t *testing.T) {
	t.Parallel()
	password := "right"
	br := newBroker(t, func(o *server.Options) { o.Users = []*server.User{{Username: "auth", Password: password}} })
	as := nats.UserInfo("auth", "right")
	conn := dial(t, br.url(), as)
	createStream(t, conn, bus.StreamConfig{})
	l := newList(t, quick)
	b := join(t, conn, bus.Config{}, l)

	nc := connect(t, br.url(), as)
	createBucket(t, nc, natskv.BucketConfig{})
	w := newTwin(t, func() refresh.Store { return openStore(t, nc) })
	g := w.login(t, "user-1")
	alive(t, "before", b, l)

	touchy, _ := plain(t, br.url(), as, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	password = "other"
	br.reload(func(*server.Options) {})
	eventually(t, "who lacks the option is given up", touchy.IsClosed)
	eventually(t, "the reason shows", func() bool {
		err := b.Status().Err
		return errors.Is(err, nats.ErrAuthorization)
	})
	time.Sleep(8 * time.Second) // what the outage is to last; nothing is awaited
	if nc.IsClosed() {
		t.Fatal("the session store's connection has ended")
	}
	password = "right"
	br.reload(func(*server.Options) {})
	alive(t, "after", b, l)
	askUntil(t, "sessions are refreshed again", func(ctx context.Context) error {
		_, err := w.managers[1].Refresh(ctx, refresh.Request{Token: g.RefreshToken(), Client: "web"})
		return err
	})
}

// Credentials that were exchanged in their file are read anew, though the server refused
// the old ones for long.
func TestCredentialsExchanged(t *testing.T) {
	t.Parallel() // it waits half a minute until the client library's own attempts are given up
	password := "old"
	br := newBroker(t, func(o *server.Options) { o.Users = []*server.User{{Username: "auth", Password: password}} })
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	conn := dial(t, br.url(), func(o *nats.Options) error {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return nats.UserInfo("auth", string(text))(o)
	})
	createStream(t, conn, bus.StreamConfig{})
	l := newList(t, quick)
	b := join(t, conn, bus.Config{}, l)
	alive(t, "before", b, l)

	password = "new"
	br.reload(func(*server.Options) {})
	eventually(t, "refused", func() bool { return errors.Is(b.Status().Err, nats.ErrAuthorization) })
	write("new")
	alive(t, "after", b, l)
}
