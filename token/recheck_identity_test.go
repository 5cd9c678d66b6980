package token_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// stored is the identity of a good token, as it comes back from where it was kept.
func stored(t testing.TB, users *tokentest.Auth, change ...func(*issue.Request)) revoke.Identity {
	t.Helper()
	raw := users.Token(change...)
	claims, err := users.Verifier.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := json.Marshal(claims.Identity())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(raw, ".")
	if strings.Contains(string(kept), parts[1]) || strings.Contains(string(kept), parts[2]) {
		t.Fatal("a part of the token is kept")
	}
	var id revoke.Identity
	if err := json.Unmarshal(kept, &id); err != nil {
		t.Fatal(err)
	}
	if id != claims.Identity() {
		t.Fatalf("%s comes back as %+v", kept, id)
	}
	return id
}

// Each kind of event refuses what was kept, and what it does not concern goes on.
func TestRecheckIdentityRevoked(t *testing.T) {
	tenant := func(r *issue.Request) { r.Tenant = "tenant-1" }
	for kind, value := range map[revoke.Kind]func(revoke.Identity) string{
		revoke.KindToken:   func(id revoke.Identity) string { return id.Token },
		revoke.KindSession: func(id revoke.Identity) string { return id.Session },
		revoke.KindSubject: func(id revoke.Identity) string { return id.Subject },
		revoke.KindClient:  func(id revoke.Identity) string { return id.Client },
		revoke.KindTenant:  func(id revoke.Identity) string { return id.Tenant },
		revoke.KindKey:     func(id revoke.Identity) string { return id.Key },
		revoke.KindIssuer:  func(revoke.Identity) string { return "" },
	} {
		t.Run(kind.String(), func(t *testing.T) {
			users := tokentest.New(t)
			id := stored(t, users, tenant)
			if v := value(id); v != "" && kind != revoke.KindKey {
				users.Revoke(revoke.Event{Kind: kind, Value: v + "-other"})
			}
			if err := users.Verifier.RecheckIdentity(t.Context(), id); err != nil {
				t.Fatalf("before it is revoked: %v", err)
			}
			users.Revoke(revoke.Event{Kind: kind, Value: value(id)})
			err := users.Verifier.RecheckIdentity(t.Context(), id)
			if !errors.Is(err, token.ErrInvalidToken) || !errors.Is(err, revoke.ErrRevoked) {
				t.Errorf("error %v", err)
			}
			if got := users.Verifier.Status().Refused["revoked"]; got != 1 {
				t.Errorf("%d counted as revoked", got)
			}
		})
	}
}

// A password change spares the session that it was made in, and what was issued after it.
func TestRecheckIdentityKept(t *testing.T) {
	users := tokentest.New(t)
	session := func(sid string) func(*issue.Request) { return func(r *issue.Request) { r.Session = sid } }
	here, there := stored(t, users, session("here")), stored(t, users, session("there"))
	users.Revoke(revoke.Event{Kind: revoke.KindSubject, Value: "user-1", Before: here.MintedAt.Add(-time.Millisecond)})
	for _, id := range []revoke.Identity{here, there} {
		if err := users.Verifier.RecheckIdentity(t.Context(), id); err != nil {
			t.Errorf("issued after the cutoff: %v", err)
		}
	}
	users.Revoke(revoke.Event{Kind: revoke.KindSubject, Value: "user-1", Keep: []string{"here"}})
	if err := users.Verifier.RecheckIdentity(t.Context(), here); err != nil {
		t.Errorf("the kept session: %v", err)
	}
	if err := users.Verifier.RecheckIdentity(t.Context(), there); !errors.Is(err, revoke.ErrRevoked) {
		t.Errorf("the other: %v", err)
	}
}

// What is no identity of a verified token, or of one that is over, is refused.
func TestRecheckIdentityRefuses(t *testing.T) {
	users := tokentest.New(t)
	good := stored(t, users)
	for _, c := range []struct {
		cause  string
		change func(*revoke.Identity)
		opts   []token.VerifyOption
	}{
		{"", func(*revoke.Identity) {}, nil},
		{"", func(id *revoke.Identity) { id.Session, id.MintedAt = "", time.Time{} }, nil},
		{"issuer", func(id *revoke.Identity) { *id = revoke.Identity{} }, nil},
		{"issuer", func(id *revoke.Identity) { id.Issuer += "/" }, nil},
		{"claims", func(id *revoke.Identity) { id.Token = "" }, nil},
		{"claims", func(id *revoke.Identity) { id.Subject = "" }, nil},
		{"claims", func(id *revoke.Identity) { id.Client = "" }, nil},
		{"claims", func(id *revoke.Identity) { id.Key = "" }, nil},
		{"claims", func(id *revoke.Identity) { id.IssuedAt = time.Time{} }, nil},
		{"claims", func(id *revoke.Identity) { id.ExpiresAt = time.Time{} }, nil},
		{"claims", func(id *revoke.Identity) { id.Subject = strings.Repeat("x", revoke.MaxValueBytes+1) }, nil},
		{"claims", func(id *revoke.Identity) { id.Session = " session-1" }, nil},
		{"claims", func(id *revoke.Identity) { id.MintedAt = id.IssuedAt.Add(-time.Millisecond) }, nil},
		{"claims", func(id *revoke.Identity) { id.ExpiresAt = id.IssuedAt }, nil},
		{"expired", func(id *revoke.Identity) { id.ExpiresAt = time.Now().Add(-time.Minute) }, nil},
		{"not_yet_valid", func(id *revoke.Identity) { id.IssuedAt = time.Now().Add(time.Minute) }, nil},
		{"not_yet_valid", func(id *revoke.Identity) { id.MintedAt = time.Now().Add(time.Minute) }, nil},
		{"lifetime", func(id *revoke.Identity) { id.ExpiresAt = id.IssuedAt.Add(25 * time.Hour) }, nil},
		{"scope", func(*revoke.Identity) {}, []token.VerifyOption{token.RequireScope("write")}},
		{"authentication", func(*revoke.Identity) {}, []token.VerifyOption{token.RequireFresh(time.Hour)}},
		{"authentication", func(*revoke.Identity) {}, []token.VerifyOption{token.RequireACR("mfa")}},
	} {
		id := good
		c.change(&id)
		err := users.Verifier.RecheckIdentity(t.Context(), id, c.opts...)
		if got := token.Cause(err); got != c.cause {
			t.Errorf("%+v: cause %q, want %q (error: %v)", id, got, c.cause, err)
		}
		if err != nil && (strings.Contains(err.Error(), good.Token) || strings.Contains(err.Error(), good.Subject)) {
			t.Errorf("a claim's value in %q", err)
		}
	}
}

// A replica that cannot prove itself says so, and the policy of the call decides.
func TestRecheckIdentityStale(t *testing.T) {
	id := stored(t, tokentest.New(t))
	unfed, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	users := tokentest.New(t, func(c *token.VerifierConfig) { c.Revocations = unfed })
	err = users.Verifier.RecheckIdentity(t.Context(), id)
	if !errors.Is(err, token.ErrUnavailable) || !errors.Is(err, revoke.ErrStale) || errors.Is(err, token.ErrInvalidToken) {
		t.Errorf("error %v", err)
	}
	if err := users.Verifier.RecheckIdentity(t.Context(), id, token.WithStalePolicy(revoke.InsecureAllow())); err != nil {
		t.Errorf("where the policy allows it: %v", err)
	}
}

// hyt_at of an issuer that is not ours outruns no cutoff.
func TestRecheckIdentityForeign(t *testing.T) {
	id := stored(t, tokentest.New(t))
	users := tokentest.New(t, func(c *token.VerifierConfig) { c.OwnIssuer = false })
	users.Revoke(revoke.Event{Kind: revoke.KindSubject, Value: id.Subject, Before: id.MintedAt})
	id.MintedAt = id.MintedAt.Add(time.Millisecond)
	if err := users.Verifier.RecheckIdentity(t.Context(), id); !errors.Is(err, revoke.ErrRevoked) {
		t.Errorf("error %v", err)
	}
}

// Of several issuers the one is asked that the identity names.
func TestRecheckIdentityOneOf(t *testing.T) {
	users := tokentest.New(t)
	other := tokentest.New(t, func(c *token.VerifierConfig) { c.Issuer, c.DPoP = "https://other.example.com", users.DPoP })
	both, err := token.OneOf(users.Verifier, other.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	id := stored(t, users)
	if err := both.RecheckIdentity(t.Context(), id); err != nil {
		t.Error(err)
	}
	users.Revoke(revoke.Event{Kind: revoke.KindSession, Value: id.Session})
	if err := both.RecheckIdentity(t.Context(), id); !errors.Is(err, revoke.ErrRevoked) {
		t.Errorf("error %v", err)
	}
	id.Issuer = "https://third.example.com"
	if err := both.RecheckIdentity(t.Context(), id); token.Cause(err) != "issuer" {
		t.Errorf("error %v", err)
	}
}

// What was kept may come back as anything. What passes is complete, in force and not revoked.
func FuzzRecheckIdentity(f *testing.F) {
	users := tokentest.New(f)
	id := stored(f, users)
	good, err := json.Marshal(id)
	if err != nil {
		f.Fatal(err)
	}
	users.Revoke(revoke.Event{Kind: revoke.KindSubject, Value: "banned"})
	f.Add(good)
	f.Add([]byte(strings.Replace(string(good), "user-1", "banned", 1)))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"iss":"` + id.Issuer + `","jti":"1","sub":"user-1","client_id":"c","key":"k","iat":"0001-01-01T00:00:00Z","exp":"9999-12-31T23:59:59Z"}`))
	f.Fuzz(func(t *testing.T, kept []byte) {
		var id revoke.Identity
		if json.Unmarshal(kept, &id) != nil {
			return
		}
		if users.Verifier.RecheckIdentity(t.Context(), id) != nil {
			return
		}
		now := time.Now()
		if id.Issuer != tokentest.Issuer || id.Token == "" || id.Subject == "" || id.Client == "" || id.Key == "" || id.Subject == "banned" ||
			id.ExpiresAt.Before(now.Add(-time.Minute)) || id.IssuedAt.After(now.Add(time.Minute)) || id.ExpiresAt.Sub(id.IssuedAt) > time.Hour {
			t.Errorf("accepted: %s", kept)
		}
	})
}
