package publish_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Invariants 3 and 9: a machine that wakes up in the wrong year takes everything that
// waits in its outbox to have expired. The server's clock has a say in that: what has not
// expired by it is published, and kept in the stream for as long as it is to be. What has
// expired by both is not, and it is said.
func TestOutboxInTheWrongYear(t *testing.T) {
	t.Parallel()
	then := time.Date(time.Now().UTC().Year()-1, 1, 15, 0, 0, 0, 0, time.UTC) // by the server's clock
	for name, wrong := range map[string]bool{"ours is wrong": true, "both agree": false} {
		t.Run(name, func(t *testing.T) {
			br := rig.NewBroker(t, nil)
			rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
			cfg := bus.Config{Issuers: []string{rig.Issuer}, OutboxFile: filepath.Join(t.TempDir(), "outbox")}
			br.Stop()
			conn := rig.Dial(t, br.URL())
			b, err := bus.Join(rig.Within(t), rig.Joining(conn, cfg, nil))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if _, err := b.Publish(ctx, revoke.Event{Kind: revoke.KindToken, Value: "waits", Until: then.Add(48 * time.Hour)}); !errors.Is(err, bus.ErrKept) {
				t.Fatal(err)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			br.Start()
			p := rig.NewProxy(t, br.URL())
			if wrong {
				date := regexp.MustCompile(`"ts":"\d{4}-\d\d-\d\d`)
				p.Rewrite(func(body []byte) {
					if at := date.FindIndex(body); at != nil {
						copy(body[at[0]:at[1]], fmt.Sprintf(`"ts":"%s`, then.Format(time.DateOnly)))
					}
				})
			}
			var log rig.Journal
			cfg.Logger = log.Logger()
			b, err = bus.Join(rig.Within(t), rig.Joining(rig.Dial(t, p.URL()), cfg, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			rig.Eventually(t, "decided", func() bool { s := b.Status().Publishing; return s.Acknowledged == 1 || s.Expired == 1 })
			s, events := b.Status().Publishing, storedEvents(t, br.URL())
			e, there := events["waits"]
			switch {
			case wrong && (!there || e.ttl < 24*time.Hour || e.ttl > 49*time.Hour):
				t.Errorf("stored: %v, for %s", there, e.ttl)
			case wrong && (s.Expired != 0 || s.ClockAhead < 300*24*time.Hour || log.Count("this machine's clock") != 1):
				t.Errorf("%+v\n%s", s, log.String())
			case !wrong && (there || s.Expired != 1 || s.Pending != 0 || s.ClockAhead.Abs() > 10*time.Second):
				t.Errorf("stored: %v; %+v", there, s)
			case !wrong && (log.Count("this machine's clock") != 0 || log.Count("have expired before the stream acknowledged them", "events=1") != 1):
				t.Error(log.String())
			}
			// Good twin: what has not expired by any clock.
			rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "now"})
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			next := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{OutboxFile: cfg.OutboxFile}, nil)
			if s := next.Status().Publishing; s.Pending != 0 || s.Expired != 0 || s.OutboxDamaged != 0 {
				t.Errorf("the next process: %+v", s)
			}
		})
	}
}
