package publish_test

import (
	"testing"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Who publishes and who follows hears that the stream is getting full, once.
func TestFillIsReported(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{MaxBytes: 16 << 20})
	_, js := rig.Client(t, br.URL())
	fill := func(percent uint64) {
		t.Helper()
		for rig.TheStream(t, js).CachedInfo().State.Bytes < 16<<20/100*percent {
			if _, err := js.Publish(rig.Within(t), bus.HeartbeatSubject, make([]byte, 63<<10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		percent uint64
		want    int
	}{{78, 0}, {81, 1}} {
		fill(c.percent)
		var publisher, follower rig.Journal
		b := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Logger: publisher.Logger()}, nil)
		rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "x"})
		rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "y"})
		where := rig.Dial(t, br.URL())
		where.List, where.Logger = rig.NewList(t, rig.Quick), follower.Logger()
		only, err := bus.Join(rig.Within(t), where)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { only.Close() })
		rig.WaitFresh(t, only)
		for who, log := range map[string]*rig.Journal{"publisher": &publisher, "follower": &follower} {
			if n := log.Count("level=WARN", "nearly full"); n != c.want {
				t.Errorf("%s, at %d %%: reported %d times\n%s", who, c.percent, n, log)
			}
		}
	}
}
