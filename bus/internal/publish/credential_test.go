package publish

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Made up; it opens nothing.
const someJWT = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJhIn0.c2lnbmF0dXJl"

// No way in takes a credential, and none tells it.
func TestCredentialsAreNotPublished(t *testing.T) {
	p := &Publisher{issuers: []string{testIssuer}}
	for field, e := range map[string]revoke.Event{
		"value":  {Kind: revoke.KindToken, Value: someJWT},
		"issuer": {Issuer: someJWT, Kind: revoke.KindToken, Value: "jti"},
		"keep":   {Kind: revoke.KindSubject, Value: "u", Keep: []string{someJWT}},
		"reason": {Kind: revoke.KindSession, Value: "s", Reason: "leaked " + someJWT},
		"actor":  {Kind: revoke.KindSession, Value: "s", Actor: someJWT},
		"id":     {ID: someJWT, Kind: revoke.KindSession, Value: "s"},
	} {
		if _, err := p.own(e); !errors.Is(err, revoke.ErrCredential) || !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), someJWT[40:]) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := p.own(revoke.Event{Kind: revoke.KindToken, Value: "jti"}); err != nil {
		t.Error(err)
	}
}

// What an outbox holds that was written by a version which looked less closely is not
// published as it stands.
func TestOutboxPublishesNoCredentials(t *testing.T) {
	until := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	entry := func(id, signature string, seq uint64, e revoke.Event) []byte {
		e.Issuer, e.Until, e.At = testIssuer, until, time.Now().Truncate(time.Millisecond)
		payload, err := wire.EncodeEvent(&e)
		if err != nil {
			t.Fatal(err)
		}
		line := encodeOutboxEntry(&outboxEntry{op: "put", id: id, subject: wire.Subject(testIssuer, e.Kind), payload: string(payload), signature: signature, gone: until, seq: seq})
		return line
	}
	file := bytes.Join([][]byte{
		outboxLine([]byte(fmt.Sprintf(`{"iss":%q,"v":1}`, testIssuer))),
		entry("value", "", 0, revoke.Event{Kind: revoke.KindToken, Value: someJWT}),
		entry("reason", "", 0, revoke.Event{ID: "1", Kind: revoke.KindSession, Value: "s", Reason: someJWT, Actor: "admin"}),
		entry("signed", "x", 0, revoke.Event{Kind: revoke.KindSubject, Value: "u", Reason: someJWT}),
		entry("stored", "", 7, revoke.Event{Kind: revoke.KindSession, Value: "s", Reason: someJWT}),
		entry("good", "", 0, revoke.Event{Kind: revoke.KindSession, Value: "s", Reason: "logout"}),
	}, nil)
	alive, damaged, why, err := readOutbox(bytes.NewReader(file), []string{testIssuer}, time.Now())
	if err != nil || damaged != 1 || why == nil || strings.Contains(why.Error(), someJWT[:20]) {
		t.Fatalf("%d damaged, %v, %v", damaged, why, err)
	}
	if len(alive) != 4 || alive["value"] != nil {
		t.Fatalf("alive: %v", alive)
	}
	for id, holds := range map[string]bool{"reason": false, "signed": true, "stored": true, "good": false} {
		msg, fault := decode(alive[id].subject, alive[id].payload)
		if fault != 0 || bytes.Contains(alive[id].payload, []byte(someJWT)) != holds || !msg.Event.Until.Equal(until) {
			t.Errorf("%s: %s", id, alive[id].payload)
		}
	}
}
