package bus

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A probe asks with GET or HEAD; whatever else asks is told so, and learns nothing.
func TestReadinessAnswersProbesOnly(t *testing.T) {
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Join(t.Context(), Config{Servers: "nats://127.0.0.1:1", List: list})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	h := m.Readiness(revoke.InsecureAllow())
	for method, want := range map[string]int{
		http.MethodGet: http.StatusServiceUnavailable, http.MethodHead: http.StatusServiceUnavailable,
		http.MethodPost: http.StatusMethodNotAllowed, http.MethodPut: http.StatusMethodNotAllowed, http.MethodOptions: http.StatusMethodNotAllowed, "": http.StatusMethodNotAllowed,
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/ready", nil)
		r.Method = method
		h.ServeHTTP(w, r)
		allow, body := "", `{"ready":false,"state":"syncing","reason":"connecting","age_ms":-1,"sequence":0,"degraded":false,"restored":false}`+"\n"
		if want == http.StatusMethodNotAllowed {
			allow, body = "GET, HEAD", "method not allowed\n"
		}
		if w.Code != want || w.Header().Get("Allow") != allow || w.Body.String() != body {
			t.Errorf("%q: %d, Allow %q, %q", method, w.Code, w.Header().Get("Allow"), w.Body)
		}
	}
}
