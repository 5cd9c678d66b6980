package follow

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A follower whose server is cut off from its peers moves to another before it is stale,
// and stays there; of a shared connection it says that it may not.
func TestFollowerMovesToAnotherServer(t *testing.T) {
	for _, shared := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var log scripted.Pages
			s := scripted.New(t)
			s.Carries = true
			conn, err := transport.Dial(transport.Config{Servers: "nats://127.0.0.1:4222,nats://127.0.0.1:4223", Options: []nats.Option{nats.SetCustomDialer(s)}})
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			if shared {
				defer conn.Close()
				if conn, err = transport.Use(conn.NATS(), true, nil); err != nil {
					t.Fatal(err)
				}
			}
			b, err := openCore(t, conn, config{Issuers: []string{testIssuer}, Logger: log.Everything()})
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
			f.isFresh(t, time.Minute)
			from := b.NATS().ConnectedServerId()
			s.Do(func() { s.Isolated = from })
			if !shared {
				f.isFresh(t, 14*time.Second)
				if st := f.Status(); st.Moves != 1 || b.NATS().ConnectedServerId() == from || log.Count("moving to another server") != 1 {
					t.Errorf("%d moves, logged %s", st.Moves, &log)
				}
				f.isFresh(t, time.Hour)
				if st := f.Status(); st.Moves != 1 {
					t.Errorf("%d moves in an hour", st.Moves)
				}
				return
			}
			f.isStale(t, time.Hour)
			if st := f.Status(); st.Moves != 0 || b.NATS().ConnectedServerId() != from || log.Count("the connection is shared and stays where it is") < 5 {
				t.Errorf("%d moves, logged %s", st.Moves, &log)
			}
			s.Do(func() { s.Isolated = "" })
			f.isFresh(t, 7*time.Minute)
		})
	}
}

// Two names of one server lead a move back to it: it is tried four times more, and not for
// ever.
func TestFollowerThatIsLedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted.New(t)
		s.ID = "the one"
		conn, err := transport.Dial(transport.Config{Servers: "nats://127.0.0.1:4222,nats://127.0.0.1:4223", Options: []nats.Option{nats.SetCustomDialer(s)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		b, err := openCore(t, conn, config{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.end()
		f, _ := newTestFollower(t)
		f.t = b.Transport
		synctest.Wait()
		attempts := func() (n int) {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			s.Do(func() { n = len(s.Attempts) })
			return n
		}
		before := attempts()
		if f.astray() {
			t.Fatal("astray without having fled")
		}
		f.fled = "the one"
		n := 0
		for f.astray() {
			n++
			if attempts() != before+n {
				t.Errorf("flight %d leads nowhere", n)
			}
		}
		if n != maxFlights || f.fled != "" {
			t.Errorf("%d flights", n)
		}
		f.fled, f.flights = "another", 0
		if f.astray() || f.fled != "" {
			t.Error("astray at another server")
		}
	})
}
