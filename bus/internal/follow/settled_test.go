package follow

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A follower that was started before there was a connection announces itself as soon as
// there is one.
func TestAnnouncedOnceThereIsAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted.New(t)
		s.Refuses, s.Carries = true, true
		conn, err := transport.Dial(transport.Config{Servers: "nats://127.0.0.1:4222", Options: []nats.Option{nats.SetCustomDialer(s)}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := openCore(t, conn, config{Issuers: []string{testIssuer}})
		if err != nil {
			t.Fatal(err)
		}
		defer b.end()
		list, err := revoke.NewList(revoke.Config{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := b.follow(list)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if f.Announcement().Listening {
			t.Error("it listens over no connection")
		}
		s.Do(func() { s.Refuses = false })
		f.isFresh(t, 10*time.Second)
		if a := f.Announcement(); !a.Listening || a.Err != nil {
			t.Errorf("%+v", a)
		}
	})
}

// A connection that is lost is told at once, and not when the server's silence is noticed;
// what it costs is one subscription.
func TestLossOfTheConnectionIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := followScripted(t, config{}, revoke.Config{})
		defer f.b.end()
		f.isFresh(t, time.Minute)
		s.Do(func() { s.Refuses = true })
		s.Cut()
		f.isFresh(t, 500*time.Millisecond)
		if st := f.Status(); !errors.Is(st.Err, transport.ErrDisconnected) || st.Connected {
			t.Errorf("%+v", st)
		}
		s.Do(func() { s.Refuses = false })
		f.isFresh(t, 10*time.Second)
		if st := f.Status(); st.Subscriptions != 2 || st.Err != nil {
			t.Errorf("%+v", st)
		}
	})
}

// The heartbeat that stood at the log's end before is no word of the server's now: who reads
// it again with each subscription climbs all the same, and reads the log from its start.
func TestOldHeartbeatIsNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, f := followScripted(t, config{Logger: log.Logger()}, revoke.Config{})
		defer f.b.end()
		f.isFresh(t, time.Minute)
		s.Do(func() { s.Carries = false })
		f.isStale(t, time.Hour)
		between(t, "subscriptions in an hour", f.Status().Subscriptions, 12, 20)
		if n := log.Count("reading the log from its start"); n != 1 {
			t.Errorf("read from its start %d times", n)
		}
	})
}
