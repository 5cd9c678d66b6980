package rollcall

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func sessionEvent(i int) revoke.Event {
	return revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("sid-", i)}
}

// config is of a Member of a scripted server's stream that only publishes.
func config(s *scripted.Server) bus.Config {
	return bus.Config{
		Servers: "nats://127.0.0.1:4222", Options: []nats.Option{nats.SetCustomDialer(s), nats.SkipHostLookup()},
		Issuers: []string{"https://auth.example.com"},
	}
}

// joinScripted returns a scripted server and a Member that follows its stream, and is fresh.
func joinScripted(t *testing.T, name string) (*scripted.Server, *bus.Member) {
	t.Helper()
	s := scripted.New(t)
	s.Do(func() { s.Carries = true })
	return s, joinTo(t, s, name)
}

// joinTo returns one more.
func joinTo(t *testing.T, s *scripted.Server, name string) *bus.Member {
	t.Helper()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(s)
	cfg.List, cfg.Name = list, name
	m, err := bus.Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Close()
		synctest.Wait()
	})
	time.Sleep(5 * time.Second)
	synctest.Wait()
	if s := m.Status(); s.State != revoke.StateFresh {
		t.Fatalf("%s, %s", s.State, s.Reason)
	}
	return m
}

// questions returns the questions that were asked of replicas.
func questions(t *testing.T, s *scripted.Server) (list []wire.Question) {
	t.Helper()
	s.Do(func() {
		for _, m := range s.Others {
			if m.Subject == wire.AppliedSubject {
				q, ok := wire.DecodeQuestion(m.Data)
				if !ok {
					t.Errorf("no question: %s", m.Data)
				}
				list = append(list, q)
			}
		}
	})
	return list
}

// All who announce themselves confirm, within the time of the roll call; each is named
// with its delay, and asked once.
func TestRevokeForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := joinScripted(t, "orders")
		other := joinTo(t, s, "orders")
		for _, replicas := range []int{0, 2, 1} {
			before, began := len(questions(t, s)), time.Now()
			r, err := Revoke(t.Context(), m, sessionEvent(replicas), Config{Replicas: replicas})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			took := time.Since(began)
			if replicas == 0 && took != defaultRoll || replicas > 0 && took > 0 {
				t.Errorf("%d: took %s", replicas, took)
			}
			list := questions(t, s)[before:]
			if n := len(list); n != 1+len(list[1:]) || replicas == 0 && n != 2 || replicas > 0 && n != 1 {
				t.Errorf("%d: asked %d times", replicas, n)
			}
			for _, q := range list {
				if q.Wait != 4*time.Second || q.Sequence != r.Sequence {
					t.Errorf("question %+v about %d", q, r.Sequence)
				}
			}
			if len(r.Replicas) < max(replicas, 1) || r.EffectiveBy != r.Time.Add(15*time.Second) || r.Ignored != 0 || r.ID == "" {
				t.Errorf("%+v", r)
			}
			for _, x := range r.Replicas[:max(replicas, 1)] {
				if !x.Applied || x.Name != "orders" || x.Delay <= 0 || x.Delay > time.Second || x.State != revoke.StateFresh || x.MaxStaleness != 15*time.Second || x.Problem != "" || x.AppliedAt.IsZero() {
					t.Errorf("%+v", x)
				}
			}
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for _, m := range []*bus.Member{m, other} {
			if a := m.Status().Announcement; !a.Listening || a.Answered < 3 || a.Dropped != 0 || a.Err != nil {
				t.Errorf("%+v", a)
			}
		}
	})
}

// Who does not confirm is named; the wait ends with MaxStaleness or its context, asks ever
// more rarely meanwhile, and the event is acknowledged all the same.
func TestRevokeInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := joinScripted(t, "orders")
		joinTo(t, s, "orders")
		began := time.Now()
		r, err := Revoke(t.Context(), m, sessionEvent(1), Config{Replicas: 3})
		if !errors.Is(err, ErrUnconfirmed) || !strings.Contains(err.Error(), "2 of 3 replicas confirmed within MaxStaleness") || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != 15*time.Second || r.Sequence == 0 || len(r.Replicas) != 2 {
			t.Errorf("after %s: %+v", took, r)
		}
		if n := len(questions(t, s)); n != 10 { // at 0, 0.2, 0.6, 1.4, 3, 5, 7 … 13 s
			t.Errorf("asked %d times in 15 s", n)
		}
		s.Do(func() { s.Mute = true }) // the log stands still, and who was heard lately is waited for
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began = time.Now()
		r, err = Revoke(ctx, m, sessionEvent(2), Config{})
		if !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `0 of 2 replicas confirmed (missing ["orders" "orders"])`) {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != 2*time.Second || len(r.Replicas) != 2 || r.Replicas[0].Applied || r.Replicas[0].Problem != "not applied yet" || r.Replicas[0].Delay != 0 {
			t.Errorf("after %s: %+v", took, r)
		}
		s.Do(func() { s.Mute = false })
		time.Sleep(30 * time.Second)
		if _, err := Revoke(t.Context(), m, sessionEvent(3), Config{}); err != nil {
			t.Errorf("mended: %v", err)
		}
	})
}

// Nobody there is noticed after two seconds, or the roll call if that is longer; a replica
// that was closed is not waited for; one that was killed is.
func TestRevokeForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, other := joinScripted(t, "")
		m, err := bus.Join(t.Context(), config(s)) // which only publishes
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if r, err := Revoke(t.Context(), m, sessionEvent(0), Config{}); err != nil || len(r.Replicas) != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		other.Close()
		for _, roll := range []time.Duration{0, 5 * time.Second} {
			began := time.Now()
			r, err := Revoke(t.Context(), m, sessionEvent(1), Config{RollCall: roll})
			if !errors.Is(err, ErrUnconfirmed) || !strings.Contains(err.Error(), "no replica announces itself") || r.Sequence == 0 || len(r.Replicas) != 0 {
				t.Errorf("%v, %+v", err, r)
			}
			if took := time.Since(began); took < max(roll, nobodyPatience) || took > max(roll, nobodyPatience)+maxAskPause {
				t.Errorf("after %s", took)
			}
		}
		s.Do(func() { s.Deny = wire.AppliedSubject })
		if _, err := Revoke(t.Context(), m, sessionEvent(2), Config{}); !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "replicas may not be asked") {
			t.Errorf("no right to ask: %v", err)
		}
		if _, err := Revoke(t.Context(), m, sessionEvent(3), Config{Replicas: -1}); err == nil || errors.Is(err, ErrUnconfirmed) {
			t.Errorf("%v", err)
		}
		m.Close()
		if r, err := Revoke(t.Context(), m, sessionEvent(4), Config{}); !errors.Is(err, bus.ErrClosed) || r.Sequence != 0 || errors.Is(err, ErrUnconfirmed) {
			t.Errorf("closed: %v", err)
		}
	})
}

// Who answered one call and not the next is known and waited for: the Member remembers.
func TestRevokeRemembersWhoAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := joinScripted(t, "orders")
		if _, err := Revoke(t.Context(), m, sessionEvent(0), Config{}); err != nil {
			t.Fatal(err)
		}
		s.Do(func() { s.Deny = "_INBOX" }) // it may not answer any more
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r, err := Revoke(ctx, m, sessionEvent(1), Config{})
		if !errors.Is(err, ErrUnconfirmed) || len(r.Replicas) != 1 || r.Replicas[0].Problem != "no answer" || r.Replicas[0].Name != "orders" {
			t.Errorf("%+v, %v", r.Replicas, err)
		}
	})
}

// Closing the Member ends a wait.
func TestCloseEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, m := joinScripted(t, "")
		done := make(chan error, 1)
		go func() {
			_, err := Revoke(t.Context(), m, sessionEvent(1), Config{Replicas: 9})
			done <- err
		}()
		time.Sleep(time.Second)
		m.Close()
		if err := <-done; !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, bus.ErrClosed) {
			t.Error(err)
		}
	})
}

// A call without a context panics, as the standard library does, before anything is sent.
func TestRevokeWithoutContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := joinScripted(t, "")
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
			s.Do(func() {
				if s.Events != 0 {
					t.Errorf("%d events are published", s.Events)
				}
			})
		}()
		var none context.Context
		_, _ = Revoke(none, m, sessionEvent(1), Config{})
	})
}
