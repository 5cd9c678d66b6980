package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// askReady asks as a load balancer does.
func askReady(t *testing.T, f *bus.Member, p revoke.Policy) (code int, reason string) {
	t.Helper()
	w := httptest.NewRecorder()
	f.Readiness(p).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ready", nil))
	var body struct {
		Ready  bool
		Reason string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if body.Ready != (w.Code == http.StatusOK) {
		t.Fatalf("%d, and %s", w.Code, w.Body)
	}
	return w.Code, body.Reason
}

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
		end    func(t *testing.T, br *broker, nc *nats.Conn, m *bus.Member)
		err    string
	}{
		"the Member was closed": {end: func(_ *testing.T, _ *broker, _ *nats.Conn, m *bus.Member) { m.Close() }},
		"the caller's connection was closed": {theirs: true, end: func(_ *testing.T, _ *broker, nc *nats.Conn, _ *bus.Member) {
			nc.Close()
		}, err: "closed"},
		"the caller's connection was drained": {theirs: true, end: func(t *testing.T, _ *broker, nc *nats.Conn, _ *bus.Member) {
			if err := nc.Drain(); err != nil {
				t.Fatal(err)
			}
		}, err: "closed"},
		// Which no option of the client library prevents.
		"the server ended the caller's connection": {theirs: true, end: func(t *testing.T, br *broker, nc *nats.Conn, _ *bus.Member) {
			br.reload(lowPayload)
			if err := nc.Publish("elsewhere", tooLarge); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the client library has given the connection up", nc.IsClosed)
		}, err: "Maximum Payload"},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			br := newBroker(t, nil)
			conn := dial(t, br.url())
			createStream(t, conn, bus.StreamConfig{})
			var nc *nats.Conn
			if c.theirs {
				nc = connect(t, br.url(), nats.PingInterval(2*time.Second))
				conn = bus.Config{Conn: nc}
			}
			l := newList(t, quick)
			f := join(t, conn, bus.Config{}, l)
			waitFresh(t, f)
			if code, reason := askReady(t, f, revoke.Deny()); code != http.StatusOK || reason != "none" {
				t.Fatalf("ready? %d, reason %q", code, reason)
			}
			c.end(t, br, nc, f)
			eventually(t, "not ready", func() bool {
				code, reason := askReady(t, f, revoke.Deny())
				return code == http.StatusServiceUnavailable && reason == "closed"
			})
			if code, _ := askReady(t, f, revoke.InsecureAllow()); code != http.StatusServiceUnavailable {
				t.Errorf("%d under InsecureAllow", code)
			}
			eventually(t, "the status says so", func() bool {
				s := f.Status()
				return s.Closed && !s.Connected && (c.err == "" || s.Err != nil && strings.Contains(s.Err.Error(), c.err))
			})
			eventually(t, "the List says so", func() bool { return !l.Ready(revoke.Deny()) })
			f.Close() // only then is the List free

			// The List lives on with another Member.
			again := join(t, dial(t, br.url()), bus.Config{}, l)
			waitFresh(t, again)
			if code, _ := askReady(t, again, revoke.Deny()); code != http.StatusOK {
				t.Errorf("%d of its next Member", code)
			}
		})
	}
}
