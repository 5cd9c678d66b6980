package replica_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const grace = 12 * time.Minute // for which an entry is kept past its Until (invariant 3)

func TestSyncingUntilProven(t *testing.T) {
	r, l := tape.NewReader(t, revoke.Config{}), &tape.Log{}
	r.Want(revoke.StateSyncing, revoke.ReasonNotFollowed)
	id := revoke.Identity{Issuer: tape.Issuer, Token: "good", IssuedAt: r.Now.Time()}
	var stale *revoke.StaleError
	if err := r.List.Check(r.Now, &id, revoke.Deny()); !errors.Is(err, revoke.ErrStale) || !errors.Is(err, revoke.ErrUnavailable) || !errors.As(err, &stale) || stale.State != revoke.StateSyncing {
		t.Fatalf("a check before the first proof: %v", err)
	}
	r.Feed.Broken(r.Now, revoke.ReasonNoStream)
	r.Want(revoke.StateSyncing, revoke.ReasonNoStream)
	l.Revoke(r.Now.Time(), "bad")
	r.Begin(l)
	r.Want(revoke.StateSyncing, revoke.ReasonReplaying)
	// A heartbeat older than the replay shows nothing of the log's end.
	r.Pass(-5 * time.Second)
	r.OtherBeat(l, 0)
	r.Pass(5 * time.Second)
	r.Must(r.Read(l))
	if s := r.List.Status(r.Now); s.State != revoke.StateSyncing {
		t.Fatalf("an old heartbeat proved a replay: %+v", s)
	}
	r.Pass(time.Millisecond)
	r.Beat(l)
	r.Must(r.Read(l))
	r.Want(revoke.StateFresh, revoke.ReasonNone)
	if !r.Refuses("bad") || r.Refuses("good") {
		t.Error("wrong answers after the replay")
	}
}

// TestAgeSurvivesSuspend: the monotonic clock stops while the machine sleeps, and
// the wall clock may be set back; the larger age counts.
func TestAgeSurvivesSuspend(t *testing.T) {
	r, _ := tape.Ready(t)
	asleep := r.Now
	asleep.Wall += int64(time.Hour)
	r.Now = asleep
	r.Want(revoke.StateStale, revoke.ReasonNoHeartbeat)

	r, l := tape.Ready(t)
	r.Now.Mono += int64(20 * time.Second)
	r.Now.Wall -= int64(time.Hour)
	r.Want(revoke.StateStale, revoke.ReasonNoHeartbeat)
	// An own heartbeat needs no clock but its own.
	r.Beat(l)
	r.Must(r.Read(l))
	r.Want(revoke.StateFresh, revoke.ReasonNone)
}

func TestRetention(t *testing.T) {
	var logged bytes.Buffer
	r, l := tape.NewReader(t, revoke.Config{TokenLifetime: 2 * time.Hour, Logger: slog.New(slog.NewTextHandler(&logged, nil))}), &tape.Log{}
	r.Begin(l)
	r.Beat(l)
	r.Must(r.Read(l))
	r.Want(revoke.StateStale, revoke.ReasonRetention)
	if s := logged.String(); !strings.Contains(s, "stream=1h0m0s") || !strings.Contains(s, "list=2h0m0s") {
		t.Errorf("the log does not name both lifetimes: %s", s)
	}
	id := revoke.Identity{Issuer: tape.Issuer, Token: "x", IssuedAt: r.Now.Time()}
	if err := r.List.Check(r.Now, &id, revoke.MaxStaleness(time.Hour)); !errors.Is(err, revoke.ErrStale) {
		t.Errorf("MaxStaleness overrides the retention: %v", err)
	}
	// Retention is read at every subscription.
	r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
	info := l.Info()
	info.Retention.TokenLifetime = 2 * time.Hour
	r.Feed.Begin(r.Now, info)
	r.Want(revoke.StateFresh, revoke.ReasonNone)
	info.Retention = revoke.Retention{}
	r.Feed.Begin(r.Now, info)
	r.Want(revoke.StateStale, revoke.ReasonBadStream)
}

// A List whose MaxSkew is not the log's is not fresh, under no policy: cutoffs would not
// reach as far as its verifiers let tokens be ahead, or further than issuers pass.
func TestMaxSkewIsTheLogs(t *testing.T) {
	for _, c := range []struct{ list, log time.Duration }{{10 * time.Second, 2 * time.Second}, {time.Second, 2 * time.Second}, {2 * time.Second, 10 * time.Second}} {
		var logged bytes.Buffer
		r := tape.NewReader(t, revoke.Config{MaxSkew: c.list, MaxStaleness: 20 * time.Second, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		l := &tape.Log{}
		begin := func(skew time.Duration) {
			l.Skew = skew
			r.Begin(l)
			r.Beat(l)
			r.Must(r.Read(l))
		}
		begin(c.log)
		r.Want(revoke.StateStale, revoke.ReasonMaxSkew)
		id := revoke.Identity{Issuer: tape.Issuer, Token: "x", IssuedAt: r.Now.Time()}
		if err := r.List.Check(r.Now, &id, revoke.MaxStaleness(time.Hour)); !errors.Is(err, revoke.ErrStale) {
			t.Errorf("%v: MaxStaleness overrides it: %v", c, err)
		}
		if s := logged.String(); !strings.Contains(s, "list="+c.list.String()) {
			t.Errorf("%v: the log does not name both: %s", c, s)
		}
		// It is read at every subscription, and heals; the log that says none means 2 s.
		r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
		begin(c.list)
		r.Want(revoke.StateFresh, revoke.ReasonNone)
	}
	r, l := tape.NewReader(t, revoke.Config{}), &tape.Log{}
	i := l.Info()
	i.Retention.MaxSkew = 0
	r.Sub = r.Feed.Begin(r.Now, i)
	r.Beat(l)
	r.Must(r.Read(l))
	r.Want(revoke.StateFresh, revoke.ReasonNone)
}

// A cutoff reaches as far as the log's MaxSkew says, and what the log has said once of a
// larger one holds.
func TestClampingByTheLogsMaxSkew(t *testing.T) {
	r, l := tape.NewReader(t, revoke.Config{MaxSkew: 10 * time.Second, MaxStaleness: 20 * time.Second}), &tape.Log{Skew: 10 * time.Second}
	reach := func(value string, want time.Duration) {
		t.Helper()
		ts := r.Now.Time().Truncate(time.Millisecond)
		e := revoke.Event{Issuer: tape.Issuer, Kind: revoke.KindSubject, Value: value, Before: ts.Add(time.Hour)}
		l.Append(ts, tape.Message{Event: &e})
		r.Must(r.Read(l))
		for d, refused := range map[time.Duration]bool{want: true, want + time.Millisecond: false} {
			id := revoke.Identity{Issuer: tape.Issuer, Subject: value, IssuedAt: ts.Add(d)}
			if got := r.List.Check(r.Now, &id, revoke.InsecureAllow()) != nil; got != refused {
				t.Errorf("%s: issued %s after: refused %v", value, d, got)
			}
		}
	}
	r.Begin(l)
	reach("a", 20*time.Second)
	r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
	l.Skew = time.Second
	r.Begin(l)
	reach("b", 20*time.Second)
}

func TestFaults(t *testing.T) {
	r, l := tape.Ready(t)
	for f := revoke.FaultMalformed; f <= revoke.FaultUnsigned; f++ {
		if f != revoke.FaultCritical {
			l.Append(r.Now.Time(), tape.Message{Fault: f})
		}
	}
	l.Append(r.Now.Time(), tape.Message{Event: &revoke.Event{Issuer: tape.Issuer, Kind: revoke.KindSubject}}) // no value
	l.Revoke(r.Now.Time(), "behind the faults")
	r.Must(r.Read(l))
	r.Want(revoke.StateFresh, revoke.ReasonNone)
	s := r.List.Stats(r.Now)
	if !r.Refuses("behind the faults") || !r.List.Status(r.Now).Degraded || s.Faults[revoke.FaultMalformed] != 2 || len(s.Faults) != 6 {
		t.Errorf("%+v", s)
	}
	later := r.Now.Add(2 * time.Hour)
	if r.List.Status(later).Degraded {
		t.Error("degraded for ever")
	}
}

func TestCriticalEventMakesStaleForATokenLifetime(t *testing.T) {
	r, l := tape.Ready(t)
	l.Append(r.Now.Time(), tape.Message{Fault: revoke.FaultCritical})
	r.Must(r.Read(l))
	r.Want(revoke.StateStale, revoke.ReasonCritical)
	id := revoke.Identity{Issuer: tape.Issuer, Token: "x", IssuedAt: r.Now.Time()}
	if err := r.List.Check(r.Now, &id, revoke.MaxStaleness(24*time.Hour)); !errors.Is(err, revoke.ErrStale) {
		t.Errorf("MaxStaleness overrides a critical event: %v", err)
	}
	// The log server's clock may be a year ahead: it lasts no longer.
	ahead, l2 := tape.Ready(t)
	l2.Append(ahead.Now.Time().Add(365*24*time.Hour), tape.Message{Fault: revoke.FaultCritical})
	ahead.Must(ahead.Read(l2))
	ahead.Want(revoke.StateStale, revoke.ReasonCritical)
	ahead.Pass(time.Hour + time.Second)
	ahead.Beat(l2)
	ahead.Must(ahead.Read(l2))
	ahead.Want(revoke.StateFresh, revoke.ReasonNone)

	r.Pass(time.Hour - time.Second)
	r.Beat(l)
	r.Must(r.Read(l))
	r.Want(revoke.StateStale, revoke.ReasonCritical)
	r.Pass(2 * time.Second)
	r.Want(revoke.StateFresh, revoke.ReasonNone)
}

// TestClamping holds section "limits on what one event may do": the same on every
// replica, by the stream's timestamp.
func TestClamping(t *testing.T) {
	r, l := tape.Ready(t)
	ts := r.Now.Time().Truncate(time.Millisecond)
	for i, c := range []struct {
		name       string
		before, at time.Duration // from the stream timestamp; 0: absent
		cutoff     time.Duration
	}{
		{"absent", 0, 0, 4 * time.Second},
		{"absent, publisher ahead", 0, time.Second, 5 * time.Second},
		{"absent, publisher behind", 0, -time.Second, 4 * time.Second},
		{"absent, publisher as far ahead as may be", 0, 2 * time.Second, 6 * time.Second},
		{"absent, publisher as far behind as may be", 0, -2 * time.Second, 4 * time.Second},
		{"past", -time.Minute, -time.Second, -time.Minute},
		{"the future, no clock", time.Hour, 0, 4 * time.Second},
		{"the future, publisher in step", time.Hour, time.Millisecond, 4*time.Second + time.Millisecond},
		{"broker an hour behind", time.Hour, time.Hour, time.Hour},
		{"broker an hour behind, a little more", time.Hour + 5*time.Second, time.Hour, time.Hour + 4*time.Second},
		{"publisher mad", 48 * time.Hour, 48 * time.Hour, 24*time.Hour + 4*time.Second},
		{"broker an hour ahead", -time.Hour, -time.Hour, -time.Hour},
	} {
		e := revoke.Event{Issuer: tape.Issuer, Kind: revoke.KindSubject, Value: fmt.Sprint("u", i)}
		if c.before != 0 {
			e.Before = ts.Add(c.before)
		}
		if c.at != 0 {
			e.At = ts.Add(c.at)
		}
		l.Append(ts, tape.Message{Event: &e})
		r.Must(r.Read(l))
		for d, want := range map[time.Duration]bool{c.cutoff: true, c.cutoff + time.Millisecond: false} {
			id := revoke.Identity{Issuer: tape.Issuer, Subject: e.Value, IssuedAt: ts.Add(d)}
			if got := r.List.Check(r.Now, &id, revoke.InsecureAllow()) != nil; got != want {
				t.Errorf("%s: a token issued at %+d ms is refused: %v", c.name, d.Milliseconds(), got)
			}
		}
	}
	if n := r.List.Stats(r.Now).BrokerClock; n != 4 {
		t.Errorf("%d events told of a broker clock, want 4", n)
	}
	// Until: at most the longest retention and a day; ten years for keys.
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
		e := revoke.Event{Issuer: tape.Issuer, Kind: c.kind, Value: c.value}
		if c.until != 0 {
			e.Until = ts.Add(c.until)
		}
		l.Append(ts, tape.Message{Event: &e})
		r.Must(r.Read(l))
		id := revoke.Identity{Issuer: tape.Issuer, IssuedAt: ts}
		if c.kind == revoke.KindToken {
			id.Token = c.value
		} else {
			id.Key = c.value
		}
		for d, want := range map[time.Duration]bool{c.life + grace - time.Second: true, c.life + grace + 2*time.Second: false} {
			if got := r.List.Check(r.Now.Add(d), &id, revoke.InsecureAllow()) != nil; got != want {
				t.Errorf("%s %.4s: refused after %s: %v, want %v", c.kind, c.value, d, got, want)
			}
		}
	}
}

// What another program has published for a shorter time than tokens live counts for as
// long as they do: from the stream's timestamp, or from a cutoff that lies back.
func TestReceivedEventOutlivesTokens(t *testing.T) {
	for _, k := range []revoke.Kind{revoke.KindToken, revoke.KindSession, revoke.KindSubject, revoke.KindClient, revoke.KindTenant, revoke.KindIssuer} {
		for _, c := range []struct{ before, until, life time.Duration }{
			{0, time.Minute, time.Hour},
			{0, -time.Hour, time.Hour},
			{0, time.Hour - time.Second, time.Hour},
			{0, 2 * time.Hour, 2 * time.Hour},
			{-10 * time.Minute, time.Minute, 50 * time.Minute},
			{-10 * time.Minute, 55 * time.Minute, 55 * time.Minute},
		} {
			r, l := tape.Ready(t)
			ts := r.Now.Time().Truncate(time.Second)
			e := revoke.Event{Issuer: tape.Issuer, Kind: k, Value: "x", Until: ts.Add(c.until), At: ts}
			id := revoke.Identity{Issuer: tape.Issuer, IssuedAt: ts.Add(c.before), Token: "x", Session: "x", Subject: "x", Client: "x", Tenant: "x"}
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
			l.Append(ts, tape.Message{Event: &e})
			r.Must(r.Read(l))
			for d, want := range map[time.Duration]bool{c.life + grace - time.Second: true, c.life + grace + 2*time.Second: false} {
				if got := d >= 0 && r.List.Check(revoke.At(ts).Add(d), &id, revoke.InsecureAllow()) != nil; d >= 0 && got != want {
					t.Errorf("%s before %s until %s: refused after %s: %v, want %v", k, c.before, c.until, d, got, want)
				}
			}
		}
	}
}

func TestOneFeedAtATime(t *testing.T) {
	r, l := tape.Ready(t)
	if _, err := replica.NewFeed(r.List); !errors.Is(err, revoke.ErrFollowed) {
		t.Errorf("a second feed: %v", err)
	}
	r.Feed.Close(r.Now)
	r.Feed.Close(r.Now)
	r.Must(r.Deliver(&l.Messages[0], r.N+1))
	r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
	r.Pass(16 * time.Second)
	r.Want(revoke.StateStale, revoke.ReasonClosed)
	if !r.Refuses("old0") {
		t.Error("Close forgets")
	}
	f, err := replica.NewFeed(r.List)
	if err != nil {
		t.Fatal(err)
	}
	r.Feed = f
	r.Begin(l)
	r.Must(r.Read(l))
	r.Pass(time.Millisecond)
	r.Beat(l)
	r.Must(r.Read(l))
	r.Want(revoke.StateFresh, revoke.ReasonNone)
	local, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replica.NewFeed(local); !errors.Is(err, revoke.ErrFollowed) {
		t.Errorf("a Local list was fed: %v", err)
	}
}

func TestForeignIssuersAreCounted(t *testing.T) {
	var logged bytes.Buffer
	r, l := tape.NewReader(t, revoke.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}), &tape.Log{}
	r.Begin(l)
	r.List.ExpectIssuer(tape.Issuer)
	r.List.ExpectIssuer(tape.Issuer)
	r.List.ExpectIssuer("https://b.example.com")
	l.Revoke(r.Now.Time(), "mine")
	l.Append(r.Now.Time(), tape.Message{Event: &revoke.Event{Issuer: tape.Issuer + "/", Kind: revoke.KindToken, Value: "x"}})
	r.Must(r.Read(l))
	if n := r.List.Stats(r.Now).ForeignIssuer; n != 1 {
		t.Errorf("%d foreign events, want 1", n)
	}
	// Named in the log, once a minute.
	for range 100 {
		l.Append(r.Now.Time(), tape.Message{Event: &revoke.Event{Issuer: tape.Issuer + "/", Kind: revoke.KindToken, Value: "x"}})
	}
	r.Must(r.Read(l))
	if n := strings.Count(logged.String(), tape.Issuer+"/"); n != 1 {
		t.Errorf("named %d times in\n%s", n, &logged)
	}
}
