package publish_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Where MaxBytes was lowered, Publish and Stats.Fill say the same: full, as soon as the
// server refuses an event, and not full when there is room again.
func TestFillAfterMaxBytesLowered(t *testing.T) {
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	pub := rig.Join(t, conn, bus.Config{}, nil)
	for i := range 20 {
		rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("sid-", i)})
	}
	if f := pub.Status().Publishing.Fill; f > 0.01 {
		t.Fatalf("fill %v", f)
	}
	_, js := rig.Client(t, br.URL())
	s, err := js.Stream(rig.Within(t), bus.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	limit := func(bytes int64) {
		t.Helper()
		cfg := s.CachedInfo().Config
		cfg.MaxBytes = bytes
		if _, err := js.UpdateStream(rig.Within(t), cfg); err != nil {
			t.Fatal(err)
		}
	}
	limit(4 << 10) // below what it holds
	if _, err := pub.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSession, Value: "full"}); !errors.Is(err, bus.ErrFull) {
		t.Fatalf("got %v", err)
	}
	if s := pub.Status().Publishing; s.Fill < 1 {
		t.Errorf("Publish says that the stream is full, and its fill is %v", s.Fill)
	}
	limit(64 << 20)
	rig.AskUntil(t, "published again", func(ctx context.Context) error {
		_, err := pub.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: "again"})
		return err
	})
	if s := pub.Status().Publishing; s.Fill > 0.01 {
		t.Errorf("Publish finds room, and the fill is %v", s.Fill)
	}
	info, err := s.Info(rig.Within(t))
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
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	pub := rig.Join(t, conn, bus.Config{}, rig.NewList(t, rig.Quick))
	rig.WaitFresh(t, pub)
	rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "thief"})
	rig.Barrier(t, pub)
	_, js := rig.Client(t, br.URL())
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	rig.CreateStream(t, conn, bus.StreamConfig{})
	rig.Eventually(t, "noticed and mended", func() bool { s := pub.Status().Publishing; return s.Losses > 0 && s.Republished > 0 })
	mended := time.Now()
	rig.Eventually(t, "the watch has looked", func() bool { return pub.Status().Publishing.Checked.After(mended) })
	if s := pub.Status().Publishing; s.Losses != 1 || s.Republished != 1 {
		t.Errorf("stats %+v", s)
	}
}
