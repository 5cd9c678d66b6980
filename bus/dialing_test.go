package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/revoke"
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

// joinStuck returns a Member that is connected, over a Conn of the caller's if so wanted, and
// whose next dial waits until the test ends.
func joinStuck(t *testing.T, given bool, cfg Config) (*Member, *stuckDialer) {
	t.Helper()
	d := &stuckDialer{server: scripted.New(t), stuck: make(chan struct{}, 1), release: make(chan struct{})}
	cfg.Servers = "nats://127.0.0.1:4222"
	cfg.Options = []nats.Option{nats.SetCustomDialer(d), nats.ReconnectWait(0), nats.ReconnectJitter(0, 0)}
	if given {
		nc, err := nats.Connect(cfg.Servers, append(cfg.Options, nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort())...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		cfg.Servers, cfg.Options, cfg.Conn = "", nil, nc
	}
	m, err := Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	t.Cleanup(func() { close(d.release) })
	if err := m.conn.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m, d
}

// The status is there at once, too, and tells that there is no connection, while the client
// library dials a server that does not answer.
func TestStatusWhileDialing(t *testing.T) {
	for name, given := range map[string]bool{"Servers": false, "Conn": true} {
		for _, follows := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, List %t", name, follows), func(t *testing.T) {
				cfg := Config{Issuers: []string{testIssuer}}
				if follows {
					list, err := revoke.NewList(revoke.Config{})
					if err != nil {
						t.Fatal(err)
					}
					cfg.List = list
				}
				m, d := joinStuck(t, given, cfg)
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
}

// Publish ends with its ctx while the client library dials a server that does not answer, also
// where the connection was lost while an event was under way.
func TestPublishWhileDialing(t *testing.T) {
	for name, given := range map[string]bool{"Servers": false, "Conn": true} {
		t.Run(name, func(t *testing.T) {
			m, d := joinStuck(t, given, Config{Issuers: []string{testIssuer}})
			sent := make(chan struct{}, 1)
			d.server.Do(func() {
				d.server.Take = func(int, *nats.Msg) string {
					select {
					case sent <- struct{}{}:
					default:
					}
					return ""
				}
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			published := make(chan error)
			publish := func() {
				_, err := m.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: "sid"})
				published <- err
			}
			go publish()
			<-sent
			d.server.Cut()
			<-d.stuck // and so it stays
			cancel()
			if err := <-published; !errors.Is(err, ErrNotAcknowledged) || !errors.Is(err, context.Canceled) {
				t.Errorf("under way: %v", err)
			}
			go publish()
			if err := <-published; !errors.Is(err, ErrNotAcknowledged) || !errors.Is(err, context.Canceled) {
				t.Errorf("begun while it dials: %v", err)
			}
		})
	}
}
