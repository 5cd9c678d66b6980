package e2e_test

import (
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
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
			front := newBroker(t, func(o *server.Options) { o.JetStream = false })
			behind, _ := plain(t, newBroker(t, nil).url())
			electing(t, front, behind, refuse)

			if err := bus.CreateStream(within(t), connection(t, dial(t, front.url())), bus.StreamConfig{Replicas: 1, MaxBytes: 16 << 20}); err != nil {
				t.Error(err)
			}
			if err := natskv.CreateBucket(within(t), connect(t, front.url()), natskv.BucketConfig{Replicas: 1, MaxBytes: 16 << 20}); err != nil {
				t.Error(err)
			}
		})
	}
}

// electing relays the requests for JetStream that reach front to behind, but for the
// first on each subject, which meets an election.
func electing(t *testing.T, front *broker, behind *nats.Conn, refuse func(*nats.Msg) error) {
	t.Helper()
	var mu sync.Mutex
	seen := make(map[string]bool)
	nc, _ := plain(t, front.url())
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
		answer, err := behind.RequestWithContext(within(t), m.Subject, m.Data)
		if err == nil {
			err = m.Respond(answer.Data)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err == nil {
		err = nc.FlushWithContext(within(t))
	}
	if err != nil {
		t.Fatal(err)
	}
}
