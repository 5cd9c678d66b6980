package mirrors_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Invariant 1, at a leaf node whose line to the hub stalls and is not cut: neither server
// notices for minutes, and clients of the leaf are connected all the while. Who stands
// behind it is stale within MaxStaleness, refuses what it knows, answers "cannot know" to
// the rest, and heals when the line goes on.
func TestLeafLineStalls(t *testing.T) {
	t.Parallel() // it waits, mostly
	for name, c := range map[string]struct {
		domain   string
		defaults map[string]string
	}{
		"without JetStream": {"", map[string]string{"$G": "hub"}},
		"a mirror there":    {"edge", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var line *rig.Proxy
			hub, leaf := newLeafOver(t, func(address string) string {
				line = rig.NewProxy(t, address)
				return strings.TrimPrefix(line.URL(), "nats://")
			}, "hub", c.domain, c.defaults)
			cfg := bus.Config{Name: "at the leaf"}
			if c.domain != "" {
				cfg.Stream = mirrorAt(t, hub, leaf)
				rig.Join(t, rig.Dial(t, hub.URL()), bus.Config{Name: "at the hub"}, rig.NewList(t, brief())) // whose digests prove the mirror
			}
			l := rig.NewList(t, brief())
			f := rig.Join(t, rig.Dial(t, leaf.URL()), cfg, l)
			rig.WaitFresh(t, f)
			before := rig.RevokeSession(t, hub.URL(), "before")
			rig.Barrier(t, f)

			line.Hang()
			during := rig.RevokeSession(t, hub.URL(), "during") // which returns when it is acknowledged
			acknowledged := time.Now()
			stale := false
			for !stale || time.Since(acknowledged) < 3*brief().MaxStaleness {
				begun := time.Now()
				err := rig.Check(l, during)
				stale = stale || errors.Is(err, revoke.ErrStale)
				if err == nil && (stale || begun.Sub(acknowledged) > brief().MaxStaleness) {
					t.Fatalf("passes %s after the acknowledgement; status %+v", begun.Sub(acknowledged), f.Status())
				}
				rig.MustRefuse(t, l, before)
				if begun.Sub(acknowledged) > rig.Deadline {
					t.Fatalf("never stale: %+v", f.Status())
				}
				select {
				case <-time.After(10 * time.Millisecond):
				case <-t.Context().Done():
					return
				}
			}
			s := f.Status()
			t.Logf("stalled: %s, connected %v, %v", s.Reason, s.Connected, s.Err)
			line.Resume()
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 4*rig.Deadline)
			defer cancel()
			if err := f.WaitFresh(ctx); err != nil {
				t.Fatalf("%v; status %+v", err, f.Status())
			}
			t.Logf("fresh %s after the line went on", time.Since(began).Round(10*time.Millisecond))
			after := rig.RevokeSession(t, hub.URL(), "after")
			rig.Barrier(t, f)
			rig.MustRefuse(t, l, before, during, after)
			rig.MustPass(t, l, rig.Session("another"))
		})
	}
}
