package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Where MaxBytes was lowered, Publish and Stats.Fill say the same: full, as soon as the
// server refuses an event, and not full when there is room again.
func TestFillAfterMaxBytesLowered(t *testing.T) {
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	createStream(t, conn, bus.StreamConfig{})
	pub := join(t, conn, bus.Config{}, nil)
	for i := range 20 {
		publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("sid-", i)})
	}
	if f := pub.Status().Publishing.Fill; f > 0.01 {
		t.Fatalf("fill %v", f)
	}
	_, js := plain(t, br.url())
	s, err := js.Stream(within(t), bus.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	limit := func(bytes int64) {
		t.Helper()
		cfg := s.CachedInfo().Config
		cfg.MaxBytes = bytes
		if _, err := js.UpdateStream(within(t), cfg); err != nil {
			t.Fatal(err)
		}
	}
	limit(4 << 10) // below what it holds
	if _, err := pub.Publish(within(t), revoke.Event{Kind: revoke.KindSession, Value: "full"}); !errors.Is(err, bus.ErrFull) {
		t.Fatalf("got %v", err)
	}
	if s := pub.Status().Publishing; s.Fill < 1 {
		t.Errorf("Publish says that the stream is full, and its fill is %v", s.Fill)
	}
	limit(64 << 20)
	askUntil(t, "published again", func(ctx context.Context) error {
		_, err := pub.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: "again"})
		return err
	})
	if s := pub.Status().Publishing; s.Fill > 0.01 {
		t.Errorf("Publish finds room, and the fill is %v", s.Fill)
	}
	info, err := s.Info(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if n := info.State.Msgs; n < 21 {
		t.Errorf("%d messages are left: to lower MaxBytes has deleted some", n)
	}
}

// One recreation of the stream is one loss, also where the own follower notices it before
// the next look at the stream does.
func TestOneRecreationCountsOnce(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	createStream(t, conn, bus.StreamConfig{})
	pub := join(t, conn, bus.Config{}, newList(t, quick))
	waitFresh(t, pub)
	publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "thief"})
	barrier(t, pub)
	_, js := plain(t, br.url())
	if err := js.DeleteStream(within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	createStream(t, conn, bus.StreamConfig{})
	eventually(t, "noticed and mended", func() bool { s := pub.Status().Publishing; return s.Losses > 0 && s.Republished > 0 })
	mended := time.Now()
	eventually(t, "the watch has looked", func() bool { return pub.Status().Publishing.Checked.After(mended) })
	if s := pub.Status().Publishing; s.Losses != 1 || s.Republished != 1 {
		t.Errorf("stats %+v", s)
	}
}
