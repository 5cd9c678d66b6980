package bus

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
)

// A stuckDialer reaches a server once. A second dial waits, as for a machine that
// does not answer, and the client library lets nobody ask it anything meanwhile.
type stuckDialer struct {
	server  *scripted.Server
	dialed  int
	stuck   chan struct{} // holds a token when somebody waits
	release chan struct{}
}

func (d *stuckDialer) Dial(network, address string) (net.Conn, error) {
	if d.dialed++; d.dialed == 1 { // one dials at a time
		return d.server.Dial(network, address)
	}
	select {
	case d.stuck <- struct{}{}:
	default:
	}
	<-d.release
	return nil, net.ErrClosed
}

// The status of a Member that only publishes is there at once, too, while the client
// library dials a server that does not answer.
func TestStatusWhileDialing(t *testing.T) {
	for name, given := range map[string]bool{"Servers": false, "Conn": true} {
		t.Run(name, func(t *testing.T) {
			d := &stuckDialer{server: scripted.New(t), stuck: make(chan struct{}, 1), release: make(chan struct{})}
			options := []nats.Option{nats.SetCustomDialer(d), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0)}
			cfg := Config{Servers: "nats://127.0.0.1:4222", Options: options, Issuers: []string{testIssuer}}
			if given {
				nc, err := nats.Connect(cfg.Servers, append(options, nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort())...)
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				cfg = Config{Conn: nc, Issuers: cfg.Issuers}
			}
			m, err := Join(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			defer close(d.release)
			if s := m.Status(); !s.Connected || s.Server != "nats://127.0.0.1:4222" || s.Closed {
				t.Errorf("connected: %+v", s)
			}
			d.server.Cut()
			<-d.stuck
			statuses := make(chan Status)
			go func() {
				for {
					select {
					case statuses <- m.Status():
					case <-t.Context().Done():
						return
					}
				}
			}()
			for deadline := time.After(10 * time.Second); ; {
				select {
				case s := <-statuses:
					if !s.Connected && s.Server == "" && !s.Closed {
						return
					}
				case <-deadline:
					t.Fatal("no status that says so")
				}
			}
		})
	}
}
