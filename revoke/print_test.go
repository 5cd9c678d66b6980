package revoke_test

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/printtest"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestPrintingIsHarmless prints every exported type in every way while events are
// applied and tokens checked: the race detector sees no writer disturbed, and the hash key
// is nowhere (invariant 10).
func TestPrintingIsHarmless(t *testing.T) {
	l, err := revoke.NewList(revoke.Config{StateFile: filepath.Join(t.TempDir(), "state")})
	if err != nil {
		t.Fatal(err)
	}
	feed, err := replica.NewFeed(l)
	if err != nil {
		t.Fatal(err)
	}
	l.ExpectIssuer(iss)
	now := revoke.Now()
	defer feed.Close(now)
	id := revoke.Identity{Issuer: iss, Token: "a", Session: "b", Subject: "c", IssuedAt: now.Time()}
	prepared := l.Prepare(&id)
	event := revoke.Event{Issuer: iss, Kind: revoke.KindSubject, Value: "u", Keep: []string{"s"}}
	if err := l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "gone"}); err != nil {
		t.Fatal(err)
	}
	gone := revoke.Identity{Issuer: iss, Token: "gone"}
	refused := l.Check(now, &gone, revoke.Deny())
	var revoked *revoke.RevokedError
	var stale *revoke.StaleError
	if !errors.As(refused, &revoked) || !errors.As(l.Check(now, &id, revoke.Deny()), &stale) {
		t.Fatal("no errors")
	}

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			l.Apply(now, revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: strconv.Itoa(i % 5000)})
			prepared.Check(now, revoke.Deny())
			l.ExpectIssuer("https://" + strconv.Itoa(i%10))
			feed.Sent(now, [16]byte{byte(i), byte(i >> 8)})
			time.Sleep(time.Microsecond) // others run on this machine
		}
	})
	table := map[string]any{
		"List": l, "Prepared": prepared, "Feed": feed, "Config": l.Config(), "Status": l.Status(now), "Stats": l.Stats(now), "StateFileStatus": l.StateFile(),
		"Event": event, "Identity": id, "Retention": revoke.DefaultRetention(), "Instant": now, "Policy": revoke.AllowYounger(time.Minute),
		"RevokedError": revoked, "StaleError": stale, "Receipt": revoke.Receipt{Event: event}, "Record": replica.Record{Data: []byte("{}")},
		"Heartbeat": replica.Heartbeat{}, "LogInfo": replica.LogInfo{}, "Subscription": replica.Subscription{}, "Kind": revoke.KindSubject,
		"State": revoke.StateFresh, "Reason": revoke.ReasonRetention, "Fault": revoke.FaultKind,
		"Digest": replica.Digest{}, "LogDigest": new(replica.LogDigest),
		"Valid": must(replica.Validate(event)), "Received": must(replica.Receive(event)),
		"refusal": refused,
	}
	printtest.HoldsAll(t, ".", table)
	printtest.HoldsAll(t, "../internal/replica", table)
	key := l.HashKey()
	forms := printtest.Words(key[:]...)
	for name, v := range table {
		out := printtest.Prints(v)
		if name == "List" {
			out += printtest.Hidden(v)
		}
		if found := printtest.Leaks(out, forms); len(found) > 0 {
			t.Errorf("%s shows the hash key: %q", name, found)
		}
		if len(out) < 100 {
			t.Errorf("%s prints as %q", name, out)
		}
	}
	close(stop)
	wg.Wait()
	for name, v := range table {
		if list, ok := v.(*revoke.List); ok {
			v = *list // a copy, whose pointers stand one less deep
		}
		if found := printtest.Leaks(printtest.Hidden(v), forms); len(found) > 0 {
			t.Errorf("%s, hidden, shows the hash key: %q", name, found)
		}
	}

	for _, v := range []any{l, prepared, feed, new(revoke.List), (*replica.Feed)(nil), (*revoke.Prepared)(nil), new(replica.Feed), new(revoke.Prepared)} {
		if out := printtest.Prints(v); strings.Contains(out, "PANIC") {
			t.Errorf("printing %T panics: %.300s", v, out)
		}
	}
	if s := l.String(); !strings.Contains(s, "syncing") || !strings.Contains(s, "revocations") {
		t.Errorf("a List prints as %s", s)
	}
}

// TestRefusalsCannotBeChanged: the error of a check is shared by all who are refused, so
// that it must be nobody's to write to. What errors.As finds is the caller's own.
func TestRefusalsCannotBeChanged(t *testing.T) {
	l, now := localList(t), revoke.Now()
	events := []revoke.Event{{Kind: revoke.KindToken, Value: "t"}, {Kind: revoke.KindSession, Value: "s"}, {Kind: revoke.KindSubject, Value: "u"}, {Kind: revoke.KindKey, Value: thumbprint}, {Kind: revoke.KindIssuer}}
	for i := range events {
		events[i].Issuer = iss
		if i == len(events)-1 {
			events[i].Issuer += "/other"
		}
		if err := l.Apply(now, events[i]); err != nil {
			t.Fatal(err)
		}
	}
	ids := []revoke.Identity{{Token: "t"}, {Session: "s"}, {Subject: "u"}, {Key: thumbprint}, {}}
	for i, id := range ids {
		id.Issuer, id.IssuedAt = events[i].Issuer, now.Time().Add(-time.Minute)
		want := events[i].Kind
		for name, check := range map[string]func() error{
			"Check":    func() error { return l.Check(now, &id, revoke.Deny()) },
			"Prepared": func() error { return l.Prepare(&id).Check(now, revoke.Deny()) },
		} {
			var first, second *revoke.RevokedError
			if err := check(); !errors.Is(err, revoke.ErrRevoked) || errors.Is(err, revoke.ErrUnavailable) || !errors.As(err, &first) || first.Kind != want {
				t.Fatalf("%s: %v", name, err)
			}
			first.Kind = 0 // what a caller does to its own
			err := check()
			if !errors.As(err, &second) || second.Kind != want || second == first {
				t.Errorf("%s of kind %s: another caller got %v", name, want, second)
			}
			if s := "revoke: token revoked by " + want.String(); err.Error() != s || second.Error() != s {
				t.Errorf("%q and %q, want %q", err, second, s)
			}
			var other *revoke.StaleError
			if errors.As(err, &other) {
				t.Error("a refusal is a StaleError")
			}
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A List prints whether it can vouch for tokens, and if not why.
func TestListPrintsItsState(t *testing.T) {
	r, log := tape.NewReader(t, revoke.Config{}), &tape.Log{}
	r.Begin(log)
	r.Beat(log)
	r.Must(r.Read(log))
	stale, other := tape.NewReader(t, revoke.Config{}), &tape.Log{}
	stale.Now = stale.Now.Add(-time.Hour)
	stale.Begin(other)
	stale.Beat(other)
	stale.Must(stale.Read(other))
	for want, l := range map[string]*revoke.List{
		"revoke.List{local, 0 revocations settled}":                localList(t),
		"revoke.List{fresh, 0 revocations settled}":                r.List,
		"revoke.List{stale (no heartbeat), 0 revocations settled}": stale.List,
	} {
		if got := l.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
