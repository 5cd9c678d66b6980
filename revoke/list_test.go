package revoke_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

const iss = "https://auth.example.com"

func localList(t testing.TB) *revoke.List {
	t.Helper()
	l, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestEachKindRevokesWhatItNamesAndNothingElse(t *testing.T) {
	now := revoke.Now()
	iat := now.Time().Add(-time.Minute)
	id := revoke.Identity{
		Issuer: iss, Token: "t1", Session: "s1", Subject: "u1", Client: "c1", Tenant: "x1",
		Key: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", IssuedAt: iat,
	}
	for k := revoke.KindToken; k <= revoke.KindIssuer; k++ {
		t.Run(k.String(), func(t *testing.T) {
			l := localList(t)
			if err := l.Check(now, &id, revoke.Deny()); err != nil {
				t.Fatalf("before: %v", err)
			}
			e := revoke.Event{Issuer: iss, Kind: k, Value: map[revoke.Kind]string{
				revoke.KindToken: "t1", revoke.KindSession: "s1", revoke.KindSubject: "u1", revoke.KindClient: "c1",
				revoke.KindTenant: "x1", revoke.KindKey: id.Key,
			}[k]}
			if err := l.Apply(now, e); err != nil {
				t.Fatal(err)
			}
			err := l.Check(now, &id, revoke.InsecureAllow())
			var re *revoke.RevokedError
			if !errors.Is(err, revoke.ErrRevoked) || !errors.As(err, &re) || re.Kind != k {
				t.Fatalf("after: %v", err)
			}
			// The same values under another issuer are another token's.
			other := id
			other.Issuer = iss + "/"
			if err := l.Check(now, &other, revoke.Deny()); err != nil {
				t.Errorf("other issuer: %v", err)
			}
			// A value of another kind is another value.
			swapped := revoke.Identity{Issuer: iss, Token: "s1", Session: "u1", Subject: "c1", Client: "t1", Tenant: "u1", IssuedAt: iat}
			if k != revoke.KindIssuer {
				if err := l.Check(now, &swapped, revoke.Deny()); err != nil {
					t.Errorf("swapped values: %v", err)
				}
			}
			if k.Cutoff() {
				later := id
				later.IssuedAt = now.Time().Add(4*time.Second + 2*time.Millisecond)
				if err := l.Check(now, &later, revoke.Deny()); err != nil {
					t.Errorf("invariant 5: a later login: %v", err)
				}
				none := id
				none.IssuedAt = time.Time{}
				if err := l.Check(now, &none, revoke.Deny()); err == nil {
					t.Error("a token without iat passed a cutoff")
				}
			}
		})
	}
}
