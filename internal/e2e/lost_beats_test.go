package e2e_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A heartbeat that does not come back has one of many causes, and the log names the right
// one: a consumer that somebody has paused is no stream that takes nothing.
func TestWhyHeartbeatsAreLost(t *testing.T) {
	edit := func(change func(*jetstream.StreamConfig)) func(t *testing.T, js jetstream.JetStream) {
		return func(t *testing.T, js jetstream.JetStream) {
			cfg := theStream(t, js).CachedInfo().Config
			change(&cfg)
			if _, err := js.UpdateStream(within(t), cfg); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		want    string
		breakIt func(t *testing.T, js jetstream.JetStream)
	}{
		"paused": {"its consumer is paused", func(t *testing.T, js jetstream.JetStream) {
			names := theStream(t, js).ConsumerNames(within(t))
			for name := range names.Name() {
				if _, err := js.PauseConsumer(within(t), bus.DefaultStream, name, time.Now().Add(time.Hour)); err != nil {
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
			br := newBroker(t, nil)
			conn := dial(t, br.url())
			createStream(t, conn, bus.StreamConfig{})
			var log journal
			f := join(t, conn, bus.Config{Logger: log.logger()}, newList(t, quick))
			waitFresh(t, f)
			publish(t, f, revoke.Event{Kind: revoke.KindSession, Value: "one"})
			barrier(t, f)
			const line = "own heartbeats do not come back"
			if n := log.count(line); n != 0 {
				t.Fatalf("on a normal day: %s", &log)
			}
			_, js := plain(t, br.url())
			c.breakIt(t, js)
			eventually(t, "it is logged", func() bool { return log.count(line) > 0 })
			if log.count(line, c.want) != 1 || log.count(line) != 1 {
				t.Errorf("logged %s", &log)
			}
		})
	}
}
