package follow_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A heartbeat that does not come back has one of many causes, and the log names the right
// one: a consumer that somebody has paused is no stream that takes nothing.
func TestWhyHeartbeatsAreLost(t *testing.T) {
	edit := func(change func(*jetstream.StreamConfig)) func(t *testing.T, js jetstream.JetStream) {
		return func(t *testing.T, js jetstream.JetStream) {
			cfg := rig.TheStream(t, js).CachedInfo().Config
			change(&cfg)
			if _, err := js.UpdateStream(rig.Within(t), cfg); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		want    string
		breakIt func(t *testing.T, js jetstream.JetStream)
	}{
		"paused": {"its consumer is paused", func(t *testing.T, js jetstream.JetStream) {
			names := rig.TheStream(t, js).ConsumerNames(rig.Within(t))
			for name := range names.Name() {
				if _, err := js.PauseConsumer(rig.Within(t), bus.DefaultStream, name, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			if err := names.Err(); err != nil {
				t.Fatal(err)
			}
		}},
		"full":       {"no room", edit(func(cfg *jetstream.StreamConfig) { cfg.MaxBytes = 100 })},
		"sealed":     {"refuses them", edit(func(cfg *jetstream.StreamConfig) { cfg.Sealed = true })},
		"no subject": {"no stream takes them", edit(func(cfg *jetstream.StreamConfig) { cfg.Subjects = []string{"revocations.v1.*.session"} })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits
			br := rig.NewBroker(t, nil)
			conn := rig.Dial(t, br.URL())
			rig.CreateStream(t, conn, bus.StreamConfig{})
			var log rig.Journal
			f := rig.Join(t, conn, bus.Config{Logger: log.Logger()}, rig.NewList(t, rig.Quick))
			rig.WaitFresh(t, f)
			rig.Publish(t, f, revoke.Event{Kind: revoke.KindSession, Value: "one"})
			rig.Barrier(t, f)
			const line = "own heartbeats do not come back"
			if n := log.Count(line); n != 0 {
				t.Fatalf("on a normal day: %s", &log)
			}
			_, js := rig.Client(t, br.URL())
			c.breakIt(t, js)
			rig.Eventually(t, "it is logged", func() bool { return log.Count(line) > 0 })
			if log.Count(line, c.want) != 1 || log.Count(line) != 1 {
				t.Errorf("logged %s", &log)
			}
		})
	}
}
