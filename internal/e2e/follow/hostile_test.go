package follow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Whatever a plain NATS client writes to the stream, the follower goes on: each
// message is counted as what it is, none revokes what it must not, and the good
// message after it counts.
func TestHostileMessages(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	l := rig.NewList(t, rig.Quick)
	var log rig.Journal
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Logger: log.Logger()}, l)
	rig.WaitFresh(t, f)
	_, js := rig.Client(t, br.URL())
	send := func(m *nats.Msg) {
		t.Helper()
		if _, err := js.PublishMsg(rig.Within(t), m); err != nil {
			t.Fatal(err)
		}
	}
	ms := func(d time.Duration) int64 { return time.Now().Add(d).UnixMilli() }
	sessions, subjects := bus.Subject(rig.Issuer, revoke.KindSession), bus.Subject(rig.Issuer, revoke.KindSubject)

	for i, c := range []struct {
		name, subject, data string
		fault               revoke.Fault // 0: applied
	}{
		{"empty", sessions, ``, revoke.FaultMalformed},
		{"no JSON", sessions, `revoke everything`, revoke.FaultMalformed},
		{"cut off", sessions, `{"v":1,"iss":`, revoke.FaultMalformed},
		{"trailing", sessions, `{"v":1,"iss":"` + rig.Issuer + `","kind":"session","value":"victim"} {}`, revoke.FaultMalformed},
		{"duplicate member", sessions, `{"v":1,"iss":"` + rig.Issuer + `","kind":"session","value":"a","value":"victim"}`, revoke.FaultMalformed},
		{"an array", sessions, `[1]`, revoke.FaultMalformed},
		{"null", sessions, `null`, revoke.FaultMalformed},
		{"deep", sessions, strings.Repeat(`[`, 60_000), revoke.FaultMalformed},
		{"deep object", sessions, strings.Repeat(`{"v":`, 12_000), revoke.FaultMalformed},
		{"bad UTF-8", sessions, `{"v":1,"iss":"` + rig.Issuer + `","kind":"session","value":"` + "\xff" + `"}`, revoke.FaultMalformed},
		{"value a number", sessions, `{"v":1,"iss":"` + rig.Issuer + `","kind":"session","value":7}`, revoke.FaultMalformed},
		{"iss a list", sessions, `{"v":1,"iss":["` + rig.Issuer + `"],"kind":"session","value":"victim"}`, revoke.FaultMalformed},
		{"version a string", sessions, `{"v":"1","iss":"` + rig.Issuer + `","kind":"session","value":"victim"}`, revoke.FaultMalformed},
		{"no version", sessions, `{"iss":"` + rig.Issuer + `","kind":"session","value":"victim"}`, revoke.FaultMalformed},
		{"no value", sessions, `{"v":1,"iss":"` + rig.Issuer + `","kind":"session"}`, revoke.FaultMalformed},
		{"value too long", sessions, `{"v":1,"iss":"` + rig.Issuer + `","kind":"session","value":"` + strings.Repeat("x", revoke.MaxValueBytes+1) + `"}`, revoke.FaultMalformed},
		{"huge", sessions, strings.Repeat(" ", 63<<10), revoke.FaultMalformed},
		{"keep too long", subjects, `{"v":1,"iss":"` + rig.Issuer + `","kind":"subject","value":"unusable","keep":["` + strings.Repeat(`a","`, revoke.MaxKeep) + `a"]}`, 0},
		{"future version", sessions, `{"v":2,"iss":"` + rig.Issuer + `","kind":"session","value":"victim"}`, revoke.FaultVersion},
		{"future kind", bus.Subject(rig.Issuer, revoke.KindSession)[:len(sessions)-len("session")] + "planet", `{"v":1,"iss":"` + rig.Issuer + `","kind":"planet","value":"victim"}`, revoke.FaultKind},
		{"wrong issuer", sessions, `{"v":1,"iss":"https://other.example.com","kind":"session","value":"victim"}`, revoke.FaultSubject},
		{"trailing slash", sessions, `{"v":1,"iss":"` + rig.Issuer + `/","kind":"session","value":"victim"}`, revoke.FaultSubject},
		{"wrong kind for its subject", sessions, `{"v":1,"iss":"` + rig.Issuer + `","kind":"issuer"}`, revoke.FaultSubject},
		{"on no subject of ours", "revocations.v1.elsewhere", `{"v":1,"iss":"` + rig.Issuer + `","kind":"session","value":"victim"}`, revoke.FaultSubject},
		{"before in seconds", subjects, fmt.Sprintf(`{"v":1,"iss":%q,"kind":"subject","value":"unusable","before":%d}`, rig.Issuer, time.Now().Unix()), 0},
		{"negative time", subjects, `{"v":1,"iss":"` + rig.Issuer + `","kind":"subject","value":"unusable","before":-5}`, 0},
		{"time beyond int64", subjects, `{"v":1,"iss":"` + rig.Issuer + `","kind":"subject","value":"unusable","before":99999999999999999999}`, 0},
		{"heartbeat of nonsense", bus.HeartbeatSubject, `{"v":1}`, revoke.FaultMalformed},
		{"heartbeat, short nonce", bus.HeartbeatSubject, fmt.Sprintf(`{"v":1,"nonce":"00","ts":%d}`, ms(0)), revoke.FaultMalformed},
		{"heartbeat too large", bus.HeartbeatSubject, `{"v":1,"name":"` + strings.Repeat("n", 3000) + `"}`, revoke.FaultOversized},
		{"good twin", sessions, `{"v":1,"iss":"` + rig.Issuer + `","kind":"session","value":"twin","unknown":[{}]}`, 0},
		{"good twin, future times", subjects, fmt.Sprintf(`{"v":1,"iss":%q,"kind":"subject","value":"clamped","before":%d,"until":%d}`, rig.Issuer, ms(1e6*time.Hour), ms(1e6*time.Hour)), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := l.Stats(revoke.Now())
			send(&nats.Msg{Subject: c.subject, Data: []byte(c.data)})
			after := fmt.Sprint("after-", i)
			send(&nats.Msg{Subject: sessions, Data: fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"session","value":%q}`, rig.Issuer, after)})
			rig.Barrier(t, f)
			rig.MustRefuse(t, l, rig.Session(after))
			now := l.Stats(revoke.Now())
			if c.fault == 0 {
				if n := now.Applied[revoke.KindSession] + now.Applied[revoke.KindSubject] - before.Applied[revoke.KindSession] - before.Applied[revoke.KindSubject]; n != 2 {
					t.Errorf("%d events applied, want 2; faults %v", n, now.Faults)
				}
			} else if now.Faults[c.fault] != before.Faults[c.fault]+1 {
				t.Errorf("faults before %v, after %v, want one more %v", before.Faults, now.Faults, c.fault)
			}
			victim := rig.Session("victim")
			victim.Subject = "victim"
			rig.MustPass(t, l, victim)
		})
	}

	rig.MustRefuse(t, l, rig.Session("twin"))
	// What cannot be used has cost no revocation, and is named.
	unusable := rig.Session("any")
	unusable.Subject, unusable.IssuedAt = "unusable", time.Now()
	rig.MustRefuse(t, l, unusable)
	if n := l.Stats(revoke.Now()).Unusable; n["before"] != 3 || n["keep"] != 1 || len(n) != 2 {
		t.Errorf("unusable members counted: %v", n)
	}
	for _, words := range [][]string{
		{"level=WARN", "fault=malformed", "member=value"}, {"level=WARN", "fault=malformed", "member=iss"}, {"level=WARN", "fault=malformed", "member=v "},
		{"level=WARN", `fault="not of its subject"`}, {"level=WARN", `fault="unknown kind"`, "member=kind"}, {"level=WARN", `fault="unknown version"`},
		{"level=WARN", "member=before", "messages=1 "}, {"level=WARN", "member=keep"},
	} {
		if n := log.Count(words...); n != 1 {
			t.Errorf("%d lines of the Member's log with %q, want 1 within a minute", n, words)
		}
	}
	if log.Count("victim") > 0 {
		t.Error("the log says what messages say")
	}
	// Absurd times are cut back to section 5's limits: who logs in later passes.
	clamped := rig.Session("later")
	clamped.Subject, clamped.IssuedAt = "clamped", time.Now()
	rig.MustRefuse(t, l, clamped)
	clamped.IssuedAt = time.Now().Add(5 * time.Second)
	rig.MustPass(t, l, clamped)

	// Status lines of the server's, as messages of the log: written by a publisher, they
	// end no subscription.
	for _, h := range []nats.Header{
		{"Status": {"409"}, "Description": {"Consumer Deleted"}},
		{"Status": {"100"}, "Description": {"Idle Heartbeat"}},
		{"Status": {"408"}, "Nats-Pending-Messages": {"5000"}, "Nats-Pending-Bytes": {"1000000"}},
		{"Status": {"503"}},
	} {
		send(&nats.Msg{Subject: sessions, Header: h})
	}
	rig.Barrier(t, f)
	s := f.Status()
	if s.Subscriptions != 1 || s.State != revoke.StateFresh || !s.Degraded {
		t.Errorf("at the end: %+v", s)
	}
	if st := l.Stats(revoke.Now()); st.Gaps != 0 || st.Replays != 1 {
		t.Errorf("at the end: %d gaps, %d replays", st.Gaps, st.Replays)
	}
}

// Who may read what followers ask for learns their inboxes. What is sent there can
// end a subscription, never move the proof, and heals.
func TestHostileInbox(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	nc, js := rig.Client(t, br.URL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	asked := make(chan *nats.Msg, 100)
	if _, err := nc.ChanSubscribe("$JS.API.CONSUMER.MSG.NEXT.>", asked); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(rig.Within(t)); err != nil {
		t.Fatal(err)
	}
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{NoHeartbeats: true}, l)
	request := <-asked
	_, consumer, _ := strings.Cut(request.Subject, bus.DefaultStream+".")
	for i, c := range []struct {
		name string
		msg  nats.Msg
		ends bool
	}{
		{"bytes", nats.Msg{Data: bytes.Repeat([]byte("x"), 100)}, false},
		{"nothing", nats.Msg{}, false},
		{"a reply", nats.Msg{Reply: "somewhere"}, false},
		// The server lets no client send these.
		{"a forged heartbeat", nats.Msg{
			Reply: fmt.Sprintf("$JS.ACK.%s.%s.1.9.1.%d.0", bus.DefaultStream, consumer, time.Now().UnixNano()),
			Data:  fmt.Appendf(nil, `{"v":1,"nonce":"%032x","ts":%d}`, 1, time.Now().UnixMilli()),
		}, false},
		{"no record at all", nats.Msg{Reply: "$JS.ACK.nonsense"}, false},
		{"a status", nats.Msg{Header: nats.Header{"Status": {"409"}, "Description": {"Consumer Deleted"}}}, true},
	} {
		c.msg.Subject = request.Reply
		before := f.Status().Subscriptions
		if err := nc.PublishMsg(&c.msg); err != nil {
			t.Fatal(err)
		}
		if c.ends {
			rig.Eventually(t, c.name+" ends the subscription", func() bool { return f.Status().Subscriptions > before })
		}
		id := rig.Session(fmt.Sprint("after-", i))
		if _, err := js.Publish(rig.Within(t), bus.Subject(rig.Issuer, revoke.KindSession), fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"session","value":%q}`, rig.Issuer, id.Session)); err != nil {
			t.Fatal(err)
		}
		rig.Eventually(t, "the event after "+c.name, func() bool { return rig.Refused(l, id) })
		if s := f.Status(); !c.ends && s.Subscriptions != before || !s.Proven.IsZero() {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
	rig.WaitFresh(t, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, rig.Quick)), f)
}

// Heartbeats of clocks that are off prove nothing and silence nobody; a flood of
// old ones, replayed, neither.
func TestHostileHeartbeats(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	cfg := rig.Quick
	cfg.MaxStaleness = 500 * time.Millisecond
	l := rig.NewList(t, cfg)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{NoHeartbeats: true}, l)
	_, js := rig.Client(t, br.URL())
	beat := func(ctx context.Context, off time.Duration) error {
		data := fmt.Appendf(nil, `{"v":1,"nonce":"%032x","ts":%d}`, time.Now().UnixNano(), time.Now().Add(off).UnixMilli())
		_, err := js.Publish(ctx, bus.HeartbeatSubject, data)
		return err
	}
	seen := func(s revoke.Stats) uint64 { return s.FutureHeartbeats + s.SkewedHeartbeats }
	for i, off := range []time.Duration{time.Hour, -time.Hour, 250 * time.Hour, 200 * time.Millisecond, -2 * time.Second} {
		if err := beat(rig.Within(t), off); err != nil {
			t.Fatal(err)
		}
		rig.Eventually(t, "it is seen", func() bool { return seen(l.Stats(revoke.Now())) == uint64(i+1) })
		if s := f.Status(); s.State == revoke.StateFresh {
			t.Fatalf("fresh by a heartbeat whose clock is off by %s", off)
		}
	}
	beats := func(what string, off time.Duration, ok func() bool) {
		t.Helper()
		rig.AskUntil(t, what, func(ctx context.Context) error {
			if err := beat(ctx, off); err != nil {
				return err
			}
			if !ok() {
				return fmt.Errorf("%+v", f.Status())
			}
			return nil
		})
	}
	beats("good twin", 0, func() bool { return f.Status().State == revoke.StateFresh })
	// A member whose own clock is fine is not silenced by them.
	own := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, cfg))
	rig.WaitFresh(t, own)
	sent := own.Status().Sent
	beats("it goes on beating", -time.Hour, func() bool { return own.Status().Sent >= sent+3 })
	rig.WaitFresh(t, f) // by the other's heartbeats
}

// A critical event that is not understood makes replicas stale, whatever the age.
func TestCriticalEvent(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	rig.WaitFresh(t, f)
	_, js := rig.Client(t, br.URL())
	for _, data := range []string{
		`{"v":1,"iss":"` + rig.Issuer + `","kind":"session","value":"x","critical":true}`, // understood, hence harmless
		`{"v":2,"critical":true}`,
	} {
		rig.MustPass(t, l, rig.Session("any"))
		if _, err := js.Publish(rig.Within(t), bus.Subject(rig.Issuer, revoke.KindSession), []byte(data)); err != nil {
			t.Fatal(err)
		}
		rig.Barrier(t, f)
	}
	rig.MustRefuse(t, l, rig.Session("x"))
	if err := rig.Check(l, rig.Session("any")); !errors.Is(err, revoke.ErrStale) {
		t.Errorf("after a critical event: %v", err)
	}
	if s := f.Status(); s.State != revoke.StateStale || s.Reason != revoke.ReasonCritical {
		t.Errorf("%v, %v", s.State, s.Reason)
	}
}

// Who may publish for one issuer cannot stop the services of another.
func TestCriticalEventOfAnotherIssuer(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	l := rig.NewList(t, rig.Quick)
	l.ExpectIssuer("https://first.example.com")
	l.ExpectIssuer(rig.Issuer)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	rig.WaitFresh(t, f)
	_, js := rig.Client(t, br.URL())
	send := func(subject, data string) {
		t.Helper()
		if _, err := js.Publish(rig.Within(t), subject, []byte(data)); err != nil {
			t.Fatal(err)
		}
		rig.Barrier(t, f)
	}
	const other = "https://other.example.com"
	sessions := bus.Subject(other, revoke.KindSession)
	send(sessions, `{"v":2,"critical":true}`)
	send(strings.TrimSuffix(sessions, "session")+"device", `{"v":1,"iss":"`+other+`","kind":"device","critical":true}`)
	send("revocations.v1.elsewhere", `{"v":2,"critical":true}`)
	rig.MustPass(t, l, rig.Session("any"))
	if s := l.Stats(revoke.Now()); s.Faults[revoke.FaultVersion] != 2 || s.Faults[revoke.FaultKind] != 1 || s.Faults[revoke.FaultCritical] != 0 {
		t.Errorf("faults %v", s.Faults)
	}
	send(bus.Subject(rig.Issuer, revoke.KindSession), `{"v":2,"critical":true}`) // the good twin
	if s := f.Status(); s.State != revoke.StateStale || s.Reason != revoke.ReasonCritical {
		t.Errorf("%v, %v", s.State, s.Reason)
	}
}

// A stream that would forget is followed, and reported once.
func TestHazardousStream(t *testing.T) {
	br := rig.NewBroker(t, nil)
	_, js := rig.Client(t, br.URL())
	good := rig.NewList(t, rig.Quick)
	_, err := js.CreateStream(rig.Within(t), jetstream.StreamConfig{
		Name: bus.DefaultStream, Subjects: []string{"revocations.v1.>"}, AllowMsgTTL: true, MaxAge: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	var log rig.Journal
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Logger: log.Logger()}, good)
	rig.Eventually(t, "the hazards are known", func() bool { return len(f.Status().Hazards) > 0 })
	// Without readable retention nothing is fresh, but the proof goes on.
	rig.Barrier(t, f)
	if s := f.Status(); s.State == revoke.StateFresh || s.Reason != revoke.ReasonBadStream || !strings.Contains(strings.Join(s.Hazards, ";"), "max age") {
		t.Errorf("%+v", s)
	}
	br.Stop()
	br.Start()
	rig.Barrier(t, f)
	if n := log.Count("could forget"); n != 1 {
		t.Errorf("reported %d times:\n%s", n, &log)
	}
}

// Tokens that outlive what the stream keeps events for are not vouched for.
func TestRetentionTooShort(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{Retention: revoke.Retention{TokenLifetime: 10 * time.Minute}})
	cfg := rig.Quick
	long := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, cfg))
	rig.Barrier(t, long)
	if s := long.Status(); s.State == revoke.StateFresh || s.Reason != revoke.ReasonRetention {
		t.Errorf("tokens of an hour: %v, %v", s.State, s.Reason)
	}
	cfg.TokenLifetime = 10 * time.Minute
	rig.WaitFresh(t, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, cfg)))
}
