package revoke_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func TestSyncingUntilProven(t *testing.T) {
	r, l := newReplica(t, revoke.Config{}), &tape{}
	r.want(revoke.StateSyncing, revoke.ReasonNotFollowed)
	id := revoke.Identity{Issuer: iss, Token: "good", IssuedAt: r.now.Time()}
	var stale *revoke.StaleError
	if err := r.list.Check(r.now, &id, revoke.Deny()); !errors.Is(err, revoke.ErrStale) || !errors.Is(err, revoke.ErrUnavailable) || !errors.As(err, &stale) || stale.State != revoke.StateSyncing {
		t.Fatalf("a check before the first proof: %v", err)
	}
	r.feed.Broken(r.now, revoke.ReasonNoStream)
	r.want(revoke.StateSyncing, revoke.ReasonNoStream)
	l.revoke(r.now.Time(), "bad")
	r.begin(l)
	r.want(revoke.StateSyncing, revoke.ReasonReplaying)
	// A heartbeat older than the replay shows nothing of the log's end.
	r.pass(-5 * time.Second)
	r.otherBeat(l, 0)
	r.pass(5 * time.Second)
	r.must(r.read(l))
	if s := r.list.Status(r.now); s.State != revoke.StateSyncing {
		t.Fatalf("an old heartbeat proved a replay: %+v", s)
	}
	r.pass(time.Millisecond)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.StateFresh, revoke.ReasonNone)
	if !r.refuses("bad") || r.refuses("good") {
		t.Error("wrong answers after the replay")
	}
}

// TestAgeSurvivesSuspend: the monotonic clock stops while the machine sleeps, and
// the wall clock may be set back; the larger age counts.
func TestAgeSurvivesSuspend(t *testing.T) {
	r, _ := ready(t)
	asleep := r.now
	asleep.Wall += int64(time.Hour)
	r.now = asleep
	r.want(revoke.StateStale, revoke.ReasonNoHeartbeat)

	r, l := ready(t)
	r.now.Mono += int64(20 * time.Second)
	r.now.Wall -= int64(time.Hour)
	r.want(revoke.StateStale, revoke.ReasonNoHeartbeat)
	// An own heartbeat needs no clock but its own.
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.StateFresh, revoke.ReasonNone)
}

func TestHorizon(t *testing.T) {
	var logged bytes.Buffer
	r, l := newReplica(t, revoke.Config{TokenLifetime: 2 * time.Hour, Logger: slog.New(slog.NewTextHandler(&logged, nil))}), &tape{}
	r.begin(l)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.StateStale, revoke.ReasonHorizon)
	if s := logged.String(); !strings.Contains(s, "stream=1h0m0s") || !strings.Contains(s, "list=2h0m0s") {
		t.Errorf("the log does not name both lifetimes: %s", s)
	}
	id := revoke.Identity{Issuer: iss, Token: "x", IssuedAt: r.now.Time()}
	if err := r.list.Check(r.now, &id, revoke.MaxStaleness(time.Hour)); !errors.Is(err, revoke.ErrStale) {
		t.Errorf("MaxStaleness overrides the horizon: %v", err)
	}
	// Horizons are read at every subscription.
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	info := l.info()
	info.Horizons.TokenLifetime = 2 * time.Hour
	r.feed.Begin(r.now, info)
	r.want(revoke.StateFresh, revoke.ReasonNone)
	info.Horizons = revoke.Horizons{}
	r.feed.Begin(r.now, info)
	r.want(revoke.StateStale, revoke.ReasonBadStream)
}

// A List whose MaxSkew is not the log's is not fresh, under no policy: cutoffs would not
// reach as far as its verifiers let tokens be ahead, or further than issuers pass.
func TestMaxSkewIsTheLogs(t *testing.T) {
	for _, c := range []struct{ list, log time.Duration }{{10 * time.Second, 2 * time.Second}, {time.Second, 2 * time.Second}, {2 * time.Second, 10 * time.Second}} {
		var logged bytes.Buffer
		r := newReplica(t, revoke.Config{MaxSkew: c.list, MaxStaleness: 20 * time.Second, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		l := &tape{}
		begin := func(skew time.Duration) {
			l.skew = skew
			r.begin(l)
			r.beat(l)
			r.must(r.read(l))
		}
		begin(c.log)
		r.want(revoke.StateStale, revoke.ReasonMaxSkew)
		id := revoke.Identity{Issuer: iss, Token: "x", IssuedAt: r.now.Time()}
		if err := r.list.Check(r.now, &id, revoke.MaxStaleness(time.Hour)); !errors.Is(err, revoke.ErrStale) {
			t.Errorf("%v: MaxStaleness overrides it: %v", c, err)
		}
		if s := logged.String(); !strings.Contains(s, "list="+c.list.String()) {
			t.Errorf("%v: the log does not name both: %s", c, s)
		}
		// It is read at every subscription, and heals; the log that says none means 2 s.
		r.feed.Broken(r.now, revoke.ReasonDisconnected)
		begin(c.list)
		r.want(revoke.StateFresh, revoke.ReasonNone)
	}
	r, l := newReplica(t, revoke.Config{}), &tape{}
	i := l.info()
	i.Horizons.MaxSkew = 0
	r.sub = r.feed.Begin(r.now, i)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.StateFresh, revoke.ReasonNone)
}

// A cutoff reaches as far as the log's MaxSkew says, and what the log has said once of a
// larger one holds.
func TestClampingByTheLogsMaxSkew(t *testing.T) {
	r, l := newReplica(t, revoke.Config{MaxSkew: 10 * time.Second, MaxStaleness: 20 * time.Second}), &tape{skew: 10 * time.Second}
	reach := func(value string, want time.Duration) {
		t.Helper()
		ts := r.now.Time().Truncate(time.Millisecond)
		e := revoke.Event{Issuer: iss, Kind: revoke.KindSubject, Value: value, Before: ts.Add(time.Hour)}
		l.append(ts, message{event: &e})
		r.must(r.read(l))
		for d, refused := range map[time.Duration]bool{want: true, want + time.Millisecond: false} {
			id := revoke.Identity{Issuer: iss, Subject: value, IssuedAt: ts.Add(d)}
			if got := r.list.Check(r.now, &id, revoke.InsecureAllow()) != nil; got != refused {
				t.Errorf("%s: issued %s after: refused %v", value, d, got)
			}
		}
	}
	r.begin(l)
	reach("a", 20*time.Second)
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	l.skew = time.Second
	r.begin(l)
	reach("b", 20*time.Second)
}

func TestFaults(t *testing.T) {
	r, l := ready(t)
	for f := revoke.FaultMalformed; f <= revoke.FaultUnsigned; f++ {
		if f != revoke.FaultCritical {
			l.append(r.now.Time(), message{fault: f})
		}
	}
	l.append(r.now.Time(), message{event: &revoke.Event{Issuer: iss, Kind: revoke.KindSubject}}) // no value
	l.revoke(r.now.Time(), "behind the faults")
	r.must(r.read(l))
	r.want(revoke.StateFresh, revoke.ReasonNone)
	s := r.list.Stats(r.now)
	if !r.refuses("behind the faults") || !r.list.Status(r.now).Degraded || s.Faults[revoke.FaultMalformed] != 2 || len(s.Faults) != 6 {
		t.Errorf("%+v", s)
	}
	later := r.now.Add(2 * time.Hour)
	if r.list.Status(later).Degraded {
		t.Error("degraded for ever")
	}
}

func TestCriticalEventMakesStaleForATokenLifetime(t *testing.T) {
	r, l := ready(t)
	l.append(r.now.Time(), message{fault: revoke.FaultCritical})
	r.must(r.read(l))
	r.want(revoke.StateStale, revoke.ReasonCritical)
	id := revoke.Identity{Issuer: iss, Token: "x", IssuedAt: r.now.Time()}
	if err := r.list.Check(r.now, &id, revoke.MaxStaleness(24*time.Hour)); !errors.Is(err, revoke.ErrStale) {
		t.Errorf("MaxStaleness overrides a critical event: %v", err)
	}
	// The log server's clock may be a year ahead: it lasts no longer.
	ahead, l2 := ready(t)
	l2.append(ahead.now.Time().Add(365*24*time.Hour), message{fault: revoke.FaultCritical})
	ahead.must(ahead.read(l2))
	ahead.want(revoke.StateStale, revoke.ReasonCritical)
	ahead.pass(time.Hour + time.Second)
	ahead.beat(l2)
	ahead.must(ahead.read(l2))
	ahead.want(revoke.StateFresh, revoke.ReasonNone)

	r.pass(time.Hour - time.Second)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.StateStale, revoke.ReasonCritical)
	r.pass(2 * time.Second)
	r.want(revoke.StateFresh, revoke.ReasonNone)
}

// TestForgettingTakesBothClocks holds invariant 3: an entry is kept until its Until
// and twelve minutes by the local clock and by the stream's both.
func TestForgettingTakesBothClocks(t *testing.T) {
	for _, c := range []struct {
		name          string
		local, stream time.Duration // how far each has moved past Until
		kept          bool
	}{
		{"neither", -time.Minute, -time.Minute, true},
		{"within the grace", 11 * time.Minute, 11 * time.Minute, true},
		{"the local clock alone", 24 * time.Hour, 11 * time.Minute, true},
		{"the stream's alone", 11 * time.Minute, 24 * time.Hour, true},
		{"both", 13 * time.Minute, 13 * time.Minute, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, l := ready(t)
			start := r.now
			l.append(start.Time(), message{event: &revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "x", Until: start.Time().Add(time.Hour)}})
			r.must(r.read(l))
			r.now.Wall += int64(time.Hour + c.local)
			r.now.Mono += int64(time.Hour + c.stream)
			if !c.kept { // the stream's time is that of its newest timestamp, not of its last
				l.append(start.Time(), message{fault: revoke.FaultMalformed})
				r.must(r.read(l))
			}
			for range 2 {
				if r.refuses("x") != c.kept {
					t.Fatalf("refused: %v, want %v", !c.kept, c.kept)
				}
				r.list.Fold(r.now) // and folding forgets no more than a check does
			}
		})
	}
	// A List never fed by a bus uses its clock alone; one whose stream has not spoken
	// yet forgets nothing.
	for _, fed := range []bool{false, true} {
		l, err := revoke.NewList(revoke.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if fed {
			if _, err := replica.NewFeed(l); err != nil {
				t.Fatal(err)
			}
		}
		now := revoke.Now()
		if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "x", Until: now.Time().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		id := revoke.Identity{Issuer: iss, Token: "x"}
		if err := l.Check(now.Add(24*time.Hour), &id, revoke.InsecureAllow()); errors.Is(err, revoke.ErrRevoked) != fed {
			t.Errorf("fed %v, a day later: %v", fed, err)
		}
	}
}

// TestClamping holds section "limits on what one event may do": the same on every
// replica, by the stream's timestamp.
func TestClamping(t *testing.T) {
	r, l := ready(t)
	ts := r.now.Time().Truncate(time.Millisecond)
	for i, c := range []struct {
		name       string
		before, at time.Duration // from the stream timestamp; 0: absent
		cutoff     time.Duration
	}{
		{"absent", 0, 0, 4 * time.Second},
		{"absent, publisher ahead", 0, time.Second, 5 * time.Second},
		{"absent, publisher behind", 0, -time.Second, 4 * time.Second},
		{"past", -time.Minute, -time.Second, -time.Minute},
		{"the future, no clock", time.Hour, 0, 4 * time.Second},
		{"the future, publisher in step", time.Hour, time.Millisecond, 4*time.Second + time.Millisecond},
		{"broker an hour behind", time.Hour, time.Hour, time.Hour},
		{"broker an hour behind, a little more", time.Hour + 5*time.Second, time.Hour, time.Hour + 4*time.Second},
		{"publisher mad", 48 * time.Hour, 48 * time.Hour, 24*time.Hour + 4*time.Second},
		{"broker an hour ahead", -time.Hour, -time.Hour, -time.Hour},
	} {
		e := revoke.Event{Issuer: iss, Kind: revoke.KindSubject, Value: fmt.Sprint("u", i)}
		if c.before != 0 {
			e.Before = ts.Add(c.before)
		}
		if c.at != 0 {
			e.At = ts.Add(c.at)
		}
		l.append(ts, message{event: &e})
		r.must(r.read(l))
		for d, want := range map[time.Duration]bool{c.cutoff: true, c.cutoff + time.Millisecond: false} {
			id := revoke.Identity{Issuer: iss, Subject: e.Value, IssuedAt: ts.Add(d)}
			if got := r.list.Check(r.now, &id, revoke.InsecureAllow()) != nil; got != want {
				t.Errorf("%s: a token issued at %+d ms is refused: %v", c.name, d.Milliseconds(), got)
			}
		}
	}
	if n := r.list.Stats(r.now).BrokerClock; n != 4 {
		t.Errorf("%d events told of a broker clock, want 4", n)
	}
	// Until: at most the longest horizon and a day; ten years for keys.
	day := 24 * time.Hour
	for _, c := range []struct {
		kind  revoke.Kind
		value string
		until time.Duration
		life  time.Duration
	}{
		{revoke.KindToken, "far", 1000 * day, 91 * day},
		{revoke.KindToken, "none", 0, 90 * day},
		{revoke.KindKey, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", 0, 365 * day},
		{revoke.KindKey, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 9000 * day, 3653 * day},
	} {
		e := revoke.Event{Issuer: iss, Kind: c.kind, Value: c.value}
		if c.until != 0 {
			e.Until = ts.Add(c.until)
		}
		l.append(ts, message{event: &e})
		r.must(r.read(l))
		id := revoke.Identity{Issuer: iss, IssuedAt: ts}
		if c.kind == revoke.KindToken {
			id.Token = c.value
		} else {
			id.Key = c.value
		}
		for d, want := range map[time.Duration]bool{c.life + grace - time.Second: true, c.life + grace + 2*time.Second: false} {
			if got := r.list.Check(r.now.Add(d), &id, revoke.InsecureAllow()) != nil; got != want {
				t.Errorf("%s %.4s: refused after %s: %v, want %v", c.kind, c.value, d, got, want)
			}
		}
	}
}

// What another program has published for a shorter time than tokens live counts for as
// long as they do: from the stream's timestamp, or from a cutoff that lies back.
func TestReceivedEventOutlivesTokens(t *testing.T) {
	const grace = 12 * time.Minute
	for _, k := range []revoke.Kind{revoke.KindToken, revoke.KindSession, revoke.KindSubject, revoke.KindClient, revoke.KindTenant, revoke.KindIssuer} {
		for _, c := range []struct{ before, until, life time.Duration }{
			{0, time.Minute, time.Hour},
			{0, -time.Hour, time.Hour},
			{0, time.Hour - time.Second, time.Hour},
			{0, 2 * time.Hour, 2 * time.Hour},
			{-10 * time.Minute, time.Minute, 50 * time.Minute},
			{-10 * time.Minute, 55 * time.Minute, 55 * time.Minute},
		} {
			r, l := ready(t)
			ts := r.now.Time().Truncate(time.Second)
			e := revoke.Event{Issuer: iss, Kind: k, Value: "x", Until: ts.Add(c.until), At: ts}
			id := revoke.Identity{Issuer: iss, IssuedAt: ts.Add(c.before), Token: "x", Session: "x", Subject: "x", Client: "x", Tenant: "x"}
			if k.Cutoff() {
				e.Before = ts.Add(c.before)
			} else if c.before != 0 && k != revoke.KindToken {
				c.life = time.Hour
			}
			if k == revoke.KindToken { // whose life its publisher knows
				c.life = c.until
			}
			if k == revoke.KindIssuer {
				e.Value = ""
			}
			l.append(ts, message{event: &e})
			r.must(r.read(l))
			for d, want := range map[time.Duration]bool{c.life + grace - time.Second: true, c.life + grace + 2*time.Second: false} {
				if got := d >= 0 && r.list.Check(revoke.At(ts).Add(d), &id, revoke.InsecureAllow()) != nil; d >= 0 && got != want {
					t.Errorf("%s before %s until %s: refused after %s: %v, want %v", k, c.before, c.until, d, got, want)
				}
			}
		}
	}
}

func TestOneFeedAtATime(t *testing.T) {
	r, l := ready(t)
	if _, err := replica.NewFeed(r.list); !errors.Is(err, revoke.ErrFollowed) {
		t.Errorf("a second feed: %v", err)
	}
	r.feed.Close(r.now)
	r.feed.Close(r.now)
	r.must(r.deliver(&l.messages[0], r.n+1))
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	r.pass(16 * time.Second)
	r.want(revoke.StateStale, revoke.ReasonClosed)
	if !r.refuses("old0") {
		t.Error("Close forgets")
	}
	f, err := replica.NewFeed(r.list)
	if err != nil {
		t.Fatal(err)
	}
	r.feed = f
	r.begin(l)
	r.must(r.read(l))
	r.pass(time.Millisecond)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.StateFresh, revoke.ReasonNone)
	if _, err := replica.NewFeed(localList(t)); !errors.Is(err, revoke.ErrFollowed) {
		t.Errorf("a Local list was fed: %v", err)
	}
}

func TestForeignIssuersAreCounted(t *testing.T) {
	var logged bytes.Buffer
	r, l := newReplica(t, revoke.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}), &tape{}
	r.begin(l)
	r.list.ExpectIssuer(iss)
	r.list.ExpectIssuer(iss)
	r.list.ExpectIssuer("https://b.example.com")
	l.revoke(r.now.Time(), "mine")
	l.append(r.now.Time(), message{event: &revoke.Event{Issuer: iss + "/", Kind: revoke.KindToken, Value: "x"}})
	r.must(r.read(l))
	if n := r.list.Stats(r.now).ForeignIssuer; n != 1 {
		t.Errorf("%d foreign events, want 1", n)
	}
	// Named in the log, once a minute.
	for range 100 {
		l.append(r.now.Time(), message{event: &revoke.Event{Issuer: iss + "/", Kind: revoke.KindToken, Value: "x"}})
	}
	r.must(r.read(l))
	if n := strings.Count(logged.String(), iss+"/"); n != 1 {
		t.Errorf("named %d times in\n%s", n, &logged)
	}
}
