package publish

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
)

// newTestPublisher has a closed transport, so that nothing is republished behind the test.
func newTestPublisher() *Publisher {
	t := transport.New(stream.DefaultName, transport.Logger(nil))
	t.Close()
	return New(t, nil, nil, nil)
}

func living1h(i int) *record {
	return &record{subject: "s", payload: []byte(fmt.Sprint(i)), gone: time.Now().Add(time.Hour + time.Duration(i)*time.Second)}
}

func ack(seq uint64, duplicate bool) *jetstream.PubAck {
	return &jetstream.PubAck{Stream: stream.DefaultName, Sequence: seq, Duplicate: duplicate}
}

// Invariant 9: an acknowledgement that a stream with a memory could not have given
// is no success.
func TestAcknowledged(t *testing.T) {
	for _, tt := range []struct {
		name         string
		floor, seq   uint64
		dup, retried bool
		ok           bool
		losses       uint64
		highestAfter uint64
	}{
		{name: "first of all", floor: 0, seq: 1, ok: true, highestAfter: 1},
		{name: "next", floor: 10, seq: 11, ok: true, highestAfter: 11},
		{name: "duplicate of a retry", floor: 10, seq: 11, dup: true, retried: true, ok: true, highestAfter: 11},
		{name: "duplicate on a first try", floor: 10, seq: 11, dup: true, losses: 1, highestAfter: 11},
		{name: "the highest again", floor: 10, seq: 10, losses: 1, highestAfter: 10},
		{name: "lower", floor: 10, seq: 3, losses: 1, highestAfter: 3},
		{name: "lower, retried", floor: 10, seq: 3, dup: true, retried: true, losses: 1, highestAfter: 3},
	} {
		p := newTestPublisher()
		p.ledger.highest = tt.floor
		floor, era := p.ledger.begin()
		if got := p.acknowledged(living1h(0), ack(tt.seq, tt.dup), tt.retried, floor, era); got != tt.ok {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.ok)
		}
		if p.ledger.stats.Losses != tt.losses || p.ledger.highest != tt.highestAfter {
			t.Errorf("%s: %d losses, highest %d; want %d, %d", tt.name, p.ledger.stats.Losses, p.ledger.highest, tt.losses, tt.highestAfter)
		}
	}
}

// Acknowledgements of concurrent calls arrive in any order; that is no loss. And
// one loss is found once, anyone who else was under way.
func TestAcknowledgedConcurrently(t *testing.T) {
	p := newTestPublisher()
	type call struct {
		rec        *record
		floor, era uint64
	}
	begin := func(i int) call {
		floor, era := p.ledger.begin()
		return call{living1h(i), floor, era}
	}
	end := func(c call, seq uint64) bool { return p.acknowledged(c.rec, ack(seq, false), false, c.floor, c.era) }

	a, b := begin(1), begin(2)
	if !end(b, 102) || !end(a, 101) {
		t.Fatal("out of order is taken for a loss")
	}
	// The stream is made anew while three are under way.
	a, b, c := begin(3), begin(4), begin(5)
	if end(a, 1) || end(b, 2) {
		t.Error("what may be lost is taken for acknowledged")
	}
	if end(c, 103) { // stored before the loss, its answer was late
		t.Error("an acknowledgement of the era before is believed")
	}
	if p.ledger.stats.Losses != 1 {
		t.Errorf("%d losses, want 1", p.ledger.stats.Losses)
	}
	list, _, _ := p.ledger.pending(time.Now())
	if got := len(list); got != 2 {
		t.Errorf("%d to republish, want the 2 of the era before", got)
	}
	a = begin(3)
	if !end(a, 3) || p.ledger.stats.Losses != 1 {
		t.Error("the new era does not settle")
	}
}

func TestRemember(t *testing.T) {
	var l ledger
	now := time.Now()
	for i := range maxRemembered + 10 {
		l.remember(living1h(i), now)
	}
	if len(l.alive) != maxRemembered || l.stats.Forgotten != 10 {
		t.Errorf("%d remembered, %d forgotten", len(l.alive), l.stats.Forgotten)
	}
	if first := string(l.alive[0].payload); first != "10" {
		t.Errorf("the soonest to expire is %s, want 10: the others should have been dropped", first)
	}
	// Bounded in bytes too.
	big := living1h(1 << 20)
	big.payload = make([]byte, maxRememberedBytes/2)
	l.remember(big, now)
	if l.bytes > maxRememberedBytes || !big.kept {
		t.Errorf("%d bytes remembered, big one kept: %v", l.bytes, big.kept)
	}
	// What has expired makes room uncounted.
	forgotten := l.stats.Forgotten
	l.remember(living1h(2<<20), now.Add(100*24*time.Hour))
	if l.stats.Forgotten != forgotten || len(l.alive) != 0 || l.bytes != 0 {
		t.Errorf("%d alive, %d bytes, %d more forgotten", len(l.alive), l.bytes, l.stats.Forgotten-forgotten)
	}
}

func TestTTL(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		time.Minute:                   time.Minute,
		time.Minute + 1:               time.Minute + time.Second,
		time.Minute - time.Nanosecond: time.Minute,
		1:                             time.Second,
		0:                             time.Second,
		-time.Hour:                    time.Second,
		3 * time.Hour:                 3 * time.Hour,
		// What counts in digests by the hour or the day lives longer by as much.
		24 * time.Hour:                   25*time.Hour - time.Minute,
		71*time.Hour + time.Minute:       72 * time.Hour,
		71*time.Hour + time.Minute + 1:   71*time.Hour + time.Second + 24*time.Hour, // by the day, with an hour more
		90*24*time.Hour + 15*time.Minute: 91*24*time.Hour + 14*time.Minute,
	} {
		if got := ttl(d); got != want {
			t.Errorf("ttl(%s) = %s, want %s", d, got, want)
		}
	}
}

// Nobody can know a message id in advance, not even who knows the event.
func TestMessageID(t *testing.T) {
	rec := living1h(1)
	if a, b := messageID(rec), messageID(rec); a == b || len(a) != 64 {
		t.Errorf("message ids %s, %s", a, b)
	}
}

// A server that goes on telling of losses that are none has everything republished
// ever more seldom, and a doubt that has to wait is not forgotten.
func TestDoubts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPublisher()
		losses := func() uint64 { return p.ledger.stats.Losses }
		_, stale := p.ledger.begin()
		for range 24 * 60 * 2 { // a day
			_, era := p.ledger.begin()
			p.doubt(era)
			time.Sleep(30 * time.Second)
		}
		if n := losses(); n < 5 || n > 12 {
			t.Errorf("%d republications in a day", n)
		}
		time.Sleep(24 * time.Hour) // of quiet
		before := losses()
		_, era := p.ledger.begin()
		p.doubt(era)
		p.doubt(era) // of the same era: the same loss
		if n := losses() - before; n != 1 {
			t.Fatalf("%d losses after a quiet day, want 1", n)
		}
		_, era = p.ledger.begin()
		p.doubt(era)
		if losses()-before != 1 || !p.ledger.doubted {
			t.Error("a doubt at once after another has effect, or is forgotten")
		}
		p.doubt(stale)
		time.Sleep(2 * firstDoubtPause)
		p.doubt(era)
		if losses()-before != 2 || p.ledger.doubted {
			t.Error("a doubt that waited has no effect")
		}
	})
}
