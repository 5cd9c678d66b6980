package bus

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// The handlers that the user gave are called beside ours, and none is no mistake.
func TestUsersHandlersAreCalled(t *testing.T) {
	broken := errors.New("broken")
	call := func(o *nats.Options) {
		o.ReconnectErrCB(nil, broken)
		o.AsyncErrorCB(nil, nil, broken)
		o.DisconnectedErrCB(nil, broken)
		o.DisconnectedErrCB(nil, nil)
	}
	var log scripted.Pages
	c := &connection{log: log.Logger()}
	var o nats.Options
	c.observe(&o)
	call(&o)
	var calls []string
	o = nats.Options{
		ReconnectErrCB:    func(_ *nats.Conn, err error) { calls = append(calls, "attempt") },
		AsyncErrorCB:      func(*nats.Conn, *nats.Subscription, error) { calls = append(calls, "async") },
		DisconnectedErrCB: func(*nats.Conn, error) { calls = append(calls, "disconnected") },
	}
	c.observe(&o)
	o.ReconnectErrCB(nil, broken)
	if why := c.failed.Load(); why == nil || *why != broken {
		t.Errorf("why the attempt failed is not kept: %v", why)
	}
	call(&o)
	if len(calls) != 5 {
		t.Errorf("called %q", calls)
	}
	if c.failed.Load() != nil {
		t.Error("why an attempt failed outlives the connection after it")
	}
	if n := log.Count("bus: disconnected"); n != 2 {
		t.Errorf("logged %s", &log)
	}
}

// Settings that freshness depends on are not for options to take back.
func TestDialInsists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted.New(t)
		c, err := dialServers(t.Context(), Config{Servers: "nats://127.0.0.1:4222", InboxPrefix: "_INBOX_me", Name: "orders", Options: []nats.Option{
			nats.SetCustomDialer(s), nats.NoReconnect(), nats.MaxReconnects(3), nats.RetryOnFailedConnect(false), nats.ReconnectBufSize(8 << 20), nil,
		}})
		if err != nil {
			t.Fatal(err)
		}
		o := c.nc().Opts
		if !o.AllowReconnect || o.MaxReconnect != -1 || !o.RetryOnFailedConnect || !o.IgnoreAuthErrorAbort || o.ReconnectBufSize != -1 ||
			o.InboxPrefix != "_INBOX_me" || o.Name != "orders" || o.PingInterval != 2*time.Second || o.MaxPingsOut != 2 ||
			o.Timeout != 3*time.Second || o.ReconnectWait != 500*time.Millisecond || o.ReconnectJitter != 500*time.Millisecond || o.ReconnectJitterTLS != 2*time.Second || o.DrainTimeout != 5*time.Second {
			t.Errorf("%+v", o)
		}
		c.close()
		synctest.Wait()
	})
}

// A follower that will never apply anything again says so.
func TestStatusOfTheClosed(t *testing.T) {
	f, _ := newTestFollower(t)
	f.dead = make(chan struct{})
	if s := f.status(); s.Closed || !s.BeatAt.IsZero() {
		t.Errorf("%+v", s)
	}
	now := revoke.Now()
	f.note(func(r *report) { r.beat, r.beater, r.err = now, "other", errNoBeats })
	close(f.dead)
	if s := f.status(); !s.Closed || !s.BeatAt.Equal(now.Time()) || s.Beater != "other" || s.Err != errNoBeats || s.level().err != errNoBeats.Error() || !s.level().closed {
		t.Errorf("%+v", s)
	}
}

// An answer that could not be sent is counted as dropped, and no other.
func TestAnswersAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, f := beatingFollower(t, Config{})
		a := newAnnouncer(t)
		a.t = f.t
		a.answer("_INBOX.a.1", wire.OutcomeWaiting, time.Time{})
		if a.answered.Load() != 1 || a.dropped.Load() != 0 {
			t.Errorf("%d answered, %d dropped", a.answered.Load(), a.dropped.Load())
		}
		f.b.end()
		a.answer("_INBOX.a.1", wire.OutcomeWaiting, time.Time{})
		if a.answered.Load() != 1 || a.dropped.Load() != 1 {
			t.Errorf("closed: %d answered, %d dropped", a.answered.Load(), a.dropped.Load())
		}
	})
}
