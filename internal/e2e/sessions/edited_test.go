package sessions_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
)

// A bucket that is edited to forget, while a Store uses it, is not written to, and what is
// missing in it is not said to be none, until it is mended.
func TestBucketEditedToForget(t *testing.T) {
	t.Parallel() // it waits for the next look at the settings
	br := rig.NewBroker(t, nil)
	nc := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, nc, natskv.BucketConfig{})
	s := rig.OpenStore(t, nc)
	expires := time.Now().Add(time.Hour)
	revision, err := s.Save(rig.Within(t), "s.known", []byte("1"), 0, expires)
	if err != nil {
		t.Fatal(err)
	}
	_, js := rig.Client(t, br.URL())
	stream, err := js.Stream(rig.Within(t), rig.SessionsStream)
	if err != nil {
		t.Fatal(err)
	}
	good := stream.CachedInfo().Config
	bad := good
	bad.MaxAge = time.Hour
	change := func(c jetstream.StreamConfig) {
		t.Helper()
		if _, err := js.UpdateStream(rig.Within(t), c); err != nil {
			t.Fatal(err)
		}
	}
	save := func() error {
		next, err := s.Save(rig.Within(t), "s.known", []byte("2"), revision, expires)
		if err == nil {
			revision = next
		}
		return err
	}
	change(bad)
	rig.Eventually(t, "writes are refused", func() bool { return says(save(), "bucket unsafe") })
	if _, err := s.Load(rig.Within(t), "s.none"); !says(err, "bucket unsafe") || errors.Is(err, refresh.ErrNotFound) {
		t.Errorf("a record that is not there: %v", err)
	}
	if r, err := s.Load(rig.Within(t), "s.known"); err != nil || r.Revision != revision {
		t.Errorf("a record that is there: %v", err)
	}
	change(good)
	rig.Eventually(t, "writes are taken again", func() bool { return save() == nil })
	if _, err := s.Load(rig.Within(t), "s.none"); !errors.Is(err, refresh.ErrNotFound) {
		t.Errorf("a record that is not there: %v", err)
	}
}
