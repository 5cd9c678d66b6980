package bus

import (
	"fmt"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Readiness returns a handler for readiness probes of a service that judges by p: 200
// when it should be sent requests, by [revoke.List.Ready], and 503 until then. Once
// ready it stays so, stale or not: a failure of the bus must not empty every load
// balancer at once, and the service answers 503 itself where it cannot know. Only what can
// never be fresh again is not ready any more, with the reason "closed": the Member was
// closed, or a connection of the caller ([Config].Conn) has ended, which nothing but a
// restart mends. A Member without a List is never ready, with the reason "no list".
//
// Never make it a liveness probe. A stale replica recovers by itself; a restart
// makes it forget, and with all services at once makes an outage of a short pause.
//
// The body is JSON for people, and holds no secret:
//
//	{"ready":true,"state":"stale","reason":"no heartbeat","age_ms":17250,"sequence":4711,"degraded":false,"restored":true}
//
// age_ms is -1 while nothing is proven. Only GET and HEAD are answered.
func (m *Member) Readiness(p revoke.Policy) http.Handler {
	if m.follower == nil {
		return readiness(func() readyState { return readyState{state: revoke.StateSyncing.String(), reason: "no list", age: -1} })
	}
	return readiness(func() readyState { return m.ready(p) })
}

// A readyState is what a probe is answered. Its words are constants, which need no escaping.
type readyState struct {
	ready              bool
	state, reason      string
	age                time.Duration // negative: nothing is proven
	sequence           uint64
	degraded, restored bool
}

func (m *Member) ready(p revoke.Policy) readyState {
	ready, s := m.core.cfg.List.Ready(p), m.follower.Status()
	if s.Closed {
		ready, s.Reason = false, revoke.ReasonClosed
	}
	return readyState{ready, s.State.String(), s.Reason.String(), s.Age, s.Sequence, s.Degraded, s.StateFile.Restored}
}

func readiness(look func() readyState) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		s := look()
		age := int64(-1)
		if s.age >= 0 {
			age = s.age.Milliseconds()
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if !s.ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, `{"ready":%t,"state":"%s","reason":"%s","age_ms":%d,"sequence":%d,"degraded":%t,"restored":%t}`+"\n",
			s.ready, s.state, s.reason, age, s.sequence, s.degraded, s.restored)
	})
}
