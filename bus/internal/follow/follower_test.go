package follow

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A followed is a follower, and what it hangs on.
type followed struct {
	*Follower
	b *core
}

// followScripted returns a follower of a scripted server's stream.
func followScripted(t *testing.T, cfg config, list revoke.Config) (*scripted.Server, *followed) {
	t.Helper()
	s, b := newScripted(t, cfg)
	s.Do(func() { s.Carries = true })
	l, err := revoke.NewList(list)
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.follow(l)
	if err != nil {
		t.Fatal(err)
	}
	return s, &followed{f, b}
}

// is waits for d and then demands that state and reason.
func (f *Follower) is(t *testing.T, d time.Duration, state revoke.State, reason revoke.Reason) {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if s := f.Status(); s.State != state || s.Reason != reason {
		t.Fatalf("%s, %s after %s; want %s, %s; %v", s.State, s.Reason, d, state, reason, s.Err)
	}
}

func (f *Follower) isFresh(t *testing.T, d time.Duration) {
	t.Helper()
	f.is(t, d, revoke.StateFresh, revoke.ReasonNone)
}

func (f *Follower) isStale(t *testing.T, d time.Duration) {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if s := f.Status(); s.State != revoke.StateStale {
		t.Fatalf("%s after %s", s.State, d)
	}
}

func between[T int | uint64](t *testing.T, what string, n, least, most T) {
	t.Helper()
	if n < least || n > most {
		t.Errorf("%s: %d, want %d to %d", what, n, least, most)
	}
}

// On a normal day a follower stays with one subscription, sends a heartbeat every second
// or two, all of which come back, asks for messages twice every half a minute and for the
// stream's settings once or twice a minute, and says that it follows, once.
func TestFollowersNormalDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, f := followScripted(t, config{Logger: log.Everything()}, revoke.Config{})
		defer f.b.end()
		if err := f.WaitFresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		infos := s.Count("STREAM.INFO")
		for i := range 60 {
			r, err := f.b.publisher.Publish(t.Context(), sessionEvent(i))
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Barrier(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := f.list.Check(revoke.Now(), &revoke.Identity{Issuer: testIssuer, Token: "t", Session: r.Event.Value, IssuedAt: time.Now()}, revoke.Deny()); !errors.Is(err, revoke.ErrRevoked) {
				t.Fatalf("event %d: %v", i, err)
			}
			for range 60 {
				f.isFresh(t, time.Second)
			}
		}
		st := f.Status()
		if st.Subscriptions != 1 || st.Moves != 0 || st.Mirror || len(st.Hazards) != 0 || st.Err != nil || !st.Connected || st.Closed || st.Degraded {
			t.Errorf("%+v", st)
		}
		if st.Sent != st.Returned || time.Since(st.BeatAt) > 2*time.Second || st.Beater != f.cfg.Name {
			t.Errorf("%d heartbeats returned of %d, the last of %q at %s", st.Returned, st.Sent, st.Beater, st.BeatAt)
		}
		between(t, "heartbeats in an hour", st.Sent, 1800, 3700)
		between(t, "requests for messages", s.Count("CONSUMER.MSG"), 150, 260)
		between(t, "consumers", s.Count("CONSUMER.CREATE"), 1, 1)
		between(t, "consumers deleted", s.Count("CONSUMER.DELETE"), 0, 0)
		between(t, "requests for the settings", s.Count("STREAM.INFO")-infos, 100, 320)
		s.Do(func() {
			if st.Sequence != s.Info.State.LastSeq {
				t.Errorf("applied up to %d of %d", st.Sequence, s.Info.State.LastSeq)
			}
			for _, l := range s.Log {
				if ttl := l.Msg.Header.Get("Nats-TTL"); l.Msg.Subject == wire.HeartbeatSubject && ttl != "15m" {
					t.Fatalf("a heartbeat that lives %s", ttl)
				}
			}
		})
		if text := log.String(); strings.Count(text, "bus: following") != 1 || strings.Contains(text, "WARN") || strings.Contains(text, "ERROR") || strings.Contains(text, "not following") {
			t.Errorf("logged %s", text)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		between(t, "consumers deleted", s.Count("CONSUMER.DELETE"), 1, 1)
		if st := f.Status(); !st.Closed || st.Connected || st.Server != "" || st.State != revoke.StateFresh {
			t.Errorf("closed: %+v", st)
		}
		if err := f.WaitFresh(t.Context()); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("waiting for a closed one: %v", err)
		}
	})
}

// A server that says nothing, not even that it is there, is left after 3 s; while nothing
// helps there is a subscription ever more rarely, never none; stale after MaxStaleness,
// told once; and all is well when it speaks again.
func TestFollowerOfASilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, f := followScripted(t, config{Logger: log.Everything()}, revoke.Config{})
		defer f.b.end()
		f.isFresh(t, time.Minute)
		s.Do(func() { s.Mute = true })
		f.isFresh(t, 3*time.Second)
		if n := f.Status().Subscriptions; n != 1 {
			t.Errorf("left after less than 3 s: %d subscriptions", n)
		}
		f.isFresh(t, 2*time.Second)
		if st := f.Status(); st.Subscriptions != 2 || !errors.Is(st.Err, errSilence) {
			t.Errorf("%d subscriptions after 5 s: %v", st.Subscriptions, st.Err)
		}
		f.isStale(t, 13*time.Second)
		f.isStale(t, time.Hour)
		before := f.Status().Subscriptions
		f.isStale(t, time.Hour)
		between(t, "subscriptions in an hour", f.Status().Subscriptions-before, 50, 80) // one a minute, and the escalation's
		between(t, "consumers", s.Count("CONSUMER.CREATE"), 1, int(f.Status().Subscriptions))
		if st := f.Status(); st.Moves != 0 { // there is no other server
			t.Errorf("%d moves", st.Moves)
		}
		if n := log.Count("reading the log from its start"); n != 1 {
			t.Errorf("read from its start %d times", n)
		}
		if n := log.Count("subscribing anew"); n < 10 || n > 60 {
			t.Errorf("said %d times that it subscribes anew", n)
		}
		if n := log.Count("not following"); n != 1 {
			t.Errorf("said %d times that it does not follow:\n%s", n, &log)
		}
		log.Reset()
		s.Do(func() { s.Mute = false })
		f.isFresh(t, 2*time.Minute)
		if n := log.Count("bus: following"); n < 1 || n > 3 || log.Count("not following") > n-1 {
			t.Errorf("logged %s", &log)
		}
		before = f.Status().Subscriptions
		f.isFresh(t, time.Hour)
		if n := f.Status().Subscriptions; n != before {
			t.Errorf("%d more subscriptions after it was well", n-before)
		}
	})
}

// A server that says that it is there and brings no heartbeats is asked anew by the
// escalation's steps, each of which is logged; events that it brings meanwhile are applied.
func TestFollowerWithoutHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, f := followScripted(t, config{Logger: log.Logger()}, revoke.Config{})
		defer f.b.end()
		f.isFresh(t, time.Minute)
		s.Do(func() { s.Carries = false })
		f.is(t, 20*time.Second, revoke.StateStale, revoke.ReasonNoHeartbeat)
		if _, err := f.b.publisher.Publish(t.Context(), sessionEvent(1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := f.list.Check(revoke.Now(), &revoke.Identity{Issuer: testIssuer, Token: "t", Session: "sid-1", IssuedAt: time.Now()}, revoke.InsecureAllow()); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("an event that came without heartbeats: %v", err)
		}
		f.isStale(t, time.Hour)
		between(t, "subscriptions in an hour", f.Status().Subscriptions, 12, 20)
		if n := log.Count("own heartbeats do not come back"); n != 1 {
			t.Errorf("told %d times that heartbeats are lost: %s", n, &log)
		}
		if n := log.Count("reading the log from its start"); n != 1 {
			t.Errorf("read from its start %d times", n)
		}
		s.Do(func() { s.Carries = true })
		f.isFresh(t, 7*time.Minute)
		st := f.Status()
		f.isFresh(t, time.Hour)
		if n := f.Status().Subscriptions; n != st.Subscriptions {
			t.Errorf("%d more subscriptions after it was well", n-st.Subscriptions)
		}
	})
}

// A follower that may say what the log holds goes on saying it while others do not: their
// heartbeats carry no digest here. One whose digest counts for nothing, because others have
// a Trust and it has no Signer, leaves it to them.
func TestFollowerAttests(t *testing.T) {
	public := vectorKey().Public().(ed25519.PublicKey)
	for name, c := range map[string]struct {
		cfg     config
		attests bool
	}{
		"no Trust":         {config{}, true},
		"Trust and Signer": {config{Trust: []ed25519.PublicKey{public}, Signer: vectorKey()}, true},
		"Trust":            {config{Trust: []ed25519.PublicKey{public}}, false},
		"no heartbeats":    {config{NoHeartbeats: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, f := followScripted(t, c.cfg, revoke.Config{})
				defer f.b.end()
				other := func(d time.Duration) {
					for range d / time.Second {
						time.Sleep(time.Second)
						data, err := wire.EncodeHeartbeat(replica.Heartbeat{Nonce: [16]byte([]byte(rand.Text())[:16]), Time: time.Now(), Name: "other"})
						if err != nil {
							t.Fatal(err)
						}
						s.Do(func() { s.Store(&nats.Msg{Subject: wire.HeartbeatSubject, Data: data}) })
						synctest.Wait()
					}
				}
				other(time.Minute)
				f.isFresh(t, 0)
				before := f.beater.sent.Load()
				other(time.Minute)
				f.isFresh(t, 0)
				sent := f.beater.sent.Load() - before
				if c.attests && sent < 10 || !c.attests && sent > 0 {
					t.Errorf("%d own heartbeats in a minute beside another's", sent)
				}
			})
		})
	}
}

// Whatever keeps a follower from following has its reason, is logged once, costs the
// server no more than it can bear, and is over when it is mended.
func TestFollowersTroubles(t *testing.T) {
	noStream := func(m *nats.Msg) (string, bool) {
		return `{"error":{"code":404,"err_code":10059,"description":"stream not found"}}`, strings.HasPrefix(m.Subject, "$JS.API.STREAM.INFO.")
	}
	for name, c := range map[string]struct {
		cause, mend func(*scripted.Server)
		reason      revoke.Reason
		err         error
		asks        string // of which there are at most
		most        int    // in an hour
		within      time.Duration
	}{
		"no stream": {
			func(s *scripted.Server) { s.API = noStream },
			func(s *scripted.Server) { s.API = nil },
			revoke.ReasonNoStream, transport.ErrNoStream, "STREAM.INFO", 1600, 6 * time.Second,
		},
		"not permitted": {
			func(s *scripted.Server) { s.Deny = "$JS.API.CONSUMER.CREATE" },
			func(s *scripted.Server) { s.Deny = "" },
			revoke.ReasonNotPermitted, nats.ErrPermissionViolation, "CONSUMER.CREATE", 1600, 12 * time.Second,
		},
		"the password": {
			func(s *scripted.Server) { s.Password = "another" },
			func(s *scripted.Server) { s.Password = "" },
			revoke.ReasonDisconnected, transport.ErrDisconnected, "CONSUMER.CREATE", 1, time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log scripted.Pages
				s, f := followScripted(t, config{Logger: log.Everything()}, revoke.Config{})
				defer f.b.end()
				f.isFresh(t, time.Minute)
				log.Reset()
				s.Do(func() { c.cause(s) })
				s.Cut()
				f.isFresh(t, 10*time.Second)
				f.isStale(t, 10*time.Second)
				// While it tries, the reason is another: between two attempts it is this one.
				soon, cancel := context.WithTimeout(t.Context(), 12*time.Second)
				defer cancel()
				for st := f.Status(); st.Reason != c.reason; {
					var err error
					if st, err = f.WaitChange(soon, st); err != nil {
						t.Fatalf("the reason is %s: %v", st.Reason, err)
					}
				}
				if err := f.WaitFresh(ended(t)); !errors.Is(err, revoke.ErrStale) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), c.reason.String()) || !strings.Contains(err.Error(), c.err.Error()) {
					t.Errorf("waiting: %v", err)
				}
				before := s.Count(c.asks)
				f.isStale(t, time.Hour)
				between(t, c.asks+" in an hour", s.Count(c.asks)-before, c.most/10, c.most)
				if st := f.Status(); !errors.Is(st.Err, c.err) || st.Closed || st.Moves != 0 {
					t.Errorf("%+v", st)
				}
				if n := log.Count("not following"); n > 4 || log.Count(`not following" reason="`+c.reason.String()) == 0 && log.Count(`not following" reason=`+c.reason.String()) == 0 {
					t.Errorf("said %d times why it does not follow:\n%s", n, &log)
				}
				log.Reset()
				s.Do(func() { c.mend(s) })
				f.isFresh(t, c.within)
				if n := log.Count("bus: following"); n != 1 || log.Count("not following") != 0 {
					t.Errorf("mended, it said %s", &log)
				}
			})
		})
	}
}

// ended returns a context that has ended.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A consumer that skips a message, or whose server ends it, is given up; the log goes on
// where it was, and nobody becomes stale.
func TestFollowerOfABrokenConsumer(t *testing.T) {
	consumers := func(s *scripted.Server, f func(*scripted.Consumer)) {
		s.Do(func() {
			for _, c := range s.Conns {
				for _, k := range c.Consumers {
					f(k)
				}
			}
		})
	}
	for name, c := range map[string]struct {
		cause func(*scripted.Server)
		err   string
	}{
		"gap": {func(s *scripted.Server) { consumers(s, func(k *scripted.Consumer) { k.Delivered++ }) }, "gap"},
		"deleted": {func(s *scripted.Server) {
			consumers(s, func(k *scripted.Consumer) { k.Word("409", "Consumer Deleted") })
		}, "Consumer Deleted"},
		"shutdown": {func(s *scripted.Server) {
			consumers(s, func(k *scripted.Consumer) { k.Requests[0].Left = 1; k.Word("409", "Server Shutdown") })
		}, "shuts down"},
		"unknown": {func(s *scripted.Server) { consumers(s, func(k *scripted.Consumer) { k.Word("503", "") }) }, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log scripted.Pages
				s, f := followScripted(t, config{Logger: log.Everything()}, revoke.Config{})
				defer f.b.end()
				f.isFresh(t, time.Minute)
				log.Reset()
				c.cause(s)
				f.isFresh(t, 5*time.Second)
				if st := f.Status(); st.Subscriptions != 2 || st.Err != nil {
					t.Errorf("%+v", st)
				}
				if log.Count("not following") != 1 || log.Count(c.err) != 1 || log.Count("bus: following") != 1 {
					t.Errorf("logged %s", &log)
				}
				between(t, "consumers deleted", s.Count("CONSUMER.DELETE"), 1, 2)
				f.isFresh(t, time.Hour)
				if st := f.Status(); st.Subscriptions != 2 {
					t.Errorf("%d subscriptions", st.Subscriptions)
				}
			})
		})
	}
}

// Words that are no end are none: a request that has run out in part, or a consumer that
// says that it is idle.
func TestFollowerAsksForTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := followScripted(t, config{}, revoke.Config{})
		defer f.b.end()
		f.isFresh(t, 45*time.Second)
		before := s.Count("CONSUMER.MSG")
		s.Do(func() {
			for _, c := range s.Conns {
				for _, k := range c.Consumers {
					k.Word("409", "Message Size Exceeds MaxBytes")
				}
			}
		})
		f.isFresh(t, time.Second)
		if n := s.Count("CONSUMER.MSG") - before; n != 1 || f.Status().Subscriptions != 1 {
			t.Errorf("%d requests after one has ended, %d subscriptions", n, f.Status().Subscriptions)
		}
	})
}
