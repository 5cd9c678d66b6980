package sessions_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
)

// Strangers who present thousands of refresh tokens of sessions that never were keep no
// user from logging in for the first time: its subject's record is none that the flood asked for.
func TestFloodOfUnknownSessions(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, func(o *server.Options) { o.SyncAlways = false }) // not about its disk
	nc := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, nc, natskv.BucketConfig{})
	s := rig.OpenStore(t, nc)
	const strangers = 3000
	var answered atomic.Int32
	var wg sync.WaitGroup
	began := make(chan struct{})
	for i := range strangers {
		wg.Go(func() {
			if _, err := s.Load(rig.Within(t), fmt.Sprint("s.", i)); !errors.Is(err, refresh.ErrNotFound) {
				t.Error(err)
			}
			if answered.Add(1) == 50 {
				close(began)
			}
		})
	}
	<-began
	if _, err := s.Load(rig.Within(t), "u.new"); !errors.Is(err, refresh.ErrNotFound) {
		t.Error(err)
	}
	n := answered.Load()
	wg.Wait()
	if n > strangers/2 {
		t.Errorf("%d of %d strangers were answered before the user", n, strangers)
	}
	t.Logf("%d of %d strangers were answered before the user", n, strangers)
}
