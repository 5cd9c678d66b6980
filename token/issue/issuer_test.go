package issue_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// Every claim that goes in comes out of a verifier, under every algorithm.
func TestIssueRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1234567 * time.Microsecond)
		now := time.Now()
		for _, alg := range []token.Algorithm{token.EdDSA, token.ES256, token.ES384, token.ES512, token.RS256, token.PS256} {
			ring := forge.Ring(t, issue.KeyringConfig{Algorithm: alg})
			issued := forge.Issue(t, forge.NewIssuer(t, ring, nil), issue.Request{
				Subject: "user-1", Client: "web", Session: "s-1", Tenant: "acme", Audience: []string{"billing", forge.Audience},
				Scope: []string{"orders:read", "orders:write"}, AuthTime: now.Add(-time.Minute), ACR: "aal2", AMR: []string{"pwd", "otp"},
				Claims:    map[string]any{"roles": []string{"admin"}, "n": json.Number("12345678901234567890"), "https://example.com/a": map[string]any{"b": nil}},
				NotBefore: now,
			})
			if want := `{"alg":"` + string(alg) + `","typ":"at+jwt","kid":"` + ring.Active().ID() + `"}`; forge.HeaderOf(t, issued.Raw()) != want {
				t.Errorf("header %s, want %s", forge.HeaderOf(t, issued.Raw()), want)
			}
			got, err := forge.RingVerifier(t, ring, alg).Verify(t.Context(), issued.Raw())
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			for name, c := range map[string]*token.Claims{"verified": got, "issued": issued.Claims()} {
				if c.Issuer() != forge.Issuer || c.Subject() != "user-1" || c.ClientID() != "web" || c.SessionID() != "s-1" || c.Tenant() != "acme" ||
					!slices.Equal(c.Audience(), []string{"billing", forge.Audience}) || !slices.Equal(c.Scopes(), []string{"orders:read", "orders:write"}) ||
					c.ACR() != "aal2" || !slices.Equal(c.AMR(), []string{"pwd", "otp"}) {
					t.Errorf("%s %s: %+v", alg, name, c)
				}
				second := now.Truncate(time.Second)
				if !c.MintedAt().Equal(now.Truncate(time.Millisecond)) {
					t.Errorf("%s %s: hyt_at %s", alg, name, c.MintedAt())
				}
				if !c.IssuedAt().Equal(second) || !c.NotBefore().Equal(second) || !c.ExpiresAt().Equal(second.Add(15*time.Minute)) || !c.AuthTime().Equal(now.Add(-time.Minute).Truncate(time.Second)) {
					t.Errorf("%s %s: iat %s, nbf %s, exp %s, auth_time %s", alg, name, c.IssuedAt(), c.NotBefore(), c.ExpiresAt(), c.AuthTime())
				}
				if n, _ := c.Claim("n"); string(n) != "12345678901234567890" {
					t.Errorf("%s %s: n is %s", alg, name, n)
				}
				if id := c.Identity(); id.Key != ring.Active().Thumbprint() || id.Token == "" {
					t.Errorf("%s %s: identity %+v", alg, name, id)
				}
			}
			if got.ID() != issued.Claims().ID() {
				t.Errorf("jti %s and %s", got.ID(), issued.Claims().ID())
			}
		}
	})
}

// The claims that RFC 9068 section 2.2 requires, and no others, in this form.
func TestIssuePayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1007 * time.Millisecond) // since midnight of 2000-01-01
		ring := forge.Ring(t, issue.KeyringConfig{})
		issued := forge.Issue(t, forge.NewIssuer(t, ring, nil), forge.Request())
		want := `{"iss":"https://auth.example.com","sub":"user-1","client_id":"web","aud":"orders","jti":"` + issued.Claims().ID() + `","iat":946684801,"exp":946685701,"hyt_at":946684801007}`
		if got := forge.PayloadOf(t, issued.Raw()); got != want {
			t.Errorf("payload %s\nwant    %s", got, want)
		}
		issued = forge.Issue(t, forge.NewIssuer(t, ring, func(c *issue.Config) { c.WholeSeconds, c.Lifetime = true, 1500*time.Millisecond }), forge.Request())
		if got := forge.PayloadOf(t, issued.Raw()); !strings.Contains(got, `"iat":946684801,"exp":946684802,"hyt_at":946684801007}`) {
			t.Errorf("whole seconds: %s", got)
		}
	})
}

// GHSA-4cf7-xm37-g63h: the caller's own claims neither overwrite nor forge.
func TestIssueRefusesForgedClaims(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{})
	i := forge.NewIssuer(t, ring, nil)
	bad := map[string]any{
		`x":0,"admin`: true, `x\`: 1, "x\n": 1, "x\x00": 1, "x\x7f": 1, "": 1, "x\xff": 1,
		"Sub": "root", "ſub": "root", "CLIENT_ID": "x", "ISS": "x", // which encoding/json reads as the others
		"tenant": "other", "TENANT": "other",
	}
	for _, name := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "sid", "scope", "auth_time", "acr", "amr", "cnf"} {
		bad[name] = "x"
	}
	for name, value := range bad {
		r := forge.Request()
		r.Claims = map[string]any{name: value}
		if issued, err := i.Issue(t.Context(), r); issued != nil || !errors.Is(err, issue.ErrRequest) || !errors.Is(err, issue.ErrIssue) || errors.Is(err, token.ErrInvalidToken) {
			t.Errorf("claim %q: %v, error %v", name, issued, err)
		}
	}
	for _, name := range []string{"admin", "x:0,admin", "https://example.com/claims#a?b=c", "größe", "subject", "'", "<script>"} {
		r := forge.Request()
		r.Claims = map[string]any{name: name}
		issued := forge.Issue(t, i, r)
		var members map[string]any
		if err := json.Unmarshal([]byte(forge.PayloadOf(t, issued.Raw())), &members); err != nil {
			t.Fatal(err)
		}
		if members[name] != name || len(members) != 9 {
			t.Errorf("claim %q: members %q", name, slices.Sorted(maps.Keys(members)))
		}
		if _, err := forge.RingVerifier(t, ring, token.EdDSA).Verify(t.Context(), issued.Raw()); err != nil {
			t.Errorf("claim %q: %v", name, err)
		}
	}
}

type marshaler string

func (m marshaler) MarshalJSON() ([]byte, error) { return []byte(m), nil }

// The form of everything that a caller may ask for.
func TestIssueRefuses(t *testing.T) {
	i := forge.NewIssuer(t, forge.Ring(t, issue.KeyringConfig{}), func(c *issue.Config) { c.TenantClaim = "org" })
	long := strings.Repeat("x", revoke.MaxValueBytes)
	now := time.Now()
	for _, x := range []struct {
		field     string
		bad, good func(*issue.Request)
	}{
		{"Subject", func(r *issue.Request) { r.Subject = "" }, func(r *issue.Request) { r.Subject = `"` }},
		{"Subject", func(r *issue.Request) { r.Subject = long + "x" }, func(r *issue.Request) { r.Subject = long }},
		{"Subject", func(r *issue.Request) { r.Subject = "a\xff" }, func(r *issue.Request) { r.Subject = "a\u00ff\u2028\x01" }},
		{"Client", func(r *issue.Request) { r.Client = "" }, nil},
		{"Client", func(r *issue.Request) { r.Client = long + "x" }, func(r *issue.Request) { r.Client = long }},
		{"Session", func(r *issue.Request) { r.Session = long + "x" }, func(r *issue.Request) { r.Session = long }},
		{"Tenant", func(r *issue.Request) { r.Tenant = long + "x" }, func(r *issue.Request) { r.Tenant = long }},
		{"Audience", func(r *issue.Request) { r.Audience = nil }, nil},
		{"Audience", func(r *issue.Request) { r.Audience = []string{"a", ""} }, func(r *issue.Request) { r.Audience = []string{"a", "b"} }},
		{"Audience", func(r *issue.Request) { r.Audience = []string{"*"} }, nil},
		{"Audience", func(r *issue.Request) { r.Audience = []string{"\xff"} }, nil},
		{"Scope", func(r *issue.Request) { r.Scope = []string{"a b"} }, func(r *issue.Request) { r.Scope = []string{"a", "b"} }},
		{"Scope", func(r *issue.Request) { r.Scope = []string{"a", ""} }, func(r *issue.Request) { r.Scope = []string{"!#[]~"} }},
		{"Scope", func(r *issue.Request) { r.Scope = []string{`"`} }, nil},
		{"Scope", func(r *issue.Request) { r.Scope = []string{"ä"} }, nil},
		{"ACR", func(r *issue.Request) { r.ACR = "\xff" }, func(r *issue.Request) { r.ACR = "1" }},
		{"AMR", func(r *issue.Request) { r.AMR = []string{"\xff"} }, func(r *issue.Request) { r.AMR = []string{"pwd"} }},
		{"Lifetime", func(r *issue.Request) { r.Lifetime = 15*time.Minute + 1 }, func(r *issue.Request) { r.Lifetime = 15 * time.Minute }},
		{"Lifetime", func(r *issue.Request) { r.Lifetime = -1 }, func(r *issue.Request) { r.Lifetime = time.Second }},
		{"IssuedAt", func(r *issue.Request) { r.IssuedAt = now.Add(5 * time.Second) }, func(r *issue.Request) { r.IssuedAt = now.Add(2 * time.Second) }},
		{"After", func(r *issue.Request) { r.After.Event = revoke.Event{Issuer: forge.Issuer + "/", Before: now} }, func(r *issue.Request) { r.After.Event = revoke.Event{Issuer: forge.Issuer, Before: now} }},
		{"After", func(r *issue.Request) {
			r.After.Event = revoke.Event{Issuer: forge.Issuer, Before: now.Add(time.Minute)}
		}, nil},
		{"IssuedAt", func(r *issue.Request) { r.IssuedAt = now.Add(-15 * time.Minute) }, func(r *issue.Request) { r.IssuedAt = now.Add(-14 * time.Minute) }},
		{"NotBefore", func(r *issue.Request) { r.NotBefore = now.Add(16 * time.Minute) }, func(r *issue.Request) { r.NotBefore = now.Add(time.Minute) }},
		{"nbf", func(r *issue.Request) { r.NotBefore = time.Unix(-1, 0) }, nil},
		{"auth_time", func(r *issue.Request) { r.AuthTime = time.Unix(-9, 0) }, nil},
		{`Claims["org"]`, func(r *issue.Request) { r.Claims = map[string]any{"org": "x"} }, func(r *issue.Request) { r.Claims = map[string]any{"tenant": "x"} }},
		{`Claims["a"]`, func(r *issue.Request) { r.Claims = map[string]any{"a": make(chan int)} }, func(r *issue.Request) { r.Claims = map[string]any{"a": nil} }},
		{`Claims["a"]`, func(r *issue.Request) { r.Claims = map[string]any{"a": math.NaN()} }, func(r *issue.Request) { r.Claims = map[string]any{"a": 1.5} }},
		{`Claims["a"]`, func(r *issue.Request) { r.Claims = map[string]any{"a": "\xff"} }, func(r *issue.Request) { r.Claims = map[string]any{"a": "\ufffd"} }},
		{`Claims["a"]`, func(r *issue.Request) {
			r.Claims = map[string]any{"a": map[string]any{"b": []any{"\xff"}}}
		}, func(r *issue.Request) {
			r.Claims = map[string]any{"a": map[string]any{"b": []any{"b"}, "c": map[string]string{"d": "e"}}}
		}},
		{`Claims["a"]`, func(r *issue.Request) { r.Claims = map[string]any{"a": marshaler(`{}},"admin":true,"b":{"c":{}`)} }, nil},
		{"strict JSON", func(r *issue.Request) { r.Claims = map[string]any{"a": marshaler(`{"b":1,"b":2}`)} }, func(r *issue.Request) { r.Claims = map[string]any{"a": marshaler(`{"b":1,"c":2}`)} }},
		{"MaxTokenBytes", func(r *issue.Request) { r.Claims = map[string]any{"a": strings.Repeat("x", 8000)} }, func(r *issue.Request) { r.Claims = map[string]any{"a": strings.Repeat("x", 4000)} }},
	} {
		r := forge.Request()
		x.bad(&r)
		if issued, err := i.Issue(t.Context(), r); issued != nil || !errors.Is(err, issue.ErrIssue) || errors.Is(err, token.ErrInvalidToken) || !strings.Contains(err.Error(), x.field) {
			t.Errorf("%s: %v, error %v", x.field, issued, err)
		}
		if r = forge.Request(); x.good != nil {
			x.good(&r)
		}
		if _, err := i.Issue(t.Context(), r); err != nil {
			t.Errorf("%s: the good twin is refused: %v", x.field, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.Issue(ctx, forge.Request()); !errors.Is(err, issue.ErrIssue) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	var none context.Context
	if !panics(func() { _, _ = i.Issue(none, forge.Request()) }) {
		t.Error("nil context: no panic")
	}
}

func TestNewIssuerRefuses(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{})
	type config = issue.Config
	for _, x := range []struct {
		field     string
		bad, twin func(*config)
	}{
		{"Issuer", func(c *config) { c.Issuer = "" }, nil},
		{"Issuer", func(c *config) { c.Issuer = strings.Repeat("i", 513) }, func(c *config) { c.Issuer = strings.Repeat("i", 512) }},
		{"Issuer", func(c *config) { c.Issuer = "\xff" }, nil},
		{"Keys", func(c *config) { c.Keys = nil }, nil},
		{"Lifetime", func(c *config) { c.Lifetime = -1 }, nil},
		{"Lifetime", func(c *config) { c.Lifetime = time.Second - 1 }, func(c *config) { c.Lifetime = time.Second }},
		{"Lifetime", func(c *config) { c.Lifetime = time.Minute + 1 }, func(c *config) { c.Lifetime = time.Minute + time.Millisecond }},
		{"Lifetime", func(c *config) { c.Lifetime = time.Hour + time.Millisecond }, func(c *config) { c.Lifetime = time.Hour }},
		{"Lifetime", func(c *config) { c.TokenLifetime = time.Minute }, func(c *config) { c.Lifetime, c.TokenLifetime = 2*time.Hour, 3*time.Hour }},
		{"TokenLifetime", func(c *config) { c.TokenLifetime = -1 }, nil},
		{"TokenLifetime", func(c *config) { c.TokenLifetime = time.Second - 1 }, func(c *config) { c.Lifetime, c.TokenLifetime = time.Second, time.Second }},
		{"TokenLifetime", func(c *config) { c.TokenLifetime = revoke.MaxLifetime + 1 }, func(c *config) { c.TokenLifetime = revoke.MaxLifetime }},
		{"MaxSkew", func(c *config) { c.MaxSkew = -time.Second }, nil},
		{"MaxSkew", func(c *config) { c.MaxSkew = time.Millisecond - 1 }, func(c *config) { c.MaxSkew = time.Millisecond }},
		{"MaxSkew", func(c *config) { c.MaxSkew = time.Second + 1 }, func(c *config) { c.MaxSkew = time.Second + time.Millisecond }},
		{"MaxSkew", func(c *config) { c.MaxSkew = revoke.MaxSkewLimit + time.Millisecond }, func(c *config) { c.MaxSkew = revoke.MaxSkewLimit }},
		{"MaxTokenBytes", func(c *config) { c.MaxTokenBytes = 255 }, func(c *config) { c.MaxTokenBytes = 256 }},
		{"MaxTokenBytes", func(c *config) { c.MaxTokenBytes = 1 }, nil},
		{"TenantClaim", func(c *config) { c.TenantClaim = "sub" }, func(c *config) { c.TenantClaim = "org" }},
		{"TenantClaim", func(c *config) { c.TenantClaim = `a"` }, nil},
		{"MaxTokenBytes", func(c *config) { c.MaxTokenBytes = -1 }, nil},
		{"MaxTokenBytes", func(c *config) { c.MaxTokenBytes = 64<<10 + 1 }, func(c *config) { c.MaxTokenBytes = 64 << 10 }},
	} {
		cfg := config{Issuer: forge.Issuer, Keys: ring}
		x.bad(&cfg)
		if i, err := issue.NewIssuer(cfg); i != nil || err == nil || !strings.Contains(err.Error(), "issue: Config."+x.field+" ") {
			t.Errorf("%s: error %v", x.field, err)
		}
		cfg = config{Issuer: forge.Issuer, Keys: ring}
		if x.twin != nil {
			x.twin(&cfg)
		}
		if _, err := issue.NewIssuer(cfg); err != nil {
			t.Errorf("%s: the good twin is refused: %v", x.field, err)
		}
	}
}

// CVE-2020-26892: a login after "log out everywhere" asks for an iat past the cutoff (invariant 5),
// and a refresh for one that a cutoff not yet seen still covers (invariant 1).
func TestIssuedAtAgainstCutoffs(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{})
	list := forge.LocalList(t, revoke.Config{})
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.Revocations, c.InsecureNoRevocations = []token.Algorithm{token.EdDSA}, ring, list, false
	})
	i := forge.NewIssuer(t, ring, nil)
	cutoff := time.Now().Add(time.Second).Truncate(time.Millisecond)
	forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindSubject, Value: "user-1", Before: cutoff})
	for _, x := range []struct {
		at   time.Time
		want error
	}{
		{time.Time{}, revoke.ErrRevoked},
		{cutoff, revoke.ErrRevoked},
		{cutoff.Add(time.Millisecond), nil},
	} {
		r := forge.Request()
		r.IssuedAt = x.at
		if _, err := v.Verify(t.Context(), forge.Issue(t, i, r).Raw()); !errors.Is(err, x.want) {
			t.Errorf("iat %s, cutoff %s: error %v, want %v", x.at, cutoff, err, x.want)
		}
	}
}

// Invariant 5, as the README shows it: without a Before the cutoff is twice MaxSkew ahead,
// and the next token passes at once, at any verifier, if it is issued with the receipt.
func TestNextTokenAfterADefaultCutoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := forge.Ring(t, issue.KeyringConfig{})
		list := forge.LocalList(t, revoke.Config{})
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.Revocations, c.InsecureNoRevocations = []token.Algorithm{token.EdDSA}, ring, list, false
		})
		i := forge.NewIssuer(t, ring, nil)
		event, err := revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindSubject, Value: "user-1"}.Complete(time.Now(), revoke.DefaultRetention())
		if err != nil {
			t.Fatal(err)
		}
		forge.Apply(t, list, event)
		r := forge.Request()
		if _, err := v.Verify(t.Context(), forge.Issue(t, i, r).Raw()); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("issued now: %v", err)
		}
		r.After = revoke.Receipt{Event: event}
		began := time.Now()
		issued := forge.Issue(t, i, r)
		// Clocks in step: it waits for MaxSkew, and what it writes as iat has passed.
		if waited := time.Since(began); waited < 2*time.Second || waited > 2010*time.Millisecond {
			t.Errorf("waited for %s", waited)
		}
		if c := issued.Claims(); !c.MintedAt().Equal(event.Before.Add(time.Millisecond)) || c.IssuedAt().After(time.Now()) || c.IssuedAt().Nanosecond() != 0 || c.ExpiresAt().Sub(c.IssuedAt()) != 15*time.Minute {
			t.Errorf("iat %s, exp %s, hyt_at %s, cutoff %s", c.IssuedAt(), c.ExpiresAt(), c.MintedAt(), event.Before)
		}
		if _, err := v.Verify(t.Context(), issued.Raw()); err != nil {
			t.Errorf("issued with the receipt: %v", err)
		}
		// Others read it as they always do: nothing in it lies in the future.
		if _, err := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.Leeway = []token.Algorithm{token.EdDSA}, ring, time.Millisecond
		}).Verify(t.Context(), issued.Raw()); err != nil {
			t.Errorf("without leeway: %v", err)
		}
		// It does not wait longer than its context lives, and not for what is past.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		e2, _ := revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindClient, Value: "web"}.Complete(time.Now(), revoke.DefaultRetention())
		r.After = revoke.Receipt{Event: e2}
		if issued, err := i.Issue(ctx, r); issued != nil || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, issue.ErrIssue) {
			t.Errorf("%v, %v", issued, err)
		}
		time.Sleep(5 * time.Second)
		began = time.Now()
		forge.Issue(t, i, r)
		forge.Issue(t, i, issue.Request{Subject: "u", Client: "web", Audience: []string{"a"}, After: revoke.Receipt{Event: revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindSession, Value: "s"}}})
		if time.Since(began) != 0 {
			t.Errorf("waited for %s", time.Since(began))
		}
	})
}

// A cutoff may lie as far ahead as a clock that differs by MaxSkew puts it, and a few
// milliseconds for what is rounded; one millisecond more is refused at once.
func TestCutoffTooFarAhead(t *testing.T) {
	const most = 3*2*time.Second + 10*time.Millisecond // MaxSkew and the slack of two
	for ahead, good := range map[time.Duration]bool{most - time.Millisecond: true, most: true, most + time.Millisecond: false} {
		synctest.Test(t, func(t *testing.T) {
			i := forge.NewIssuer(t, forge.Ring(t, issue.KeyringConfig{}), nil)
			r := forge.Request()
			began := time.Now()
			past := began.Add(ahead) // of the first token that it does not cover
			r.After = revoke.Receipt{Event: revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindSubject, Value: "user-1", Before: past.Add(-time.Millisecond)}}
			issued, err := i.Issue(t.Context(), r)
			if !good {
				if issued != nil || !errors.Is(err, issue.ErrIssue) || !strings.Contains(err.Error(), "field After") || time.Since(began) != 0 {
					t.Errorf("%s ahead: %v, %v, after %s", ahead, issued, err, time.Since(began))
				}
				return
			}
			if err != nil {
				t.Fatalf("%s ahead: %v", ahead, err)
			}
			if !issued.Claims().MintedAt().Equal(past) {
				t.Errorf("%s ahead: hyt_at %s", ahead, issued.Claims().MintedAt())
			}
		})
	}
}

// Text that is no UTF-8 is refused wherever it stands in a claim: a reader would see another.
func TestClaimsThatAreNoText(t *testing.T) {
	i := forge.NewIssuer(t, forge.Ring(t, issue.KeyringConfig{}), nil)
	for name, c := range map[string]struct{ bad, good any }{
		"text":            {"\xff", "é"},
		"list":            {[]string{"a", "\xff"}, []string{"a", "é"}},
		"list of any":     {[]any{1, "\xff"}, []any{1, "é"}},
		"name in texts":   {map[string]string{"\xff": "a"}, map[string]string{"é": "a"}},
		"value in texts":  {map[string]string{"a": "\xff"}, map[string]string{"a": "é"}},
		"name in object":  {map[string]any{"\xff": 1}, map[string]any{"é": 1}},
		"value in object": {map[string]any{"a": []any{"\xff"}}, map[string]any{"a": []any{"é"}}},
	} {
		r := forge.Request()
		r.Claims = map[string]any{"x": c.bad}
		if issued, err := i.Issue(t.Context(), r); issued != nil || !errors.Is(err, issue.ErrRequest) {
			t.Errorf("%s: %v, %v", name, issued, err)
		}
		r.Claims["x"] = c.good
		forge.Issue(t, i, r)
	}
}

// What a token is bound to stands in cnf, under the names of RFC 9449 section 6.1 and RFC 8705
// section 3.1; a token that is bound to nothing has none.
func TestConfirmationOfTheBinding(t *testing.T) {
	i := forge.NewIssuer(t, forge.Ring(t, issue.KeyringConfig{}), nil)
	jkt, x5t := strings.Repeat("A", 43), "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"
	for _, c := range []struct {
		binding token.Binding
		want    string // empty: refused
	}{
		{token.Binding{}, `"hyt_at":`},
		{token.Binding{KeyThumbprint: jkt}, `"cnf":{"jkt":"` + jkt + `"}`},
		{token.Binding{CertificateThumbprint: x5t}, `"cnf":{"x5t#S256":"` + x5t + `"}`},
		{token.Binding{KeyThumbprint: jkt, CertificateThumbprint: x5t}, `"cnf":{"jkt":"` + jkt + `","x5t#S256":"` + x5t + `"}`},
		{token.Binding{KeyThumbprint: jkt[:42]}, ""},
		{token.Binding{KeyThumbprint: jkt + "A"}, ""},
		{token.Binding{KeyThumbprint: jkt[:42] + "="}, ""},
		{token.Binding{KeyThumbprint: jkt[:42] + `"`}, ""},
		{token.Binding{CertificateThumbprint: x5t[:42]}, ""},
		{token.Binding{CertificateThumbprint: jkt[:42] + "\n"}, ""},
		{token.Binding{KeyThumbprint: jkt, CertificateThumbprint: "x"}, ""},
	} {
		r := forge.Request()
		r.Binding = c.binding
		issued, err := i.Issue(t.Context(), r)
		if c.want == "" {
			if issued != nil || !errors.Is(err, issue.ErrRequest) || !strings.Contains(err.Error(), "Binding") {
				t.Errorf("%+v: %v", c.binding, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", c.binding, err)
			continue
		}
		payload := forge.PayloadOf(t, issued.Raw())
		if !strings.Contains(payload, c.want) || strings.Contains(payload, `"cnf"`) != (c.binding != token.Binding{}) || issued.Claims().Binding() != c.binding {
			t.Errorf("%+v: %s", c.binding, payload)
		}
	}
}
