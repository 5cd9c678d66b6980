package publish

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
)

// What Stats shows as the stream's fill is what events are refused by: also what was
// written since the last reading, and a server that refuses for want of room, until it
// takes one again or, where it was the stream, a reading shows room.
func TestFillIsWhatPublishGoesBy(t *testing.T) {
	p := newTestPublisher()
	g := &p.gauge
	read := func(bytes uint64) {
		floor, era := p.ledger.begin()
		p.took(context.Background(), stream.State{MaxBytes: 100 << 20, Bytes: bytes, Created: time.Unix(1, 0)}, nil, g.written, floor, era)
	}
	fill := func() float64 { return p.Status().Fill }
	read(50 << 20)
	if f := fill(); f != 0.5 {
		t.Fatalf("%v", f)
	}
	rec := living1h(1)
	rec.limit, rec.payload = limitSingle, make([]byte, 41<<20)
	if p.fits(rec.size(), rec.limit) {
		t.Error("91 % is within 90 %")
	}
	rec.payload = make([]byte, 39<<20)
	if !p.fits(rec.size(), rec.limit) {
		t.Fatal("89 % is not within 90 %")
	}
	p.release(rec.size(), true)
	if f := fill(); f < 0.89 || f > 0.9 {
		t.Errorf("%v after 39 MiB were written", f)
	}
	next := living1h(2)
	next.limit, next.payload = limitSingle, make([]byte, 2<<20)
	if p.fits(next.size(), next.limit) {
		t.Error("what was written is forgotten")
	}
	for why, mended := range map[room]bool{streamFull: true, accountFull: false} {
		p.refusedForRoom(context.Background(), why) // nothing can be read: the Member is closed
		if f := fill(); f < 1 {
			t.Errorf("%d: %v while the server refuses", why, f)
		}
		read(100<<20 - 1)
		if f := fill(); f < 1 {
			t.Errorf("%d: %v, and there is room for no event", why, f)
		}
		read(10 << 20)
		if f := fill(); f < 1 != mended {
			t.Errorf("%d: %v after a reading that shows room", why, f)
		}
		p.accepted()
		if f := fill(); f != 0.1 {
			t.Errorf("%d: %v after an event was taken", why, f)
		}
	}
}

// What is published as soon as there is a connection, and the first look at the stream, share
// one reading.
func TestFirstReadingIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted.New(t)
		s.Do(func() { s.Refuses, s.Delay = true, 50*time.Millisecond })
		conn, err := transport.Dial(transport.Config{Servers: "nats://127.0.0.1:4222", Options: []nats.Option{nats.SetCustomDialer(s)}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := openCore(t, conn, config{Issuers: []string{testIssuer}})
		if err != nil {
			t.Fatal(err)
		}
		defer b.end()
		published := make(chan error, 1)
		go func() {
			_, err := b.publisher.Publish(t.Context(), sessionEvent(1))
			published <- err
		}()
		synctest.Wait()
		s.Do(func() { s.Refuses = false })
		if err := <-published; err != nil {
			t.Error(err)
		}
		s.Do(func() {
			if s.Asked != 1 {
				t.Errorf("asked %d times", s.Asked)
			}
		})
	})
}
