package publish

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// An event that makes the server end the connection is set aside the second time; the
// others that were under way are not, with an outbox and without.
func TestUnderWayAtTwoEnds(t *testing.T) {
	for _, outbox := range []bool{false, true} {
		t.Run(fmt.Sprintf("outbox %t", outbox), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := scripted.New(t)
				s.Poison, s.Delay = "poison", 50*time.Millisecond
				c := dialScripted(t, s)
				defer c.Close()
				var logged strings.Builder
				cfg := config{Issuers: []string{testIssuer}, Logger: slog.New(slog.NewTextHandler(&logged, nil))}
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
						_, errs[i] = b.publisher.Publish(t.Context(), revoke.Event{Kind: revoke.KindSession, Value: value})
					})
				}
				wg.Wait()
				for i, err := range errs[:innocents] {
					if err != nil || !s.Has(fmt.Sprintf("innocent-%d", i)) {
						t.Errorf("innocent %d: %v", i, err)
					}
				}
				err = errs[innocents]
				if !errors.Is(err, errSetAside) || !errors.Is(err, ErrNotAcknowledged) || errors.Is(err, transport.ErrClosed) || errors.Is(err, ErrKept) != outbox {
					t.Errorf("the culprit: %v", err)
				}
				ends := func() (n int) {
					s.Do(func() { n = s.Ends })
					return n
				}
				if n := ends(); n != 2 {
					t.Errorf("the server ended %d connections, want 2", n)
				}
				if !outbox {
					return
				}
				// It is tried again now and then, and holds up nobody.
				time.Sleep(time.Minute)
				if st := b.publisher.Status(); st.Withheld != 1 || st.Pending != 1 {
					t.Errorf("%d withheld of %d pending", st.Withheld, st.Pending)
				}
				before := ends()
				time.Sleep(time.Hour)
				if n := ends() - before; n < 4 || n > 7 {
					t.Errorf("tried %d times in an hour", n)
				}
				s.Do(func() { s.Poison = "" })
				time.Sleep(asideFor + time.Minute)
				if st := b.publisher.Status(); !s.Has("poison") || st.Withheld != 0 || st.Pending != 0 {
					t.Errorf("the server is mended: stored %t, %d withheld of %d pending", s.Has("poison"), st.Withheld, st.Pending)
				}
				if n := strings.Count(logged.String(), "is set aside"); n < 5 || n > 9 {
					t.Errorf("told %d times:\n%s", n, logged.String())
				}
			})
		})
	}
}

// An event that comes to a link which has just ended is not taken for what ended it: the
// publisher may learn of the end some moments later than the link knows of it.
func TestLinkThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted.New(t)
		c := dialScripted(t, s)
		defer c.Close()
		b, err := openCore(t, c, config{Issuers: []string{testIssuer}})
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		own, err := b.publisher.own(sessionEvent(1))
		if err != nil {
			t.Fatal(err)
		}
		_, rec, err := b.publisher.prepare(t.Context(), own, limitSingle)
		if err != nil {
			t.Fatal(err)
		}
		early := 0
		for range 50 {
			synctest.Wait()
			if err := c.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.Link.Load().Conn.Close()
			if c.IsConnected() {
				early++
			}
			_, sent, err := b.publisher.try(t.Context(), rec, "id-1")
			if sent || !errors.Is(err, transport.ErrDisconnected) || rec.ends != 0 {
				t.Fatalf("sent: %t, ends: %d, %v", sent, rec.ends, err)
			}
		}
		if early == 0 {
			t.Error("the publisher always knew of the end before it tried")
		}
	})
}
