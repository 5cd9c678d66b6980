package member_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// lowPayload has the server take small messages only. A client that was told another limit
// learns of it by having its connection closed.
func lowPayload(o *server.Options) { o.MaxPayload = 4 << 10 }

// tooLarge is what a client of before lowPayload may send, and the server no longer takes.
var tooLarge = make([]byte, 8<<10)

// What can never be fresh again is not ready, under any policy, and says why: an
// instance whose every answer is 503 must not be sent requests for ever.
func TestReadinessOfTheDead(t *testing.T) {
	for name, c := range map[string]struct {
		theirs bool // the connection is the caller's
		end    func(t *testing.T, br *rig.Broker, nc *nats.Conn, m *bus.Member)
		err    string
	}{
		"the Member was closed": {end: func(_ *testing.T, _ *rig.Broker, _ *nats.Conn, m *bus.Member) { m.Close() }},
		"the caller's connection was closed": {theirs: true, end: func(_ *testing.T, _ *rig.Broker, nc *nats.Conn, _ *bus.Member) {
			nc.Close()
		}, err: "closed"},
		"the caller's connection was drained": {theirs: true, end: func(t *testing.T, _ *rig.Broker, nc *nats.Conn, _ *bus.Member) {
			if err := nc.Drain(); err != nil {
				t.Fatal(err)
			}
		}, err: "closed"},
		// Which no option of the client library prevents.
		"the server ended the caller's connection": {theirs: true, end: func(t *testing.T, br *rig.Broker, nc *nats.Conn, _ *bus.Member) {
			br.Reload(lowPayload)
			if err := nc.Publish("elsewhere", tooLarge); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, "the client library has given the connection up", nc.IsClosed)
		}, err: "Maximum Payload"},
	} {
		t.Run(name, func(t *testing.T) {
			rig.NoLeaks(t)
			br := rig.NewBroker(t, nil)
			conn := rig.Dial(t, br.URL())
			rig.CreateStream(t, conn, bus.StreamConfig{})
			var nc *nats.Conn
			if c.theirs {
				nc = rig.StoreConnection(t, br.URL(), nats.PingInterval(2*time.Second))
				conn = bus.Config{Conn: nc}
			}
			l := rig.NewList(t, rig.Quick)
			f := rig.Join(t, conn, bus.Config{}, l)
			rig.WaitFresh(t, f)
			if code, body := rig.Probe(t, f.Readiness(revoke.Deny())); code != http.StatusOK || body["reason"] != "none" {
				t.Fatalf("ready? %d, %v", code, body)
			}
			c.end(t, br, nc, f)
			rig.Eventually(t, "not ready", func() bool {
				code, body := rig.Probe(t, f.Readiness(revoke.Deny()))
				return code == http.StatusServiceUnavailable && body["reason"] == "closed"
			})
			if code, _ := rig.Probe(t, f.Readiness(revoke.InsecureAllow())); code != http.StatusServiceUnavailable {
				t.Errorf("%d under InsecureAllow", code)
			}
			rig.Eventually(t, "the status says so", func() bool {
				s := f.Status()
				return s.Closed && !s.Connected && (c.err == "" || s.Err != nil && strings.Contains(s.Err.Error(), c.err))
			})
			rig.Eventually(t, "the List says so", func() bool { return !l.Ready(revoke.Deny()) })
			f.Close() // only then is the List free

			// The List lives on with another Member.
			again := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
			rig.WaitFresh(t, again)
			if code, _ := rig.Probe(t, again.Readiness(revoke.Deny())); code != http.StatusOK {
				t.Errorf("%d of its next Member", code)
			}
		})
	}
}
