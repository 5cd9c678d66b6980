package publish

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Member publishes for the issuers that it names, each to the letter, and guesses none:
// an event without one is of the only one, or of nobody.
func TestMemberOfSeveralIssuers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partner = "https://partner.example.com"
		s, b := newScripted(t, config{Issuers: []string{partner, testIssuer}})
		defer b.end()
		for _, iss := range []string{testIssuer, partner} {
			r, err := b.publisher.Publish(t.Context(), revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: "s"})
			if err != nil || r.Event.Issuer != iss {
				t.Errorf("%s: %v, %+v", iss, err, r.Event)
			}
		}
		events := func() (n int) {
			s.Do(func() { n = s.Events })
			return n
		}
		stored := events()
		for _, iss := range []string{"", partner + "/", "https://other.example.com"} {
			_, err := b.publisher.Publish(t.Context(), revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: "s"})
			if !errors.Is(err, revoke.ErrInvalidEvent) || !strings.Contains(err.Error(), "issuer") {
				t.Errorf("%q: %v", iss, err)
			}
		}
		if n := events() - stored; n != 0 {
			t.Errorf("%d events stored of none that may be", n)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		_, b := newScripted(t, config{})
		defer b.end()
		if r, err := b.publisher.Publish(t.Context(), revoke.Event{Kind: revoke.KindSession, Value: "s"}); err != nil || r.Event.Issuer != testIssuer {
			t.Errorf("of the only issuer: %v, %+v", err, r.Event)
		}
	})
}

// An outbox is opened by a Member of all the issuers whose events it holds, and of more;
// one that lacks an issuer would leave that issuer's revocations lying, and is refused.
func TestOutboxOfSeveralIssuers(t *testing.T) {
	const partner = "https://partner.example.com"
	path := filepath.Join(t.TempDir(), "outbox")
	put := func(iss, sid string, issuers ...string) {
		t.Helper()
		o, _, damaged, err := openOutbox(path, issuers...)
		if err != nil || damaged != 0 {
			t.Fatalf("%v, %d damaged", err, damaged)
		}
		defer o.close()
		e := revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: sid, Until: time.Now().Add(time.Hour)}
		payload, err := wire.EncodeEvent(&e)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.put(time.Now(), &record{subject: wire.Subject(iss, e.Kind), payload: payload, gone: e.Until}); err != nil {
			t.Fatal(err)
		}
	}
	put(testIssuer, "one", testIssuer)
	put(partner, "two", partner, testIssuer) // what one issuer wrote, two may go on with
	for _, issuers := range [][]string{{testIssuer}, {partner}, {testIssuer, partner + "/"}} {
		if _, _, _, err := openOutbox(path, issuers...); !errors.Is(err, ErrOutbox) || !strings.Contains(err.Error(), "issuer") {
			t.Errorf("%q: %v", issuers, err)
		}
	}
	const third = "https://third.example.com"
	o, alive, damaged, err := openOutbox(path, testIssuer, partner, third)
	if err != nil || damaged != 0 || len(alive) != 2 {
		t.Fatalf("%v, %d damaged, %d alive", err, damaged, len(alive))
	}
	o.close()
	// One whose events are gone can be left out again.
	if o, alive, _, err = openOutbox(path, testIssuer, partner); err != nil || len(alive) != 2 {
		t.Fatalf("without one that holds nothing: %v, %d alive", err, len(alive))
	}
	o.close()
}
