package follow

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
)

// Each cause for which heartbeats do not come back is told, once, and nothing is told on
// a day on which they do.
func TestWhyHeartbeatsAreLost(t *testing.T) {
	var probe *nats.Msg
	for want, cause := range map[string]func(*scripted.Server){
		"the stream cannot be asked": func(s *scripted.Server) {
			s.API = func(m *nats.Msg) (string, bool) {
				return scripted.Refusal(jsadmin.CodeNotAvailable, "no leader"), strings.HasPrefix(m.Subject, "$JS.API.STREAM.INFO.")
			}
		},
		"its consumer is paused":                                           func(s *scripted.Server) { s.Info.State.LastSeq = 99 },
		"the stream has taken one just now":                                func(s *scripted.Server) { s.Beat = scripted.Stored(1) },
		"stream OTHER takes them, and REVOCATIONS":                         func(s *scripted.Server) { s.Beat = `{"stream":"OTHER","seq":1}` },
		"the stream has no room for them":                                  func(s *scripted.Server) { s.Beat = scripted.Refusal(jsadmin.CodeStoreFailed, "maximum bytes exceeded") },
		"no room for them: nats: nats: API error: code=503 err_code=10028": func(s *scripted.Server) { s.Beat = scripted.Refusal(jsadmin.CodeMemoryExceeded, "insufficient memory") },
		"the stream refuses them":                                          func(s *scripted.Server) { s.Beat = scripted.Refusal(jsadmin.CodeSealed, "sealed") },
		"none is acknowledged: the stream has no leader":                   func(s *scripted.Server) { s.Beat = "" },
		"no stream takes them":                                             func(s *scripted.Server) { s.Beat = "503" },
		"Permissions Violation":                                            func(s *scripted.Server) { s.Deny = wire.HeartbeatSubject },
	} {
		synctest.Test(t, func(t *testing.T) {
			var log scripted.Pages
			s, f := beatingFollower(t, config{Logger: log.Logger(), Name: "orders"})
			defer f.b.end()
			f.beater.applied.Store(0)
			s.Do(func() { cause(s) })
			for range lostBeats {
				f.beater.beat()
				time.Sleep(time.Second)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := log.Count("own heartbeats do not come back"); n != 0 {
				t.Errorf("%s: told after %d", want, lostBeats)
			}
			for range 5 {
				f.beater.beat()
				time.Sleep(time.Second)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if log.Count("own heartbeats do not come back") != 1 || log.Count(want) == 0 {
				t.Errorf("%s: %s", want, &log)
			}
			s.Do(func() {
				if s.Probe != nil {
					probe = s.Probe
				}
			})
		})
	}
	if probe == nil {
		t.Fatal("no heartbeat asked for an acknowledgement")
	}
	msg, fault := decode(wire.HeartbeatSubject, probe.Data)
	hb := msg.Heartbeat
	if fault != 0 || hb.Name != "orders" || hb.Nonce == [16]byte{} || hb.Digest != nil || probe.Header.Get(jetstream.MsgTTLHeader) != "15m" {
		t.Errorf("it is %s with %v", probe.Data, probe.Header)
	}
}

// A follower that has caught up meanwhile says that they came late.
func TestHeartbeatsThatCameLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := beatingFollower(t, config{})
		defer f.b.end()
		s.Do(func() { s.Info.State.LastSeq = 7 })
		began := time.Now()
		time.AfterFunc(f.beater.interval, func() { f.beater.applied.Store(7) })
		if err := f.beater.whyLost(t.Context()); err == nil || !strings.Contains(err.Error(), "they came late") || time.Since(began) != 2*f.beater.interval {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// A server that refuses a heartbeat may say so late, on a busy machine: the heartbeat that asks
// for an acknowledgement is told it, too.
func TestLateRefusalIsTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := beatingFollower(t, config{})
		defer f.b.end()
		s.Do(func() { s.Deny = wire.HeartbeatSubject })
		if err := f.beater.whyLost(t.Context()); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%v, want the refusal", err)
		}
		s.Do(func() { s.Deny, s.Beat = "", "" }) // the good twin: an old refusal explains nothing
		if err := f.beater.whyLost(t.Context()); err == nil || errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%v, though it is permitted now", err)
		}
	})
}
