package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
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
			br := newBroker(t, nil)
			createStream(t, dial(t, br.url()), bus.StreamConfig{})
			cfg := bus.Config{Issuers: []string{issuer}, OutboxFile: filepath.Join(t.TempDir(), "outbox")}
			br.stop()
			conn := dial(t, br.url())
			b, err := bus.Join(within(t), joining(conn, cfg, nil))
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
			br.start()
			p := newProxy(t, br.url())
			if wrong {
				date := regexp.MustCompile(`"ts":"\d{4}-\d\d-\d\d`)
				p.rewrite(func(body []byte) {
					if at := date.FindIndex(body); at != nil {
						copy(body[at[0]:at[1]], fmt.Sprintf(`"ts":"%s`, then.Format(time.DateOnly)))
					}
				})
			}
			var log journal
			cfg.Logger = log.logger()
			b, err = bus.Join(within(t), joining(dial(t, p.url()), cfg, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			eventually(t, "decided", func() bool { s := b.Status().Publishing; return s.Acknowledged == 1 || s.Expired == 1 })
			s, events := b.Status().Publishing, storedEvents(t, br.url())
			e, there := events["waits"]
			switch {
			case wrong && (!there || e.ttl < 24*time.Hour || e.ttl > 49*time.Hour):
				t.Errorf("stored: %v, for %s", there, e.ttl)
			case wrong && (s.Expired != 0 || s.ClockAhead < 300*24*time.Hour || log.count("this machine's clock") != 1):
				t.Errorf("%+v\n%s", s, log.String())
			case !wrong && (there || s.Expired != 1 || s.Pending != 0 || s.ClockAhead.Abs() > 10*time.Second):
				t.Errorf("stored: %v; %+v", there, s)
			case !wrong && (log.count("this machine's clock") != 0 || log.count("have expired before the stream acknowledged them", "events=1") != 1):
				t.Error(log.String())
			}
			// Good twin: what has not expired by any clock.
			publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "now"})
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			next := join(t, dial(t, br.url()), bus.Config{OutboxFile: cfg.OutboxFile}, nil)
			if s := next.Status().Publishing; s.Pending != 0 || s.Expired != 0 || s.OutboxDamaged != 0 {
				t.Errorf("the next process: %+v", s)
			}
		})
	}
}
