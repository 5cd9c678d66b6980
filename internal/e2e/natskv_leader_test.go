package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
)

// A leader that was deposed and does not know it answers reads. Anyone who is connected to
// it learns of nothing new; but is not told that a session does not exist, that
// something was written, or that it was not (invariant 8).
func TestStoreBehindDeposedLeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	createBucketOn(t, c)
	old := c.leader(sessionsStream)
	stays := openStore(t, connect(t, c.url(old)))
	n := mustSave(t, stays, "a", "one", 0)

	c.isolate(old)
	leader := c.leader(sessionsStream, old)
	moved := openStore(t, connect(t, c.url(leader)))
	two := mustSave(t, moved, "a", "two", n)
	mustSave(t, moved, "b", "new", 0)
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	undecided := func(err error) bool {
		return err != nil && !errors.Is(err, refresh.ErrNotFound) && !errors.Is(err, refresh.ErrConflict)
	}
	// If this fails because the record is current, the server has healed too early for
	// the test to mean anything.
	if r, err := stays.Load(short(), "a"); err == nil && string(r.Value) == "two" {
		t.Fatal("the server that was cut off knows what was written since")
	}
	if r, err := stays.Load(short(), "b"); !undecided(err) {
		t.Errorf("Load of a record made meanwhile = %q, %v", r.Value, err)
	}
	for _, key := range []string{"a", "b", "c"} {
		for _, revision := range []uint64{0, n, two} {
			if key == "a" && revision == 0 {
				continue // a conflict in any case
			}
			if got, err := stays.Save(short(), key, []byte("lost"), revision, later()); !undecided(err) {
				t.Errorf("Save(%s, revision %d) = %d, %v", key, revision, got, err)
			}
		}
	}
	mustLoad(t, moved, "a", "two", two)

	c.heal(old)
	c.settled(sessionsStream)
	askUntil(t, "it knows what was written meanwhile", func(ctx context.Context) error {
		r, err := stays.Load(ctx, "a")
		if err == nil && (string(r.Value) != "two" || r.Revision != two) {
			err = fmt.Errorf("%q, %d", r.Value, r.Revision)
		}
		return err
	})
	if r, err := stays.Load(within(t), "c"); !errors.Is(err, refresh.ErrNotFound) {
		t.Errorf("what was never acknowledged is there: %q, %v", r.Value, err)
	}
	mustSave(t, stays, "a", "three", two)
}

// While leaders change, two servers can take one message: one writes it, and the other,
// which waits for writes that it will never commit or is behind, refuses it. Here the
// second is played by a subscriber, and the answer of the first is lost.
func TestRefusedByOneWrittenByAnother(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	admin := connect(t, br.url())
	createBucket(t, admin, natskv.BucketConfig{})
	p := newProxy(t, br.url())
	s := openStore(t, connect(t, p.url()))
	other := openStore(t, connect(t, br.url()))
	for i, answer := range []string{
		`"err_code":10164,"description":"wrong last sequence"`,
		`"err_code":10071,"description":"wrong last sequence: 0"`,
		`"err_code":10071,"description":"wrong last sequence"`,
	} {
		for _, replaced := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/replaced=%t", i, replaced), func(t *testing.T) {
				key := fmt.Sprintf("k%d.%t", i, replaced)
				n := mustSave(t, s, key, "one", 0)
				lost, first := make(chan struct{}), true
				p.lose(func(string) bool { // the answer of the server that writes it
					if first {
						first = false
						close(lost)
						return true
					}
					return false
				})
				failed := make(chan error, 100) // one for each attempt
				sub, err := admin.Subscribe("$KV.sessions."+key, func(m *nats.Msg) {
					if string(m.Data) != "two" {
						return
					}
					failed <- func() error {
						for { // until it is written
							r, err := other.Load(within(t), key)
							if err != nil {
								return err
							}
							if string(r.Value) == "one" {
								continue
							}
							if !replaced || string(r.Value) == "three" {
								break
							}
							if _, err := other.Save(within(t), key, []byte("three"), r.Revision, later()); err != nil {
								return err
							}
							break
						}
						<-lost
						return m.Respond([]byte(`{"error":{"code":400,` + answer + `},"stream":"KV_sessions"}`))
					}()
				})
				if err == nil {
					err = admin.FlushWithContext(within(t))
				}
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.Save(within(t), key, []byte("two"), n, later())
				if err := sub.Unsubscribe(); err != nil {
					t.Fatal(err)
				}
				if err := <-failed; err != nil {
					t.Fatal(err)
				}
				p.lose(nil)
				switch {
				case !replaced && (err != nil || got <= n):
					t.Errorf("Save = %d, %v; it was written", got, err)
				case replaced && (!says(err, "write not answered") || errors.Is(err, refresh.ErrConflict)):
					t.Errorf("Save = %d, %v; it was written, and replaced", got, err)
				}
			})
		}
	}
}

// Anyone who answers in the server's place is not believed to have written.
func TestForgedAcknowledgement(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	admin := connect(t, br.url())
	createBucket(t, admin, natskv.BucketConfig{})
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, connect(t, br.url()))
	for i, ack := range []string{
		`{"stream":"OTHER","seq":7}`, `{"stream":"KV_sessions","seq":7,"duplicate":true}`, `{"stream":"KV_sessions"}`,
	} {
		// A key that the bucket does not have a message of, whose writes nobody else answers.
		if err := js.DeleteStream(within(t), sessionsStream); err != nil {
			t.Fatal(err)
		}
		sub, err := admin.Subscribe("$KV.sessions.>", func(m *nats.Msg) { _ = m.Respond([]byte(ack)) })
		if err == nil {
			err = admin.FlushWithContext(within(t))
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(within(t), 300*time.Millisecond)
		if n, err := s.Save(ctx, "k", []byte("x"), 0, later()); err == nil || errors.Is(err, refresh.ErrConflict) {
			t.Errorf("%d: Save = %d, %v", i, n, err)
		}
		cancel()
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
		createBucket(t, admin, natskv.BucketConfig{})
		mustSave(t, s, "k", "x", 0)
	}
}
