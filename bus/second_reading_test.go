package bus

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// say has another member send a heartbeat that carries the digest of the last one in the
// log, changed.
func (s *scripted) say(t *testing.T, name string, change func(*replica.Digest)) {
	t.Helper()
	s.do(func() {
		for i := len(s.log) - 1; i >= 0; i-- {
			m := s.log[i].msg
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
			s.store(&nats.Msg{Subject: wire.HeartbeatSubject, Data: data, Header: nats.Header{jetstream.MsgTTLHeader: {wire.HeartbeatTTL}}})
			return
		}
		t.Fatal("no heartbeat has a digest")
	})
}

// Anyone who says that the log holds something else has it read a second time, within a
// minute, beside the subscription; it takes nothing away where it is not so, and is told.
func TestLiarHasTheLogReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log pages
		s, f := followScripted(t, Config{Logger: log.everything()}, revoke.Config{})
		defer f.b.end()
		f.isFresh(t, 15*time.Minute)
		if n := s.count("CONSUMER.CREATE"); n != 1 || log.count("WARN") != 0 {
			t.Fatalf("%d consumers on a normal day: %s", n, &log)
		}
		s.say(t, "liar", func(d *replica.Digest) { d.Sum[0] ^= 1 })
		for range 70 {
			f.isFresh(t, time.Second)
		}
		if log.count("reading it a second time") != 1 || log.count("is mistaken") != 1 || s.count("CONSUMER.CREATE") != 2 || s.count("CONSUMER.DELETE") != 1 {
			t.Errorf("%d consumers, %d deleted, logged %s", s.count("CONSUMER.CREATE"), s.count("CONSUMER.DELETE"), &log)
		}
		f.isFresh(t, time.Hour)
		if st := f.status(); st.Subscriptions != 1 || s.count("CONSUMER.CREATE") != 2 || log.count("second time") != 1 {
			t.Errorf("%d subscriptions, %d consumers", st.Subscriptions, s.count("CONSUMER.CREATE"))
		}
		for range 60 { // however often it lies
			s.say(t, "liar", func(d *replica.Digest) { d.Count++ })
			f.isFresh(t, time.Minute)
		}
		between(t, "consumers for an hour of lies", s.count("CONSUMER.CREATE")-2, 3, 20)
	})
}

// A log that holds something else than was applied is read anew, and the reason is told.
func TestForkHasTheLogReadAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log pages
		s, f := followScripted(t, Config{Logger: log.everything()}, revoke.Config{})
		defer f.b.end()
		f.isFresh(t, 15*time.Minute)
		s.do(func() { // a message that nobody has applied, in place of a heartbeat four minutes ago
			for i := range s.log {
				if time.Since(s.log[i].time) < 4*time.Minute {
					data, err := wire.EncodeEvent(&revoke.Event{Issuer: testIssuer, Kind: revoke.KindSession, Value: "forked", Until: time.Now().Add(time.Hour)})
					if err != nil {
						t.Fatal(err)
					}
					s.log[i].msg = &nats.Msg{Subject: wire.Subject(testIssuer, revoke.KindSession), Data: data, Header: nats.Header{jetstream.MsgTTLHeader: {"2h"}}}
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
			s.say(t, "other", func(d *replica.Digest) { d.Sum[0] ^= 1 })
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if !isRevoked() || log.count("holds something else than what was applied") == 0 || f.status().Subscriptions < 2 {
			t.Errorf("revoked %t, %d subscriptions, logged %s", isRevoked(), f.status().Subscriptions, &log)
		}
		before := f.status().Subscriptions
		f.isFresh(t, time.Hour)
		if n := f.status().Subscriptions; n != before {
			t.Errorf("%d more subscriptions", n-before)
		}
	})
}
