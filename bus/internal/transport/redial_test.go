package transport

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
)

func dialScripted(t *testing.T, s *scripted.Server, opts ...nats.Option) *Connection {
	t.Helper()
	opts = append([]nats.Option{nats.SetCustomDialer(s), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}, opts...)
	c, err := Dial(Config{Servers: "nats://127.0.0.1:4222", Options: opts})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Await(t.Context()); err != nil {
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
		defer c.Close()
		if synctest.Wait(); !c.IsConnected() {
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
			case gap > MaxRedial:
				t.Errorf("%s without an attempt", gap)
			case i > 20 && gap < MaxRedial/2:
				t.Errorf("attempt %d came %s after the last", i, gap)
			}
		}
		if c.Over() {
			t.Error("given up")
		}
		s.Do(func() { s.Ending = false })
		time.Sleep(MaxRedial + time.Second)
		if !c.IsConnected() {
			t.Error("not connected when the server is well again")
		}
		// What was a series does not count for ever.
		time.Sleep(2 * steady)
		s.Do(func() { s.Poison = "now"; s.Attempts = nil })
		if err := c.NATS().Publish("x", []byte("now")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(firstRedial + 100*time.Millisecond)
		if !c.IsConnected() {
			t.Error("not dialled again at once after a steady while")
		}
		if closed != 0 {
			t.Errorf("the user was told %d times that the connection is closed", closed)
		}
		c.Close()
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
		defer c.Close()
		if synctest.Wait(); !c.IsConnected() {
			t.Fatal("not connected")
		}
		s.Do(func() { s.Password = "new" })
		s.Cut()
		time.Sleep(10 * time.Minute)
		if c.IsConnected() {
			t.Fatal("connected with a password that was exchanged")
		}
		if err := c.Disconnected(); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("the reason is %v", err)
		}
		mu.Lock()
		file = "new"
		mu.Unlock()
		time.Sleep(MaxRedial + time.Second)
		if !c.IsConnected() {
			t.Error("the new password was not read")
		}
		// One that is wrong for some seconds is nothing that has to be made anew.
		life := c.Link.Load().life
		s.Do(func() { s.Password = "wrong" })
		s.Cut()
		time.Sleep(8 * time.Second)
		s.Do(func() { s.Password = "new" })
		time.Sleep(2 * time.Second)
		if !c.IsConnected() || c.Link.Load().life != life {
			t.Errorf("connected: %t, over link %d, before %d", c.IsConnected(), c.Link.Load().life, life)
		}
	})
}

// Who compares epochs learns of the first connection as of each later one: a publisher that
// begins while no server answers looks for what was lost as soon as one does.
func TestFirstConnectionIsAnEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted.New(t)
		s.Do(func() { s.Password = "right" })
		var password atomic.Value
		password.Store("wrong")
		c, err := Dial(Config{Servers: "nats://127.0.0.1:4222", Options: []nats.Option{nats.SetCustomDialer(s), func(o *nats.Options) error {
			return nats.UserInfo("auth", password.Load().(string))(o)
		}}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		synctest.Wait()
		if c.IsConnected() {
			t.Fatal("connected with a wrong password")
		}
		before := c.Epoch()
		password.Store("right")
		time.Sleep(MaxRedial + time.Second)
		if !c.IsConnected() {
			t.Fatal("not connected")
		}
		if c.Epoch() == before {
			t.Errorf("epoch %d before the first connection and over it", before)
		}
	})
}
