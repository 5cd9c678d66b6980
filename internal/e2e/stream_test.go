package e2e_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A mirror holds what its origin holds, and can be followed; CreateStream does not
// take it for the stream, and nothing is published to it.
func TestMirror(t *testing.T) {
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	createStream(t, conn, bus.StreamConfig{})
	_, js := plain(t, br.url())
	origin := theStream(t, js).CachedInfo().Config
	c := origin
	c.Name, c.Subjects, c.Mirror = "COPY", nil, &jetstream.StreamSource{Name: origin.Name}
	if _, err := js.CreateStream(within(t), c); err != nil {
		t.Fatal(err)
	}
	if err := bus.CreateStream(within(t), connection(t, conn), bus.StreamConfig{Name: "COPY", Replicas: 1, MaxBytes: origin.MaxBytes}); !errors.Is(err, bus.ErrStreamExists) || !strings.Contains(err.Error(), "mirror") {
		t.Errorf("CreateStream: %v", err)
	}
	l := newList(t, quick)
	b := join(t, conn, bus.Config{Stream: "COPY"}, l)
	if _, err := b.Publish(within(t), revoke.Event{Kind: revoke.KindSession, Value: "x"}); !errors.Is(err, bus.ErrStreamUnsafe) || !strings.Contains(err.Error(), "mirror") {
		t.Errorf("Publish: %v", err)
	}
	waitFresh(t, b)
	if s := b.Status(); len(s.Hazards) != 0 {
		t.Errorf("hazards %q", s.Hazards)
	}
	publish(t, join(t, conn, bus.Config{}, nil), revoke.Event{Kind: revoke.KindSession, Value: "y"})
	barrier(t, b)
	mustRefuse(t, l, session("y"))
}

// Who publishes and who follows hears that the stream is getting full, once.
func TestFillIsReported(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{MaxBytes: 16 << 20})
	_, js := plain(t, br.url())
	fill := func(percent uint64) {
		t.Helper()
		for theStream(t, js).CachedInfo().State.Bytes < 16<<20/100*percent {
			if _, err := js.Publish(within(t), bus.HeartbeatSubject, make([]byte, 63<<10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		percent uint64
		want    int
	}{{78, 0}, {81, 1}} {
		fill(c.percent)
		var publisher, follower journal
		b := join(t, dial(t, br.url()), bus.Config{Logger: publisher.logger()}, nil)
		publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "x"})
		publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "y"})
		where := dial(t, br.url())
		where.List, where.Logger = newList(t, quick), follower.logger()
		only, err := bus.Join(within(t), where)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { only.Close() })
		waitFresh(t, only)
		for who, log := range map[string]*journal{"publisher": &publisher, "follower": &follower} {
			if n := log.count("level=WARN", "nearly full"); n != c.want {
				t.Errorf("%s, at %d %%: reported %d times\n%s", who, c.percent, n, log)
			}
		}
	}
}
