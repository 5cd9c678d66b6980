package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// probe asks a readiness handler and returns its answer, which must be sound JSON.
func probe(t *testing.T, h http.Handler) (code int, body map[string]any) {
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

// A service that restarts while the bus is down refuses what it knew, at once, and is
// ready if it need not be fresh; it heals when the bus comes (invariants 1 and 3).
func TestRestartWithoutBus(t *testing.T) {
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	cfg := quick
	cfg.StateFile = filepath.Join(t.TempDir(), "revocations.state")
	begin := func() (*revoke.List, *bus.Member) {
		l := newList(t, cfg)
		return l, join(t, dial(t, br.url()), bus.Config{}, l)
	}
	_, first := begin()
	if code, body := probe(t, first.Readiness(revoke.InsecureAllow())); code != http.StatusServiceUnavailable && body["state"] != "fresh" {
		t.Errorf("a first start: %d %v", code, body)
	}
	waitFresh(t, first)
	if code, body := probe(t, first.Readiness(revoke.Deny())); code != http.StatusOK || body["state"] != "fresh" {
		t.Errorf("fresh: %d %v", code, body)
	}
	known := revokeSession(t, br.url(), "known")
	barrier(t, first)
	first.Close()
	if s := first.Status().StateFile; s.Saved.IsZero() || s.Err != nil {
		t.Fatalf("after Close: %+v", s)
	}
	br.stop()
	for range 2 { // and again, without having been fresh in between
		l, f := begin()
		mustRefuse(t, l, known)
		if s := f.Status(); s.State != revoke.StateSyncing || !s.StateFile.Restored {
			t.Errorf("%+v", s)
		}
		if code, body := probe(t, f.Readiness(revoke.Deny())); code != http.StatusServiceUnavailable || body["restored"] != true || body["age_ms"] != -1.0 {
			t.Errorf("under Deny: %d %v", code, body)
		}
		if code, _ := probe(t, f.Readiness(revoke.AllowYounger(time.Minute))); code != http.StatusOK {
			t.Errorf("under AllowYounger: %d", code)
		}
		f.Close()
	}
	l, f := begin()
	br.start()
	waitFresh(t, f)
	mustRefuse(t, l, known)
	mustPass(t, l, session("other"))
	if s := l.Stats(revoke.Now()); s.Replays != 1 {
		t.Errorf("%d replays: the log is read whole, whatever the file says", s.Replays)
	}
	ready := f.Readiness(revoke.Deny())
	f.Close()
	if code, body := probe(t, ready); code != http.StatusServiceUnavailable || body["reason"] != "closed" {
		t.Errorf("no longer fed: %d %v", code, body)
	}
	w := httptest.NewRecorder()
	ready.ServeHTTP(w, httptest.NewRequest("POST", "/readyz", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

// A stale replica stays ready: a blip of the bus must not empty the load balancer.
func TestReadyWhileStale(t *testing.T) {
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	cfg := quick
	cfg.MaxStaleness = 300 * time.Millisecond
	f := join(t, dial(t, br.url()), bus.Config{}, newList(t, cfg))
	waitFresh(t, f)
	br.stop()
	eventually(t, "stale", func() bool { return f.Status().State == revoke.StateStale })
	if code, body := probe(t, f.Readiness(revoke.Deny())); code != http.StatusOK || body["state"] != "stale" || body["reason"] == "none" {
		t.Errorf("%d %v", code, body)
	}
}

// A crash leaves what was saved while running: nobody has to close anything. What is
// on disk is no other replica's to believe, but every one's to read.
func TestStateFileSavedWhileRunning(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	known := revokeSession(t, br.url(), "known")
	cfg := quick
	cfg.StateFile = filepath.Join(t.TempDir(), "state")
	f := join(t, dial(t, br.url()), bus.Config{}, newList(t, cfg))
	waitFresh(t, f)
	eventually(t, "saved", func() bool { return !f.Status().StateFile.Saved.IsZero() })
	data, err := os.ReadFile(cfg.StateFile)
	if err != nil {
		t.Fatal(err)
	}
	cfg.StateFile += ".copy"
	if err := os.WriteFile(cfg.StateFile, data, 0o600); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, newList(t, cfg), known)
}

// A slow observer of the status holds up nobody and learns what is, not what was; an
// observer that looks is woken by every change, also by one that only time brings.
func TestWaitChange(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	p := newProxy(t, br.url())
	cfg := quick
	cfg.MaxStaleness = 300 * time.Millisecond
	f := join(t, dial(t, p.url()), bus.Config{Name: "me"}, newList(t, cfg))
	var s bus.Status
	until := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			var err error
			if s, err = f.WaitChange(within(t), s); err != nil {
				t.Fatalf("%s: %v; %+v", what, err, s)
			}
		}
	}
	until("fresh", func() bool { return s.State == revoke.StateFresh && s.Connected })
	eventually(t, "who beats is known", func() bool { return f.Status().Beater == "me" })
	p.hang() // nothing happens any more, but time
	until("stale", func() bool { return s.State == revoke.StateStale && s.Reason != revoke.ReasonNone })
	p.resume()
	until("fresh again", func() bool { return s.State == revoke.StateFresh && s.Err == nil })

	slow := s
	for range 3 {
		p.cut()
		barrier(t, f)
	}
	br.stop()
	eventually(t, "stale", func() bool { return f.Status().State == revoke.StateStale })
	if s, err := f.WaitChange(within(t), slow); err != nil || s.State != revoke.StateStale {
		t.Errorf("the slow observer: %+v, %v", s, err)
	}
	br.start()
	waitFresh(t, f)
	f.Close()
	for s = (bus.Status{}); ; {
		var err error
		if s, err = f.WaitChange(within(t), s); err != nil {
			break
		}
	}
	if s.Connected {
		t.Errorf("after Close: %+v", s)
	}
}
