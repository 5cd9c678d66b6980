package follow

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Time alone makes a replica stale; an observer is told all the same, and no sooner.
func TestWaitChangeByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newTestFollower(t)
		now := revoke.Now()
		f.feed.Sent(now, [16]byte{1})
		if err := f.feed.Heartbeat(now, replica.Record{Generation: s.gen, Delivery: 1, Sequence: 1, Time: now.Time()}, replica.Heartbeat{Nonce: [16]byte{1}, Time: now.Time()}); err != nil {
			t.Fatal(err)
		}
		fresh := f.Status()
		if fresh.State != revoke.StateFresh {
			t.Fatalf("%+v", fresh)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if s, err := f.WaitChange(ctx, fresh); !errors.Is(err, context.DeadlineExceeded) || s.State != revoke.StateFresh {
			t.Errorf("before: %v, %v", s.State, err)
		}
		s2, err := f.WaitChange(t.Context(), fresh)
		if took := revoke.Now().Since(now); err != nil || s2.State != revoke.StateStale || took < 15*time.Second || took > 16*time.Second {
			t.Errorf("%v after %s, %v", s2.State, took, err)
		}
	})
}
