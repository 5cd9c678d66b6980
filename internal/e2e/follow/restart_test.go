package follow_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A service that restarts while the bus is down refuses what it knew, at once, and is
// ready if it need not be fresh; it heals when the bus comes (invariants 1 and 3).
func TestRestartWithoutBus(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	cfg := rig.Quick
	cfg.StateFile = filepath.Join(t.TempDir(), "revocations.state")
	begin := func() (*revoke.List, *bus.Member) {
		l := rig.NewList(t, cfg)
		return l, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	}
	_, first := begin()
	if code, body := rig.Probe(t, first.Readiness(revoke.InsecureAllow())); code != http.StatusServiceUnavailable && body["state"] != "fresh" {
		t.Errorf("a first start: %d %v", code, body)
	}
	rig.WaitFresh(t, first)
	if code, body := rig.Probe(t, first.Readiness(revoke.Deny())); code != http.StatusOK || body["state"] != "fresh" {
		t.Errorf("fresh: %d %v", code, body)
	}
	known := rig.RevokeSession(t, br.URL(), "known")
	rig.Barrier(t, first)
	first.Close()
	if s := first.Status().StateFile; s.Saved.IsZero() || s.Err != nil {
		t.Fatalf("after Close: %+v", s)
	}
	br.Stop()
	for range 2 { // and again, without having been fresh in between
		l, f := begin()
		rig.MustRefuse(t, l, known)
		if s := f.Status(); s.State != revoke.StateSyncing || !s.StateFile.Restored {
			t.Errorf("%+v", s)
		}
		if code, body := rig.Probe(t, f.Readiness(revoke.Deny())); code != http.StatusServiceUnavailable || body["restored"] != true || body["age_ms"] != -1.0 {
			t.Errorf("under Deny: %d %v", code, body)
		}
		if code, _ := rig.Probe(t, f.Readiness(revoke.AllowYounger(time.Minute))); code != http.StatusOK {
			t.Errorf("under AllowYounger: %d", code)
		}
		f.Close()
	}
	l, f := begin()
	br.Start()
	rig.WaitFresh(t, f)
	rig.MustRefuse(t, l, known)
	rig.MustPass(t, l, rig.Session("other"))
	if s := l.Stats(revoke.Now()); s.Replays != 1 {
		t.Errorf("%d replays: the log is read whole, whatever the file says", s.Replays)
	}
	ready := f.Readiness(revoke.Deny())
	f.Close()
	if code, body := rig.Probe(t, ready); code != http.StatusServiceUnavailable || body["reason"] != "closed" {
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
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	cfg := rig.Quick
	cfg.MaxStaleness = 300 * time.Millisecond
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, cfg))
	rig.WaitFresh(t, f)
	br.Stop()
	rig.Eventually(t, "stale", func() bool { return f.Status().State == revoke.StateStale })
	if code, body := rig.Probe(t, f.Readiness(revoke.Deny())); code != http.StatusOK || body["state"] != "stale" || body["reason"] == "none" {
		t.Errorf("%d %v", code, body)
	}
}

// A crash leaves what was saved while running: nobody has to close anything. What is
// on disk is no other replica's to believe, but every one's to read.
func TestStateFileSavedWhileRunning(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	known := rig.RevokeSession(t, br.URL(), "known")
	cfg := rig.Quick
	cfg.StateFile = filepath.Join(t.TempDir(), "state")
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, cfg))
	rig.WaitFresh(t, f)
	rig.Eventually(t, "saved", func() bool { return !f.Status().StateFile.Saved.IsZero() })
	data, err := os.ReadFile(cfg.StateFile)
	if err != nil {
		t.Fatal(err)
	}
	cfg.StateFile += ".copy"
	if err := os.WriteFile(cfg.StateFile, data, 0o600); err != nil {
		t.Fatal(err)
	}
	rig.MustRefuse(t, rig.NewList(t, cfg), known)
}

// A slow observer of the status holds up nobody and learns what is, not what was; an
// observer that looks is woken by every change, also by one that only time brings.
func TestWaitChange(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	p := rig.NewProxy(t, br.URL())
	cfg := rig.Quick
	cfg.MaxStaleness = 300 * time.Millisecond
	f := rig.Join(t, rig.Dial(t, p.URL()), bus.Config{Name: "me"}, rig.NewList(t, cfg))
	var s bus.Status
	until := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			var err error
			if s, err = f.WaitChange(rig.Within(t), s); err != nil {
				t.Fatalf("%s: %v; %+v", what, err, s)
			}
		}
	}
	until("fresh", func() bool { return s.State == revoke.StateFresh && s.Connected })
	rig.Eventually(t, "who beats is known", func() bool { return f.Status().Beater == "me" })
	p.Hang() // nothing happens any more, but time
	until("stale", func() bool { return s.State == revoke.StateStale && s.Reason != revoke.ReasonNone })
	p.Resume()
	until("fresh again", func() bool { return s.State == revoke.StateFresh && s.Err == nil })

	slow := s
	for range 3 {
		p.Cut()
		rig.Barrier(t, f)
	}
	br.Stop()
	rig.Eventually(t, "stale", func() bool { return f.Status().State == revoke.StateStale })
	if s, err := f.WaitChange(rig.Within(t), slow); err != nil || s.State != revoke.StateStale {
		t.Errorf("the slow observer: %+v, %v", s, err)
	}
	br.Start()
	rig.WaitFresh(t, f)
	f.Close()
	for s = (bus.Status{}); ; {
		var err error
		if s, err = f.WaitChange(rig.Within(t), s); err != nil {
			break
		}
	}
	if s.Connected {
		t.Errorf("after Close: %+v", s)
	}
}
