package bus

import (
	"fmt"
	"net/http"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Readiness returns a handler for readiness probes of a service that judges by p: 200
// when it should be sent requests, by [revoke.List.Ready], and 503 until then. Once
// ready it stays so, stale or not: a failure of the bus must not empty every load
// balancer at once, and the service answers 503 itself where it cannot know. Only what can
// never be fresh again is not ready any more, with the reason "closed": the Follower, its
// Bus or its [Conn] was closed, or a connection of the caller's ([Use]) has ended, which
// nothing but a restart mends.
//
// Never make it a liveness probe. A stale replica recovers by itself; a restart
// makes it forget, and with all services at once makes an outage of a short pause.
//
// The body is JSON for people, and holds no secret:
//
//	{"ready":true,"state":"stale","reason":"no heartbeat","age_ms":17250,"sequence":4711,"degraded":false,"restored":true}
//
// age_ms is -1 while nothing is proven. Only GET and HEAD are answered.
func (f *Follower) Readiness(p revoke.Policy) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		ready, s := f.list.Ready(p), f.Status()
		if s.Closed {
			ready, s.Reason = false, revoke.ReasonClosed
		}
		age := int64(-1)
		if s.Age >= 0 {
			age = s.Age.Milliseconds()
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		// The words are constants of package revoke, which need no escaping.
		fmt.Fprintf(w, `{"ready":%t,"state":"%s","reason":"%s","age_ms":%d,"sequence":%d,"degraded":%t,"restored":%t}`+"\n",
			ready, s.State, s.Reason, age, s.Sequence, s.Degraded, s.StateFile.Restored)
	})
}
