package revoke_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A state file of the version before is read: what it holds is refused, and nothing else;
// and it is written again. It was written, as this test reads it, on the clock of a bubble.
func TestStateFileOfTheVersionBefore(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "written-by-601627d", "state"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	const entries = 107
	written := time.UnixMilli(946_774_860_000)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(written.Add(time.Minute)))
		for round := range 2 { // the second time as this version has written it
			l, err := revoke.NewList(revoke.Config{Local: true, StateFile: path})
			if err != nil {
				t.Fatal(err)
			}
			if s := l.StateFile(); !s.Restored || s.Entries < entries || s.Ignored != nil {
				t.Fatalf("round %d: %+v", round, s)
			}
			token := func(change func(*revoke.Identity)) *revoke.Identity {
				id := revoke.Identity{Issuer: "https://auth.example.com", Token: "other", Session: "other", Subject: "other", Client: "other", Tenant: "other",
					Key: strings.Repeat("A", 43), IssuedAt: written.Add(-time.Second)}
				change(&id)
				return &id
			}
			check := func(what string, revoked bool, change func(*revoke.Identity)) {
				t.Helper()
				if err := l.Check(revoke.Now(), token(change), revoke.Deny()); errors.Is(err, revoke.ErrRevoked) != revoked || !revoked && err != nil {
					t.Errorf("round %d: %s: %v, want revoked: %t", round, what, err, revoked)
				}
			}
			check("nothing of it", false, func(*revoke.Identity) {})
			check("token", true, func(id *revoke.Identity) { id.Token = "jti-1" })
			check("session", true, func(id *revoke.Identity) { id.Session = "session-9" })
			check("client", true, func(id *revoke.Identity) { id.Client = "client-9" })
			check("tenant", true, func(id *revoke.Identity) { id.Tenant = "tenant-9" })
			check("key", true, func(id *revoke.Identity) { id.Key = strings.Repeat("B", 42) + "A" })
			check("issuer", true, func(id *revoke.Identity) { id.IssuedAt = written.Add(-time.Hour) })
			check("of another issuer", false, func(id *revoke.Identity) { id.Issuer, id.Session = "https://other.example.com", "session-9" })
			for kind, change := range map[string]func(*revoke.Identity){
				"subject": func(id *revoke.Identity) { id.Subject = "user-9" }, "client": func(id *revoke.Identity) { id.Client = "client-9" }, "tenant": func(id *revoke.Identity) { id.Tenant = "tenant-9" },
			} {
				check(kind+", a login after the cutoff", false, func(id *revoke.Identity) { change(id); id.IssuedAt = written.Add(time.Millisecond) })
			}
			// Two events of one subject: each spares what it keeps.
			for sid, at := range map[string]time.Duration{"other": 0, "kept-1": -time.Minute, "kept-3": 0} {
				check("not kept: "+sid, true, func(id *revoke.Identity) { id.Subject, id.Session, id.IssuedAt = "user-9", sid, written.Add(at) })
			}
			check("kept by both", false, func(id *revoke.Identity) { id.Subject, id.Session = "user-9", "kept-2" })
			check("kept by the later", false, func(id *revoke.Identity) { id.Subject, id.Session = "user-9", "kept-1" })
			for i := range 100 {
				sid := fmt.Sprintf("many-%c%c", 'a'+i%26, 'a'+i/26)
				check(sid, true, func(id *revoke.Identity) { id.Session = sid })
			}
			if err := l.Apply(revoke.Now(), revoke.Event{Issuer: "https://auth.example.com", Kind: revoke.KindSession, Value: fmt.Sprint("round ", round)}); err != nil {
				t.Fatal(err)
			}
			if err := l.SaveState(revoke.Now()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
