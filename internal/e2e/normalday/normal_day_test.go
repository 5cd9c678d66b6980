package normalday_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
	tokens "github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// A normal day: what happens to everybody sooner or later, on real servers and with the
// settings that one gets by setting none. Each test begins with what happens → what is
// promised, and names other tests that hold it as well. Those that take a cluster are in
// cluster_test.go, those that take a process in processes_test.go.

// moves waits until the proof of l has moved forward by d.
func moves(t *testing.T, l *revoke.List, d time.Duration) {
	t.Helper()
	from := l.Status(revoke.Now()).Proven
	for step := time.Second; step < d+time.Second; step += time.Second { // each within the deadline
		rig.Eventually(t, fmt.Sprintf("proven %s further", step), func() bool {
			return l.Status(revoke.Now()).Proven.Since(from) >= min(step, d)
		})
	}
}

// "auth service down for a minute → nothing": the services keep each other
// fresh. Had the last proof been the auth service's, it would be too old by the end.
func TestNormalDayAuthServiceDown(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	auth := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Name: "auth"}, rig.NewList(t, revoke.Config{}))
	var log rig.Journal
	cfg := revoke.Config{Logger: log.Logger()}
	var lists []*revoke.List
	for i := range 3 {
		l := rig.NewList(t, cfg)
		rig.WaitFresh(t, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Name: fmt.Sprint("service-", i)}, l))
		lists = append(lists, l)
	}
	rig.WaitFresh(t, auth)
	id := rig.Session("before")
	rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: id.Session})
	auth.Close()
	for _, l := range lists[:1] {
		moves(t, l, l.Config().MaxStaleness+time.Second)
	}
	for _, l := range lists {
		rig.MustRefuse(t, l, id)
		rig.MustPass(t, l, rig.Session("other"))
	}
	if n := log.Count("to=stale"); n != 0 {
		t.Errorf("%d times stale:\n%s", n, &log)
	}
}

// "one member's clock an hour off, either way → its heartbeats prove nothing and
// silence nobody". TestHostileHeartbeats has more clocks.
func TestNormalDayMembersClockOff(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	_, js := rig.Client(t, br.URL())
	verifier := rig.NewList(t, revoke.Config{}) // sends none itself
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{NoHeartbeats: true}, verifier)
	n := 0
	beat := func(ctx context.Context) error {
		for _, off := range []time.Duration{-time.Hour, time.Hour} {
			n++
			data := fmt.Appendf(nil, `{"v":1,"nonce":"%032x","ts":%d,"name":"skewed"}`, n, time.Now().Add(off).UnixMilli())
			if _, err := js.Publish(ctx, bus.HeartbeatSubject, data); err != nil {
				return err
			}
		}
		return nil
	}
	for range 10 {
		if err := beat(rig.Within(t)); err != nil {
			t.Fatal(err)
		}
	}
	rig.Eventually(t, "all are seen", func() bool {
		s := verifier.Stats(revoke.Now())
		return s.FutureHeartbeats == 10 && s.SkewedHeartbeats == 10
	})
	beats := func(what string, ok func() bool) {
		t.Helper()
		rig.AskUntil(t, what, func(ctx context.Context) error {
			if err := beat(ctx); err != nil {
				return err
			}
			if !ok() {
				return fmt.Errorf("%+v", f.Status())
			}
			return nil
		})
	}
	beats("it says why", func() bool { return f.Status().Reason == revoke.ReasonClockSkew })
	if s := f.Status(); s.State != revoke.StateSyncing || s.Beater != "skewed" {
		t.Errorf("proven by clocks that are off: %+v", s)
	}
	own := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, revoke.Config{}))
	rig.WaitFresh(t, own, f)
	sent := own.Status().Sent
	beats("the honest member goes on beating", func() bool { return own.Status().Sent >= sent+3 })
}

// "the broker's clock an hour off → shown, nothing revived", either way.
func TestNormalDayBrokersClockOff(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			t.Parallel()
			br := rig.NewBroker(t, nil)
			rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
			p := rig.NewProxy(t, br.URL())
			p.Change(func(line []byte) { shiftTimestamp(line, off) })
			l := rig.NewList(t, revoke.Config{})
			f := rig.Join(t, rig.Dial(t, p.URL()), bus.Config{}, l)
			pub := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, nil)
			rig.WaitFresh(t, f)

			iat := time.Now().Add(-time.Second)
			one := rig.Publish(t, pub, revoke.Event{Kind: revoke.KindToken, Value: "jti", Until: time.Now().Add(30 * time.Minute)})
			cut := rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSubject, Value: "user-1"})
			rig.Barrier(t, f)
			for _, id := range []revoke.Identity{
				{Issuer: rig.Issuer, Token: "jti", IssuedAt: iat},
				{Issuer: rig.Issuer, Subject: "user-1", IssuedAt: iat},
				{Issuer: rig.Issuer, Subject: "user-1", IssuedAt: cut.Event.Before},
			} {
				if !rig.Refused(l, id) {
					t.Errorf("revived: %+v", id)
				}
				// To the end of the token's life, by the local clock.
				id.IssuedAt = iat
				if err := l.Check(revoke.Now().Add(29*time.Minute), &id, revoke.InsecureAllow()); !errors.Is(err, revoke.ErrRevoked) {
					t.Errorf("revived later: %+v: %v", id, err)
				}
			}
			next := revoke.Identity{Issuer: rig.Issuer, Subject: "user-1", IssuedAt: cut.Event.Before.Add(time.Millisecond)}
			rig.MustPass(t, l, next, rig.Session("other"))
			if s := l.Stats(revoke.Now()); s.BrokerClock != 2 {
				t.Errorf("shown %d times, want 2 (%v)", s.BrokerClock, one.Event.At)
			}
			// Nor does it let anybody lock out logins to come by more than it is off itself.
			now := time.Now()
			_, js := rig.Client(t, br.URL())
			ahead := fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"subject","value":"user-2","before":%d,"at":%d}`, rig.Issuer, now.Add(10*time.Hour).UnixMilli(), now.UnixMilli())
			if _, err := js.Publish(rig.Within(t), bus.Subject(rig.Issuer, revoke.KindSubject), ahead); err != nil {
				t.Fatal(err)
			}
			rig.Barrier(t, f)
			later := time.Now().Add(max(off, 0) + 3*time.Second)
			rig.MustRefuse(t, l, revoke.Identity{Issuer: rig.Issuer, Subject: "user-2", IssuedAt: now})
			rig.MustPass(t, l, revoke.Identity{Issuer: rig.Issuer, Subject: "user-2", IssuedAt: later})
			if s := f.Status(); s.State != revoke.StateFresh {
				t.Errorf("%+v", s.Status)
			}
		})
	}
}

// shiftTimestamp changes the time at which the server says that it has stored a
// message of the log: the seventh part of its reply subject, in nanoseconds.
func shiftTimestamp(line []byte, by time.Duration) {
	i := bytes.Index(line, []byte("$JS.ACK."))
	if i < 0 {
		return
	}
	part := line[i:]
	for range 7 {
		part = part[bytes.IndexByte(part, '.')+1:]
	}
	digits := part[:bytes.IndexByte(part, '.')]
	ns, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		panic(err)
	}
	copy(digits, strconv.FormatInt(ns+int64(by), 10)) // of 19 digits until 2286
}

// "200 services starting at once → jitter, all fresh", with one consumer each,
// and silence afterwards: of all members about one beats for each interval.
func TestNormalDayTwoHundredServices(t *testing.T) {
	services := 200
	if raceEnabled {
		services = 40 // each takes ten times as long
	}
	br := rig.NewBroker(t, func(o *server.Options) { o.SyncAlways = false })
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	id := rig.RevokeSession(t, br.URL(), "before")
	var shared []bus.Config
	for range 10 {
		shared = append(shared, bus.Config{Conn: rig.StoreConnection(t, br.URL(), nats.PingInterval(2*time.Second)), Shared: true})
	}
	joined := time.Now()
	var lists []*revoke.List
	var fs []*bus.Member
	for i := range services {
		l := rig.NewList(t, revoke.Config{})
		lists = append(lists, l)
		fs = append(fs, rig.Join(t, shared[i%len(shared)], bus.Config{}, l))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*rig.Deadline) // 200 services share this machine
	defer cancel()
	for _, f := range fs {
		if err := f.WaitFresh(ctx); err != nil {
			t.Fatalf("%v; status %+v", err, f.Status())
		}
	}
	took := time.Since(joined)
	for _, l := range lists {
		rig.MustRefuse(t, l, id)
	}
	_, js := rig.Client(t, br.URL())
	rig.Eventually(t, "a consumer for each", func() bool { return rig.Consumers(t, js) == len(fs) })
	sum := func() (sent, subscriptions uint64) {
		for _, f := range fs {
			s := f.Status()
			sent += s.Sent
			subscriptions += s.Subscriptions
		}
		return sent, subscriptions
	}
	before, subscriptions := sum()
	// As in TestManyJoinAtOnce: nobody gives up sooner than after 3 s.
	if most := uint64(len(fs)) * (1 + uint64(took/(3*time.Second))); subscriptions > most {
		t.Errorf("%d subscriptions of %d services within %s, want %d at most", subscriptions, len(fs), took, most)
	}
	began := time.Now()
	moves(t, lists[0], 4*time.Second)
	// In four seconds each would have beaten two to four times.
	if after, _ := sum(); after-before > uint64(len(fs))*uint64(1+time.Since(began)/(5*time.Second)) {
		t.Errorf("%d heartbeats within %s: nobody is silenced", after-before, time.Since(began))
	}
}

// "service before bus or stream → syncing, 503, heals". TestFollowerBeforeServer
// and TestStreamAppearsLater have the reasons.
func TestNormalDayServiceFirst(t *testing.T) {
	br := rig.NewBroker(t, nil)
	br.Stop()
	l := rig.NewList(t, revoke.Config{})
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	auth := tokentest.New(t, func(cfg *tokens.VerifierConfig) { cfg.Revocations = l })
	service := auth.Verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	ask := func() *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+auth.Token())
		w := httptest.NewRecorder()
		service.ServeHTTP(w, r)
		return w
	}
	ready := f.Readiness(revoke.Deny())
	for _, reason := range []revoke.Reason{revoke.ReasonConnecting, revoke.ReasonNoStream} {
		rig.Eventually(t, reason.String(), func() bool { return f.Status().Reason == reason })
		if w := ask(); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %v", reason, w.Code, w.Header())
		}
		if code, body := rig.Probe(t, ready); code != http.StatusServiceUnavailable || body["state"] != "syncing" || body["reason"] != reason.String() {
			t.Errorf("%d %v", code, body)
		}
		if reason == revoke.ReasonConnecting {
			br.Start()
		}
	}
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	rig.WaitFresh(t, f)
	if w := ask(); w.Code != http.StatusOK {
		t.Errorf("healed: %d %s", w.Code, w.Body)
	}
	if code, body := rig.Probe(t, ready); code != http.StatusOK {
		t.Errorf("healed: %d %v", code, body)
	}
}

// "an SDK version ahead publishes a new kind → degraded alarm, not an outage".
func TestNormalDayVersionAhead(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	var log rig.Journal
	l := rig.NewList(t, revoke.Config{Logger: log.Logger()})
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	rig.WaitFresh(t, f)
	_, js := rig.Client(t, br.URL())
	device := strings.TrimSuffix(bus.Subject(rig.Issuer, revoke.KindToken), "token") + "device"
	for _, data := range []string{
		`{"v":1,"iss":"` + rig.Issuer + `","kind":"device","value":"d-1"}`,
		`{"v":2,"whatever":["a","version","to","come"]}`,
	} {
		if _, err := js.Publish(rig.Within(t), device, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	id := rig.RevokeSession(t, br.URL(), "after")
	rig.Barrier(t, f)
	rig.MustRefuse(t, l, id)
	rig.MustPass(t, l, rig.Session("other"))
	if s := f.Status(); s.State != revoke.StateFresh || !s.Degraded {
		t.Errorf("%+v", s.Status)
	}
	s := l.Stats(revoke.Now())
	if s.Faults[revoke.FaultKind] != 1 || s.Faults[revoke.FaultVersion] != 1 || log.Count("messages not applied") != 2 {
		t.Errorf("%v:\n%s", s.Faults, &log)
	}
}

// "stream full → publishing refused, heartbeats pass". TestPublishFull has the
// limits.
func TestNormalDayStreamFull(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, func(o *server.Options) { o.SyncAlways = false }) // not about its disk
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{MaxBytes: 16 << 20})
	l := rig.NewList(t, revoke.Config{})
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	pub := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, nil)
	rig.WaitFresh(t, f)
	known := rig.Session("known")
	rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: known.Session})
	bulk := revoke.Event{Kind: revoke.KindSubject, Value: "v"}
	for range revoke.MaxKeep {
		bulk.Keep = append(bulk.Keep, strings.Repeat("s", revoke.MaxValueBytes))
	}
	var err error
	for err == nil {
		_, err = pub.Publish(rig.Within(t), bulk)
	}
	if !errors.Is(err, bus.ErrFull) {
		t.Fatal(err)
	}
	if _, err := pub.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSession, Value: "x"}); !errors.Is(err, bus.ErrFull) {
		t.Errorf("a single event: %v", err)
	}
	for range 3 {
		rig.Barrier(t, f)
	}
	rig.MustRefuse(t, l, known)
	rig.MustPass(t, l, rig.Session("x"))
}

// "two auth instances, one restarts → shared key store, nobody notices".
func TestNormalDayAuthInstanceRestarts(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	path := filepath.Join(t.TempDir(), "keys") // TempDir is private
	type instance struct {
		ring   *issue.Keyring
		issuer *issue.Issuer
		bus    *bus.Member
		close  func()
	}
	start := func() instance {
		t.Helper()
		store, err := issue.NewFileStore(path)
		if err != nil {
			t.Fatal(err)
		}
		ring, err := issue.OpenKeyring(rig.Within(t), store, issue.KeyringConfig{})
		if err != nil {
			t.Fatal(err)
		}
		iss, err := issue.NewIssuer(issue.Config{Issuer: rig.Issuer, Keys: ring})
		if err != nil {
			t.Fatal(err)
		}
		conn := rig.Dial(t, br.URL())
		b := rig.Join(t, conn, bus.Config{}, nil)
		return instance{ring, iss, b, func() { b.Close(); ring.Close() }}
	}
	a, b := start(), start()
	defer func() { a.close(); b.close() }()
	jwks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.ring.ServeHTTP(w, r) }))
	defer jwks.Close()
	keys, err := tokens.NewRemoteKeySet(rig.Within(t), jwks.URL, tokens.RemoteKeySetConfig{InsecureAllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	l := rig.NewList(t, revoke.Config{})
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	rig.WaitFresh(t, f)
	verifier, err := tokens.NewVerifier(tokens.VerifierConfig{
		Issuer: rig.Issuer, Audiences: []string{"orders"}, Algorithms: []tokens.Algorithm{tokens.EdDSA}, Keys: keys, OwnIssuer: true, Revocations: l,
	})
	if err != nil {
		t.Fatal(err)
	}
	sign := func(by instance, sid string) string {
		t.Helper()
		issued, err := by.issuer.Issue(rig.Within(t), issue.Request{Subject: "u", Client: "c", Session: sid, Audience: []string{"orders"}})
		if err != nil {
			t.Fatal(err)
		}
		return issued.Raw()
	}
	mustVerify := func(raw string) {
		t.Helper()
		if _, err := verifier.Verify(rig.Within(t), raw); err != nil {
			t.Error(err)
		}
	}
	before, revokedBefore := sign(a, "before"), sign(a, "revoked-before")
	rig.Publish(t, a.bus, revoke.Event{Kind: revoke.KindSession, Value: "revoked-before"})
	a.close()
	mustVerify(sign(b, "meanwhile"))
	mustVerify(before)
	a = start()
	after := sign(a, "after")
	mustVerify(after)
	mustVerify(before)
	// Either instance revokes what the other has issued, or its predecessor.
	rig.Publish(t, b.bus, revoke.Event{Kind: revoke.KindSession, Value: "after"})
	rig.Publish(t, a.bus, revoke.Event{Kind: revoke.KindSession, Value: "before"})
	rig.Barrier(t, f)
	for _, raw := range []string{before, revokedBefore, after} {
		if _, err := verifier.Verify(rig.Within(t), raw); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("%v, want it revoked", err)
		}
	}
}
