package member_test

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
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
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
	rig.WaitFresh(t, b)
	rig.Barrier(t, b)
	sid := "alive-" + name
	rig.AskUntil(t, name+": a replica confirms", func(ctx context.Context) error {
		_, err := rollcall.Revoke(ctx, b, revoke.Event{Kind: revoke.KindSession, Value: sid}, rollcall.Config{Replicas: 1})
		return err
	})
	rig.MustRefuse(t, l, rig.Session(sid))
}

// A max_payload that is lowered by a reload makes the server end the connection of a client
// that was told another, for good as the client library sees it. One of ours lives on over the
// next, with all that hangs on it; the event that no longer fits is named.
func TestPayloadLowered(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	var links atomic.Int32
	conn := rig.Dial(t, br.URL(), nats.ConnectHandler(func(*nats.Conn) { links.Add(1) }))
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	l := rig.NewList(t, rig.Quick)
	b := rig.Join(t, conn, bus.Config{OutboxFile: filepath.Join(t.TempDir(), "outbox")}, l)
	alive(t, "before", b, l)
	rig.Publish(t, b, large("fits"))

	br.Reload(lowPayload)
	_, err := b.Publish(rig.Within(t), large("does-not"))
	if err == nil || errors.Is(err, bus.ErrClosed) || !strings.Contains(err.Error(), "larger than the server takes") {
		t.Errorf("the event that no longer fits: %v", err)
	}
	alive(t, "after", b, l)
	rig.Eventually(t, "the library's second connection", func() bool { return links.Load() == 2 })
	if s := b.Status(); s.Closed || !s.Connected || s.Returned == 0 {
		t.Errorf("status %+v", s)
	}
	other := rig.NewList(t, rig.Quick)
	rig.WaitFresh(t, rig.Join(t, conn, bus.Config{}, other))
	rig.MustRefuse(t, other, rig.Session("alive-before"), rig.Session("alive-after"))
}

// The same where nobody publishes: what ended the connection came from elsewhere on it,
// and comes back.
func TestEndedAgainAndAgain(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	var log rig.Journal
	nc := make(chan *nats.Conn, 16)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	l := rig.NewList(t, rig.Quick)
	b := rig.Join(t, bus.Config{Servers: br.URL(), Logger: log.Logger(), Options: []nats.Option{nats.ConnectHandler(func(c *nats.Conn) { nc <- c })}}, bus.Config{}, l)
	for round := range 3 {
		alive(t, fmt.Sprint(round), b, l)
		c := <-nc
		br.Reload(lowPayload)
		if err := c.Publish("elsewhere", tooLarge); err != nil {
			t.Fatal(err)
		}
		rig.Eventually(t, "the client library has given the connection up", c.IsClosed)
		br.Reload(func(o *server.Options) {})
	}
	alive(t, "last", b, l)
	if n := log.Count("level=WARN", "was ended for good; dialling again", "Maximum Payload"); n != 3 {
		t.Errorf("told %d times, want 3\n%s", n, &log)
	}
	if log.Count("connection closed") != 0 {
		t.Errorf("called closed, and is not\n%s", &log)
	}
}

// A password that is wrong for a while ends nothing: neither a connection of ours nor the
// session store's. A client without the option that New asks for is given up meanwhile,
// or this test would not have waited for long enough.
func TestPasswordWrongForAWhile(t *testing.T) {
	t.Parallel()
	password := "right"
	br := rig.NewBroker(t, func(o *server.Options) { o.Users = []*server.User{{Username: "auth", Password: password}} })
	as := nats.UserInfo("auth", "right")
	conn := rig.Dial(t, br.URL(), as)
	rig.CreateStream(t, conn, bus.StreamConfig{})
	l := rig.NewList(t, rig.Quick)
	b := rig.Join(t, conn, bus.Config{}, l)

	nc := rig.StoreConnection(t, br.URL(), as)
	rig.CreateBucket(t, nc, natskv.BucketConfig{})
	store := rig.OpenStore(t, nc)
	expires := time.Now().Add(time.Hour)
	if _, err := store.Save(rig.Within(t), "session", []byte("first"), 0, expires); err != nil {
		t.Fatal(err)
	}
	alive(t, "before", b, l)

	touchy, _ := rig.Client(t, br.URL(), as, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	password = "other"
	br.Reload(func(*server.Options) {})
	rig.Eventually(t, "who lacks the option is given up", touchy.IsClosed)
	rig.Eventually(t, "the reason shows", func() bool {
		err := b.Status().Err
		return errors.Is(err, nats.ErrAuthorization)
	})
	time.Sleep(8 * time.Second) // what the outage is to last; nothing is awaited
	if nc.IsClosed() {
		t.Fatal("the session store's connection has ended")
	}
	password = "right"
	br.Reload(func(*server.Options) {})
	alive(t, "after", b, l)
	rig.AskUntil(t, "sessions are read and written again", func(ctx context.Context) error {
		r, err := store.Load(ctx, "session")
		if err == nil {
			_, err = store.Save(ctx, "session", []byte("second"), r.Revision, expires)
		}
		return err
	})
}

// Credentials that were exchanged in their file are read anew, though the server refused
// the old ones for long.
func TestCredentialsExchanged(t *testing.T) {
	t.Parallel() // it waits half a minute until the client library's own attempts are given up
	password := "old"
	br := rig.NewBroker(t, func(o *server.Options) { o.Users = []*server.User{{Username: "auth", Password: password}} })
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	conn := rig.Dial(t, br.URL(), func(o *nats.Options) error {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return nats.UserInfo("auth", string(text))(o)
	})
	rig.CreateStream(t, conn, bus.StreamConfig{})
	l := rig.NewList(t, rig.Quick)
	b := rig.Join(t, conn, bus.Config{}, l)
	alive(t, "before", b, l)

	password = "new"
	br.Reload(func(*server.Options) {})
	rig.Eventually(t, "refused", func() bool { return errors.Is(b.Status().Err, nats.ErrAuthorization) })
	write("new")
	alive(t, "after", b, l)
}
