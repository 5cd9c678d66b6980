package follow

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// say has another member send a heartbeat that carries the digest of the last one in the
// log, changed.
func say(t *testing.T, s *scripted.Server, name string, change func(*replica.Digest)) {
	t.Helper()
	s.Do(func() {
		for i := len(s.Log) - 1; i >= 0; i-- {
			m := s.Log[i].Msg
			msg, fault := decode(wire.HeartbeatSubject, m.Data)
			hb := msg.Heartbeat
			if m.Subject != wire.HeartbeatSubject || fault != 0 || hb.Digest == nil || hb.Digest.Sequence == 0 {
				continue
			}
			hb.Name, hb.Time = name, time.Now()
			hb.Nonce[0] ^= 1
			change(hb.Digest)
			data, err := wire.EncodeHeartbeat(hb)
			if err != nil {
				t.Fatal(err)
			}
			s.Store(&nats.Msg{Subject: wire.HeartbeatSubject, Data: data, Header: nats.Header{jetstream.MsgTTLHeader: {wire.HeartbeatTTL}}})
			return
		}
		t.Fatal("no heartbeat has a digest")
	})
}

// Anyone who says that the log holds something else has it read a second time, within a
// minute, beside the subscription; it takes nothing away where it is not so, and is told.
func TestLiarHasTheLogReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, f := followScripted(t, config{Logger: log.Everything()}, revoke.Config{})
		defer f.b.end()
		f.isFresh(t, 15*time.Minute)
		if n := s.Count("CONSUMER.CREATE"); n != 1 || log.Count("WARN") != 0 {
			t.Fatalf("%d consumers on a normal day: %s", n, &log)
		}
		say(t, s, "liar", func(d *replica.Digest) { d.Sum[0] ^= 1 })
		for range 70 {
			f.isFresh(t, time.Second)
		}
		if log.Count("reading it a second time") != 1 || log.Count("is mistaken") != 1 || s.Count("CONSUMER.CREATE") != 2 || s.Count("CONSUMER.DELETE") != 1 {
			t.Errorf("%d consumers, %d deleted, logged %s", s.Count("CONSUMER.CREATE"), s.Count("CONSUMER.DELETE"), &log)
		}
		f.isFresh(t, time.Hour)
		if st := f.Status(); st.Subscriptions != 1 || s.Count("CONSUMER.CREATE") != 2 || log.Count("second time") != 1 {
			t.Errorf("%d subscriptions, %d consumers", st.Subscriptions, s.Count("CONSUMER.CREATE"))
		}
		for range 60 { // however often it lies
			say(t, s, "liar", func(d *replica.Digest) { d.Count++ })
			f.isFresh(t, time.Minute)
		}
		between(t, "consumers for an hour of lies", s.Count("CONSUMER.CREATE")-2, 3, 20)
	})
}

// A log that holds something else than was applied is read anew, and the reason is told.
func TestForkHasTheLogReadAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, f := followScripted(t, config{Logger: log.Everything()}, revoke.Config{})
		defer f.b.end()
		f.isFresh(t, 15*time.Minute)
		s.Do(func() { // a message that nobody has applied, in place of a heartbeat four minutes ago
			for i := range s.Log {
				if time.Since(s.Log[i].Time) < 4*time.Minute {
					data, err := wire.EncodeEvent(&revoke.Event{Issuer: testIssuer, Kind: revoke.KindSession, Value: "forked", Until: time.Now().Add(time.Hour)})
					if err != nil {
						t.Fatal(err)
					}
					s.Log[i].Msg = &nats.Msg{Subject: wire.Subject(testIssuer, revoke.KindSession), Data: data, Header: nats.Header{jetstream.MsgTTLHeader: {"2h"}}}
					return
				}
			}
		})
		isRevoked := func() bool {
			return f.list.Check(revoke.Now(), &revoke.Identity{Issuer: testIssuer, Token: "t", Session: "forked", IssuedAt: time.Now()}, revoke.InsecureAllow()) != nil
		}
		if isRevoked() {
			t.Fatal("revoked before it was read")
		}
		for i := 0; i < 20 && !isRevoked(); i++ { // others, who have read it so, say so
			say(t, s, "other", func(d *replica.Digest) { d.Sum[0] ^= 1 })
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if !isRevoked() || log.Count("holds something else than what was applied") == 0 || f.Status().Subscriptions < 2 {
			t.Errorf("revoked %t, %d subscriptions, logged %s", isRevoked(), f.Status().Subscriptions, &log)
		}
		before := f.Status().Subscriptions
		f.isFresh(t, time.Hour)
		if n := f.Status().Subscriptions; n != before {
			t.Errorf("%d more subscriptions", n-before)
		}
	})
}
