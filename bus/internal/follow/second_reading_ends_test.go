package follow

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A second reading says what the log holds at the first heartbeat that it was asked for, or
// why it did not come so far: what was not read is not taken for a log of other content.
func TestSecondReadingEnds(t *testing.T) {
	for name, c := range map[string]struct {
		further uint64 // than the next record
		gone    bool   // the stream
		want    error
	}{
		"it comes so far": {},
		"out of time":     {further: 1 << 40, want: context.DeadlineExceeded},
		"no stream":       {gone: true, want: transport.ErrNoStream},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, f := followScripted(t, config{}, revoke.Config{})
				defer f.b.end()
				f.isFresh(t, 15*time.Minute)
				var from uint64
				s.Do(func() {
					from = s.Info.State.LastSeq + 1 + c.further
					if c.gone {
						s.API = func(*nats.Msg) (string, bool) {
							return `{"error":{"code":404,"err_code":10059,"description":"stream not found"}}`, true
						}
					}
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if d, err := f.readSecond(ctx, f.reconnects(), from); !errors.Is(err, c.want) || (err == nil) != (d.Sequence == from) {
					t.Errorf("digest at %d, asked for from %d on; %v", d.Sequence, from, err)
				}
			})
		})
	}
}

// Behind a mirror, which perhaps was made anew and has who follows it wait, the second
// reading is not put off for a minute.
func TestSecondReadingOfAMirrorIsSoon(t *testing.T) {
	for range 5 { // the pause is random
		synctest.Test(t, func(t *testing.T) {
			s, f := followScripted(t, config{}, revoke.Config{})
			defer f.b.end()
			f.isFresh(t, 15*time.Minute)
			f.note(func(r *report) { r.mirror = true })
			before := s.Count("CONSUMER.CREATE")
			say(t, s, "other", func(d *replica.Digest) { d.Sum[0] ^= 1 })
			f.isFresh(t, secondSpreadMirror+time.Second)
			if n := s.Count("CONSUMER.CREATE") - before; n != 1 {
				t.Errorf("%d second readings within %s", n, secondSpreadMirror)
			}
		})
	}
}
