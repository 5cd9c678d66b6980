package member_test

import (
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
)

// Servers that elect answer no request to make or read a stream, or refuse it with
// code 10008. CreateStream and CreateBucket ask again.
func TestCreateWhileServersElect(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(*nats.Msg) error{
		"silent": func(*nats.Msg) error { return nil },
		"refused": func(m *nats.Msg) error {
			return m.Respond([]byte(`{"type":"error","error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			front := rig.NewBroker(t, func(o *server.Options) { o.JetStream = false })
			behind, _ := rig.Client(t, rig.NewBroker(t, nil).URL())
			electing(t, front, behind, refuse)

			if err := bus.CreateStream(rig.Within(t), rig.Connection(t, rig.Dial(t, front.URL())), bus.StreamConfig{Replicas: 1, MaxBytes: 16 << 20}); err != nil {
				t.Error(err)
			}
			if err := natskv.CreateBucket(rig.Within(t), rig.StoreConnection(t, front.URL()), natskv.BucketConfig{Replicas: 1, MaxBytes: 16 << 20}); err != nil {
				t.Error(err)
			}
		})
	}
}

// electing relays the requests for JetStream that reach front to behind, but for the
// first on each subject, which meets an election.
func electing(t *testing.T, front *rig.Broker, behind *nats.Conn, refuse func(*nats.Msg) error) {
	t.Helper()
	var mu sync.Mutex
	seen := make(map[string]bool)
	nc, _ := rig.Client(t, front.URL())
	_, err := nc.Subscribe("$JS.API.>", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if !seen[m.Subject] {
			seen[m.Subject] = true
			if err := refuse(m); err != nil {
				t.Error(err)
			}
			return
		}
		answer, err := behind.RequestWithContext(rig.Within(t), m.Subject, m.Data)
		if err == nil {
			err = m.Respond(answer.Data)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err == nil {
		err = nc.FlushWithContext(rig.Within(t))
	}
	if err != nil {
		t.Fatal(err)
	}
}
