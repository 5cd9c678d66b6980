package sessions_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
)

// What a restart has taken with it is asked again as soon as there is a connection, within
// a time in which one request alone would still be waited for.
func TestStoreAsksAgainAfterLostConnection(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	rig.CreateBucket(t, rig.StoreConnection(t, br.URL()), natskv.BucketConfig{})
	p := rig.NewProxy(t, br.URL())
	s := rig.OpenStore(t, rig.StoreConnection(t, p.URL()))
	n := mustSave(t, s, "a", "", 0)
	for name, call := range map[string]func(context.Context) error{
		"Load": func(ctx context.Context) error { _, err := s.Load(ctx, "a"); return err },
		"Save": func(ctx context.Context) (err error) {
			var next uint64
			if next, err = s.Save(ctx, "a", nil, n, later()); err == nil {
				n = next
			} else if r, err := s.Load(rig.Within(t), "a"); err == nil {
				n = r.Revision // it was written, perhaps
			}
			return err
		},
	} {
		// A machine that gives nobody his time may need more: then once more.
		rig.AskUntil(t, name, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 1500*time.Millisecond)
			defer cancel()
			return p.CutWhileAsking(ctx, call)
		})
	}
}

// Each write brings its record's life anew, for servers that restart as well: a record
// that was prolonged is not forgotten when its former life has ended, and one that ends
// while the servers are down leaves nothing behind.
func TestStoreLivesAcrossRestart(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	nc := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, nc, natskv.BucketConfig{})
	s := rig.OpenStore(t, nc)
	save := func(key, value string, revision uint64, life time.Duration) uint64 {
		t.Helper()
		n, err := s.Save(rig.Within(t), key, []byte(value), revision, time.Now().Add(life))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const short = 4 * time.Second // long enough to be replaced, on a busy machine too
	prolonged := save("prolonged", "one", save("prolonged", "", 0, short), time.Hour)
	shortened := save("shortened", "one", save("shortened", "", 0, time.Hour), short)
	save("short", "", 0, short)
	br.Stop()
	br.Start()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	rig.AskUntil(t, "only what lives is there", func(ctx context.Context) error {
		st, err := js.Stream(ctx, rig.SessionsStream)
		if err == nil && st.CachedInfo().State.Msgs != 2 { // and the confirmation
			err = fmt.Errorf("%d messages", st.CachedInfo().State.Msgs)
		}
		return err
	})
	mustLoad(t, s, "prolonged", "one", prolonged)
	for _, key := range []string{"short", "shortened"} {
		if r, err := s.Load(rig.Within(t), key); !errors.Is(err, refresh.ErrNotFound) {
			t.Errorf("%s: %+v, %v", key, r, err)
		}
	}
	if _, err := s.Save(rig.Within(t), "shortened", nil, shortened, later()); !errors.Is(err, refresh.ErrConflict) {
		t.Errorf("Save over a forgotten record: %v", err)
	}
	mustSave(t, s, "shortened", "anew", 0)
}
