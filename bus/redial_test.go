package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func dialScripted(t *testing.T, s *scripted.Server, opts ...nats.Option) *connection {
	t.Helper()
	opts = append([]nats.Option{nats.SetCustomDialer(s), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}, opts...)
	c, err := dialServers(t.Context(), Config{Servers: "nats://127.0.0.1:4222", Options: opts})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A server that ends every connection with words that the client library does not know is
// dialled again for ever, ever more rarely, but at least every half a minute; when it is
// mended, all is well.
func TestDialledAgainForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted.New(t)
		closed := 0
		c := dialScripted(t, s, nats.ClosedHandler(func(*nats.Conn) { closed++ }))
		defer c.close()
		if synctest.Wait(); !c.isConnected() {
			t.Fatal("not connected")
		}
		time.Sleep(time.Hour)
		s.Do(func() { s.Ending = true; s.Attempts = nil })
		s.Cut()
		time.Sleep(time.Hour)
		var attempts []time.Time
		s.Do(func() { attempts = s.Attempts })
		if n := len(attempts); n < 120 || n > 300 {
			t.Errorf("%d attempts in an hour", n)
		}
		for i := 1; i < len(attempts); i++ {
			switch gap := attempts[i].Sub(attempts[i-1]); {
			case gap > maxRedial:
				t.Errorf("%s without an attempt", gap)
			case i > 20 && gap < maxRedial/2:
				t.Errorf("attempt %d came %s after the last", i, gap)
			}
		}
		if c.over() {
			t.Error("given up")
		}
		s.Do(func() { s.Ending = false })
		time.Sleep(maxRedial + time.Second)
		if !c.isConnected() {
			t.Error("not connected when the server is well again")
		}
		// What was a series does not count for ever.
		time.Sleep(2 * steady)
		s.Do(func() { s.Poison = "now"; s.Attempts = nil })
		if err := c.nc().Publish("x", []byte("now")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(firstRedial + 100*time.Millisecond)
		if !c.isConnected() {
			t.Error("not dialled again at once after a steady while")
		}
		if closed != 0 {
			t.Errorf("the user was told %d times that the connection is closed", closed)
		}
		c.close()
		if synctest.Wait(); closed != 1 {
			t.Errorf("and %d times when it was", closed)
		}
	})
}

// Credentials that were exchanged while the process runs are taken up: options are
// applied anew once servers have refused for long enough.
func TestRefusedCredentialsAreReadAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted.New(t)
		s.Password = "old"
		var mu sync.Mutex
		file := "old"
		c := dialScripted(t, s, func(o *nats.Options) error {
			mu.Lock()
			defer mu.Unlock()
			return nats.UserInfo("auth", file)(o)
		})
		defer c.close()
		if synctest.Wait(); !c.isConnected() {
			t.Fatal("not connected")
		}
		s.Do(func() { s.Password = "new" })
		s.Cut()
		time.Sleep(10 * time.Minute)
		if c.isConnected() {
			t.Fatal("connected with a password that was exchanged")
		}
		if err := c.disconnected(); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("the reason is %v", err)
		}
		mu.Lock()
		file = "new"
		mu.Unlock()
		time.Sleep(maxRedial + time.Second)
		if !c.isConnected() {
			t.Error("the new password was not read")
		}
		// One that is wrong for some seconds is nothing that has to be made anew.
		life := c.link.Load().life
		s.Do(func() { s.Password = "wrong" })
		s.Cut()
		time.Sleep(8 * time.Second)
		s.Do(func() { s.Password = "new" })
		time.Sleep(2 * time.Second)
		if !c.isConnected() || c.link.Load().life != life {
			t.Errorf("connected: %t, over link %d, before %d", c.isConnected(), c.link.Load().life, life)
		}
	})
}

// An event that makes the server end the connection is set aside the second time; the
// others that were under way are not, with an outbox and without.
func TestUnderWayAtTwoEnds(t *testing.T) {
	for _, outbox := range []bool{false, true} {
		t.Run(fmt.Sprintf("outbox %t", outbox), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := scripted.New(t)
				s.Poison, s.Delay = "poison", 50*time.Millisecond
				c := dialScripted(t, s)
				defer c.close()
				var logged strings.Builder
				cfg := Config{Issuers: []string{testIssuer}, Logger: slog.New(slog.NewTextHandler(&logged, nil))}
				if outbox {
					cfg.OutboxFile = t.TempDir() + "/outbox"
				}
				b, err := openCore(t, c, cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer b.close()
				const innocents = 10
				var wg sync.WaitGroup
				errs := make([]error, innocents+1)
				for i := range errs {
					value := fmt.Sprintf("innocent-%d", i)
					if i == innocents {
						value = "poison"
					}
					wg.Go(func() {
						_, errs[i] = b.publisher.publishEvent(t.Context(), revoke.Event{Kind: revoke.KindSession, Value: value})
					})
				}
				wg.Wait()
				for i, err := range errs[:innocents] {
					if err != nil || !s.Has(fmt.Sprintf("innocent-%d", i)) {
						t.Errorf("innocent %d: %v", i, err)
					}
				}
				err = errs[innocents]
				if !errors.Is(err, errSetAside) || !errors.Is(err, ErrNotAcknowledged) || errors.Is(err, ErrClosed) || errors.Is(err, ErrKept) != outbox {
					t.Errorf("the culprit: %v", err)
				}
				if s.Ends != 2 {
					t.Errorf("the server ended %d connections, want 2", s.Ends)
				}
				if !outbox {
					return
				}
				// It is tried again now and then, and holds up nobody.
				time.Sleep(time.Minute)
				if st := b.publisher.publishing(); st.Withheld != 1 || st.Pending != 1 {
					t.Errorf("%d withheld of %d pending", st.Withheld, st.Pending)
				}
				before := s.Ends
				time.Sleep(time.Hour)
				if n := s.Ends - before; n < 4 || n > 7 {
					t.Errorf("tried %d times in an hour", n)
				}
				s.Do(func() { s.Poison = "" })
				time.Sleep(asideFor + time.Minute)
				if st := b.publisher.publishing(); !s.Has("poison") || st.Withheld != 0 || st.Pending != 0 {
					t.Errorf("the server is mended: stored %t, %d withheld of %d pending", s.Has("poison"), st.Withheld, st.Pending)
				}
				if n := strings.Count(logged.String(), "is set aside"); n < 5 || n > 9 {
					t.Errorf("told %d times:\n%s", n, logged.String())
				}
			})
		})
	}
}
