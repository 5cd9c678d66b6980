package follow

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// newTestFollower has no connection, and a subscription that wants nothing more.
func newTestFollower(t testing.TB) (*Follower, *subscription) {
	l, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	feed, err := replica.NewFeed(l)
	if err != nil {
		t.Fatal(err)
	}
	tr := &transport.Transport{StreamName: stream.DefaultName, Log: transport.Logger(nil), Context: context.Background(), Conn: new(transport.Connection)}
	f := &Follower{t: tr, list: l, feed: feed, reconnects: func() uint64 { return 0 }, ctx: tr.Context}
	f.beater = beater{t: tr, cfg: &f.cfg, feed: feed, list: l, applied: &f.sequence}
	f.escalation = newEscalation(l.Config(), time.Second)
	f.announcer.init(tr, &f.cfg, l)
	f.report.Store(&report{})
	at := feed.Begin(revoke.Now(), replica.LogInfo{Retention: revoke.DefaultRetention()})
	return f, &subscription{t: tr, gen: at.Generation, consumer: "own", batch: pullMessages, wantMessages: 2 * pullMessages, wantBytes: 2 * pullBytes}
}

// connOf returns a connection that nothing was dialled for.
func connOf(nc *nats.Conn) *transport.Connection {
	c := new(transport.Connection)
	c.Link.Store(&transport.Link{Conn: nc})
	return c
}

// delivery is the n-th message that a server delivers for a consumer.
func delivery(stream, consumer string, n int, value string) *nats.Msg {
	return &nats.Msg{
		Sub:     &nats.Subscription{},
		Subject: wire.Subject(testIssuer, revoke.KindSession),
		Reply:   fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.%d.0", stream, consumer, n, n, time.Now().UnixNano()),
		Data:    fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"session","value":%q}`, testIssuer, value),
	}
}

// What another consumer delivers ends the subscription, however well it fits in:
// anyone who may make consumers could otherwise hand a follower a log of his choice.
func TestDeliveryOfAnotherConsumer(t *testing.T) {
	for _, c := range []struct{ stream, consumer string }{{stream.DefaultName, "other"}, {"OTHER", "own"}} {
		f, s := newTestFollower(t)
		if _, _, err := f.take(revoke.Now(), s, delivery(stream.DefaultName, "own", 1, "a")); err != nil { // the good twin
			t.Fatal(err)
		}
		if _, _, err := f.take(revoke.Now(), s, delivery(c.stream, c.consumer, 2, "b")); err == nil {
			t.Errorf("%v: applied", c)
		}
		if n := f.list.Stats(revoke.Now()).Applied[revoke.KindSession]; n != 1 || f.sequence.Load() != 1 {
			t.Errorf("%v: %d events applied, up to %d", c, n, f.sequence.Load())
		}
	}
}

// A subscription ends with its connection, before anything that came over the next
// is applied, even if nobody has announced it.
func TestDeliveryAfterReconnect(t *testing.T) {
	f, s := newTestFollower(t)
	if _, _, err := f.take(revoke.Now(), s, delivery(stream.DefaultName, "own", 1, "a")); err != nil { // the good twin
		t.Fatal(err)
	}
	f.reconnects = func() uint64 { return 1 }
	if _, _, err := f.take(revoke.Now(), s, delivery(stream.DefaultName, "own", 2, "b")); !errors.Is(err, transport.ErrDisconnected) {
		t.Errorf("after a reconnect: %v", err)
	}
	if n := f.list.Stats(revoke.Now()).Applied[revoke.KindSession]; n != 1 {
		t.Errorf("%d events applied", n)
	}
}

// The last word of a server that goes down may be read before its connection ends.
func TestServerShutdownIsADisconnection(t *testing.T) {
	f, s := newTestFollower(t)
	f.t.Conn = connOf(new(nats.Conn))
	for text, want := range map[string]revoke.Reason{"Server Shutdown": revoke.ReasonDisconnected, "Consumer Deleted": revoke.ReasonRebuilding} {
		err := s.status(&nats.Msg{Header: nats.Header{"Status": {"409"}, "Description": {text}}})
		if err == nil {
			t.Fatalf("%s: the subscription goes on", text)
		}
		if got := f.reason(err, nil); got != want {
			t.Errorf("%s: reason %s, want %s", text, got, want)
		}
	}
}

// A request that ended without a message is not renewed at once, for ever: it ends
// the subscription. Idleness is no such end.
func TestFruitlessRequest(t *testing.T) {
	for _, c := range []struct {
		code, pending string
		ends          bool
	}{
		{"100", "", false},
		{"408", strconv.Itoa(pullMessages), false},
		{"409", strconv.Itoa(pullMessages - 1), false},
		{"409", strconv.Itoa(pullMessages), true},
		{"409", "", true},
		{"503", "", true},
	} {
		_, s := newTestFollower(t)
		s.wantMessages, s.wantBytes = 3*pullMessages, 3*pullBytes
		err := s.status(&nats.Msg{Header: nats.Header{"Status": {c.code}, "Nats-Pending-Messages": {c.pending}, "Nats-Pending-Bytes": {"1"}}})
		if (err != nil) != c.ends {
			t.Errorf("%s with %q pending: %v", c.code, c.pending, err)
		}
	}
}
