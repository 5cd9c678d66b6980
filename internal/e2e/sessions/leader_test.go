package sessions_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
)

// A leader that was deposed and does not know it answers reads. Anyone who is connected to
// it learns of nothing new; but is not told that a session does not exist, that
// something was written, or that it was not (invariant 8).
func TestStoreBehindDeposedLeader(t *testing.T) {
	t.Parallel()
	c := rig.NewCluster(t, 3, nil)
	rig.CreateBucketOn(t, c)
	old := c.Leader(rig.SessionsStream)
	stays := rig.OpenStore(t, rig.StoreConnection(t, c.URL(old)))
	n := mustSave(t, stays, "a", "one", 0)

	c.Isolate(old)
	leader := c.Leader(rig.SessionsStream, old)
	moved := rig.OpenStore(t, rig.StoreConnection(t, c.URL(leader)))
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

	c.Heal(old)
	c.Settled(rig.SessionsStream)
	rig.AskUntil(t, "it knows what was written meanwhile", func(ctx context.Context) error {
		r, err := stays.Load(ctx, "a")
		if err == nil && (string(r.Value) != "two" || r.Revision != two) {
			err = fmt.Errorf("%q, %d", r.Value, r.Revision)
		}
		return err
	})
	if r, err := stays.Load(rig.Within(t), "c"); !errors.Is(err, refresh.ErrNotFound) {
		t.Errorf("what was never acknowledged is there: %q, %v", r.Value, err)
	}
	mustSave(t, stays, "a", "three", two)
}

// While leaders change, two servers can take one message: one writes it, and the other,
// which waits for writes that it will never commit or is behind, refuses it. Here the
// second is played by a subscriber, and the answer of the first is lost.
func TestRefusedByOneWrittenByAnother(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	admin := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, admin, natskv.BucketConfig{})
	p := rig.NewProxy(t, br.URL())
	s := rig.OpenStore(t, rig.StoreConnection(t, p.URL()))
	other := rig.OpenStore(t, rig.StoreConnection(t, br.URL()))
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
				p.Lose(func(string) bool { // the answer of the server that writes it
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
							r, err := other.Load(rig.Within(t), key)
							if err != nil {
								return err
							}
							if string(r.Value) == "one" {
								continue
							}
							if !replaced || string(r.Value) == "three" {
								break
							}
							if _, err := other.Save(rig.Within(t), key, []byte("three"), r.Revision, later()); err != nil {
								return err
							}
							break
						}
						<-lost
						return m.Respond([]byte(`{"error":{"code":400,` + answer + `},"stream":"KV_sessions"}`))
					}()
				})
				if err == nil {
					err = admin.FlushWithContext(rig.Within(t))
				}
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.Save(rig.Within(t), key, []byte("two"), n, later())
				if err := sub.Unsubscribe(); err != nil {
					t.Fatal(err)
				}
				if err := <-failed; err != nil {
					t.Fatal(err)
				}
				p.Lose(nil)
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
	br := rig.NewBroker(t, nil)
	admin := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, admin, natskv.BucketConfig{})
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	s := rig.OpenStore(t, rig.StoreConnection(t, br.URL()))
	for i, ack := range []string{
		`{"stream":"OTHER","seq":7}`, `{"stream":"KV_sessions","seq":7,"duplicate":true}`, `{"stream":"KV_sessions"}`,
	} {
		// A key that the bucket does not have a message of, whose writes nobody else answers.
		if err := js.DeleteStream(rig.Within(t), rig.SessionsStream); err != nil {
			t.Fatal(err)
		}
		sub, err := admin.Subscribe("$KV.sessions.>", func(m *nats.Msg) { _ = m.Respond([]byte(ack)) })
		if err == nil {
			err = admin.FlushWithContext(rig.Within(t))
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(rig.Within(t), 300*time.Millisecond)
		if n, err := s.Save(ctx, "k", []byte("x"), 0, later()); err == nil || errors.Is(err, refresh.ErrConflict) {
			t.Errorf("%d: Save = %d, %v", i, n, err)
		}
		cancel()
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
		rig.CreateBucket(t, admin, natskv.BucketConfig{})
		mustSave(t, s, "k", "x", 0)
	}
}
