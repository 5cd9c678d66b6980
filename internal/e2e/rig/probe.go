package rig

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Probe asks a readiness handler and returns its answer, which must be sound JSON.
func Probe(t *testing.T, h http.Handler) (code int, body map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if body["ready"] != (w.Code == http.StatusOK) || strings.Contains(w.Body.String(), "127.0.0.1") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	return w.Code, body
}
