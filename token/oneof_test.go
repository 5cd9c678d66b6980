package token_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// verifierOf returns a verifier of that issuer's tokens, signed by s.
func verifierOf(t testing.TB, issuer string, s forge.Signer, change func(*token.VerifierConfig)) *token.Verifier {
	return forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Issuer, c.Algorithms, c.Keys = issuer, []token.Algorithm{s.Alg}, forge.StaticKeys(t, s)
		if change != nil {
			change(c)
		}
	})
}

func one(t testing.TB, verifiers ...*token.Verifier) *token.Verifier {
	t.Helper()
	v, err := token.OneOf(verifiers...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// CVE-2026-49998: two issuers with the same kid. Each one's key vouches for
// its own issuer alone, and a token is judged by the rules of the issuer it names.
func TestOneOf(t *testing.T) {
	const issuerA, issuerB = "https://a.example.com", "https://b.example.com"
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	a, b := forge.Ed(t, "2026", forge.Keys().Ed), forge.Ed(t, "2026", private)
	listA := forge.LocalList(t, revoke.Config{})
	v := one(t,
		verifierOf(t, issuerA, a, func(c *token.VerifierConfig) { c.Revocations, c.InsecureNoRevocations = listA, false }),
		verifierOf(t, issuerB, b, func(c *token.VerifierConfig) {
			c.Audiences, c.Profile, c.MaxTokenBytes = []string{"b-orders"}, token.Profile{Types: []string{"JWT"}, ClientClaim: "azp"}, 2048
		}),
	)
	good := forge.Claims(time.Now())
	claimsA, claimsB := good.With("iss", strconv.Quote(issuerA)), good.With("iss", strconv.Quote(issuerB)).With("aud", `"b-orders"`)
	jwt := b.Header().With("typ", `"JWT"`)
	pad := strconv.Quote(strings.Repeat("x", 2048))
	for _, x := range []struct {
		name string
		raw  string
		want error
	}{
		{"A's", a.Forge(a.Header(), claimsA), nil},
		{"B's", b.Forge(jwt, claimsB), nil},
		{"A's, signed by B", b.Forge(a.Header(), claimsA), token.ErrSignature},
		{"B's, signed by A", a.Forge(jwt, claimsB), token.ErrSignature},
		{"A's in B's form", a.Forge(jwt, claimsA), token.ErrType},
		{"B's in A's form", b.Forge(a.Header(), claimsB), token.ErrType},
		{"A's for B's audience", a.Forge(a.Header(), claimsA.With("aud", `"b-orders"`)), token.ErrAudience},
		{"A's, large", a.Forge(a.Header(), claimsA.With("pad", pad)), nil},
		{"B's, too large", b.Forge(jwt, claimsB.With("pad", pad)), token.ErrTooLarge},
		{"too large for all", a.Forge(a.Header(), claimsA.With("pad", strconv.Quote(strings.Repeat("x", 9<<10)))), token.ErrTooLarge},
		{"nobody's", a.Forge(a.Header(), claimsA.With("iss", `"https://c.example.com"`)), token.ErrIssuer},
		{"a slash too many", a.Forge(a.Header(), claimsA.With("iss", strconv.Quote(issuerA+"/"))), token.ErrIssuer},
		{"iss empty", a.Forge(a.Header(), claimsA.With("iss", `""`)), token.ErrIssuer},
		{"iss null", a.Forge(a.Header(), claimsA.With("iss", `null`)), token.ErrIssuer},
		{"iss an array", a.Forge(a.Header(), claimsA.With("iss", `["`+issuerA+`"]`)), token.ErrIssuer},
		{"no iss", a.Forge(a.Header(), claimsA.Without("iss")), token.ErrClaims},
		{"two iss", a.Forge(a.Header(), claimsA.Plus("iss", strconv.Quote(issuerB))), token.ErrMalformed},
		{"two iss, one escaped", a.Forge(a.Header(), forge.Text(strings.TrimSuffix(claimsA.String(), "}")+`,"\u0069ss":"`+issuerB+`"}`)), token.ErrMalformed},
		{"no JWT", "abc", token.ErrMalformed},
		{"no JSON", a.Forge(a.Header(), forge.Text("iss")), token.ErrMalformed},
		{"nothing", "", token.ErrMalformed},
	} {
		c, err := v.Verify(t.Context(), x.raw)
		if !errors.Is(err, x.want) || (c == nil) == (err == nil) || err != nil && (!errors.Is(err, token.ErrInvalidToken) || forge.Leaks(err.Error(), x.raw) != "") {
			t.Errorf("%s: claims %v, error %v, want %v", x.name, c, err, x.want)
		}
	}
	// A's denylist is A's.
	forge.Apply(t, listA, revoke.Event{Issuer: issuerA, Kind: revoke.KindSubject, Value: "sub-secret-0001"})
	if _, err := v.Verify(t.Context(), a.Forge(a.Header(), claimsA)); !errors.Is(err, revoke.ErrRevoked) {
		t.Errorf("A's, revoked: error %v", err)
	}
	if _, err := v.Verify(t.Context(), b.Forge(jwt, claimsB)); err != nil {
		t.Errorf("B's, same sub: %v", err)
	}
	var none context.Context
	if !panics(func() { _, _ = v.Verify(none, b.Forge(jwt, claimsB)) }) {
		t.Error("nil context: no panic")
	}
}

func TestOneOfRefuses(t *testing.T) {
	a, b := forge.Ed(t, "a", forge.Keys().Ed), forge.EC(t, "b")
	shared := forge.StaticKeys(t, a)
	va, vb := verifierOf(t, "https://a.example.com", a, nil), verifierOf(t, "https://b.example.com", b, nil)
	share := func(issuer string) *token.Verifier {
		return verifierOf(t, issuer, a, func(c *token.VerifierConfig) { c.Keys = shared })
	}
	for name, verifiers := range map[string][]*token.Verifier{
		"none":                        {},
		"nil":                         {va, nil},
		"the zero Verifier":           {va, new(token.Verifier)},
		"one twice":                   {va, va},
		"two of one issuer":           {va, verifierOf(t, "https://a.example.com", b, nil)},
		"two of one issuer, nested":   {one(t, va, vb), verifierOf(t, "https://a.example.com", b, nil)},
		"one key in two sets":         {va, verifierOf(t, "https://c.example.com", a, nil)},
		"one key in two sets, nested": {one(t, va), one(t, vb, verifierOf(t, "https://c.example.com", a, nil))},
		"one key set for two issuers": {share("https://c.example.com"), share("https://d.example.com")},
	} {
		if v, err := token.OneOf(verifiers...); v != nil || err == nil {
			t.Errorf("%s: %v, error %v", name, v, err)
		}
	}
	// The good twins: one alone, nested ones, and key sets that do not compare.
	uncomparable := func(issuer string) *token.Verifier {
		return verifierOf(t, issuer, a, func(c *token.VerifierConfig) { c.Keys = forge.KeySetFunc(shared.Lookup) })
	}
	v := one(t, one(t, va), one(t, vb, uncomparable("https://e.example.com")), uncomparable("https://f.example.com"))
	for issuer, s := range map[string]forge.Signer{"https://a.example.com": a, "https://b.example.com": b, "https://e.example.com": a} {
		if _, err := v.Verify(t.Context(), s.Forge(s.Header(), forge.Claims(time.Now()).With("iss", strconv.Quote(issuer)))); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
}

// The middleware of several issuers answers as that of one.
func TestOneOfMiddleware(t *testing.T) {
	a, b := forge.Ed(t, "a", forge.Keys().Ed), forge.EC(t, "b")
	var logged bytes.Buffer
	v := one(t,
		verifierOf(t, "https://a.example.com", a, func(c *token.VerifierConfig) {
			c.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}),
		verifierOf(t, "https://b.example.com", b, func(c *token.VerifierConfig) {
			c.Keys = forge.KeySetFunc(func(context.Context, string, token.Algorithm) (*token.Key, error) {
				return nil, token.ErrKeysUnavailable
			})
		}),
	)
	h := v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := token.FromContext(r.Context())
		io.WriteString(w, c.Issuer())
	}))
	claims := forge.Claims(time.Now())
	for _, x := range []struct {
		name, raw string
		status    int
		header    string
	}{
		{"A's", a.Forge(a.Header(), claims.With("iss", `"https://a.example.com"`)), 200, ""},
		{"B's, whose keys cannot be had", b.Forge(b.Header(), claims.With("iss", `"https://b.example.com"`)), 503, ""},
		{"nobody's", a.Forge(a.Header(), claims), 401, `Bearer realm="orders", error="invalid_token"`},
		{"none", "", 401, `Bearer realm="orders"`},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if x.raw != "" {
			r.Header.Set("Authorization", "Bearer "+x.raw)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != x.status || w.Header().Get("WWW-Authenticate") != x.header {
			t.Errorf("%s: %d, %v", x.name, w.Code, w.Header())
		}
		if x.raw != "" && forge.Leaks(logged.String()+w.Body.String(), x.raw) != "" && x.status != 200 {
			t.Errorf("%s: the token is logged or repeated", x.name)
		}
	}
	if !strings.Contains(logged.String(), "wrong issuer") {
		t.Errorf("logged %q", &logged)
	}
}

// A policy that cannot take effect for one of the issuers is heard of when the route
// is built.
func TestOneOfMiddlewareRefusesABadPolicy(t *testing.T) {
	a, b := forge.Ed(t, "a", forge.Keys().Ed), forge.EC(t, "b")
	v := one(t, verifierOf(t, "https://a.example.com", a, nil), verifierOf(t, "https://b.example.com", b, func(c *token.VerifierConfig) {
		c.Revocations, c.InsecureNoRevocations = forge.LocalList(t, revoke.Config{TokenLifetime: time.Hour}), false
	}))
	next := http.NotFoundHandler()
	v.Middleware(next, token.WithStalePolicy(revoke.AllowYounger(time.Minute))) // the good twin
	defer func() {
		if recover() == nil {
			t.Error("AllowYounger of all a token's life is taken")
		}
	}()
	v.Middleware(next, token.WithStalePolicy(revoke.AllowYounger(time.Hour)))
}

// Two auth servers, one of them somebody else's, in front of one API.
func ExampleOneOf() {
	ctx := context.Background()
	list, err := revoke.NewList(revoke.Config{Local: true}) // package bus feeds one over NATS
	if err != nil {
		log.Fatal(err)
	}
	var verifiers []*token.Verifier
	var issuers []*issue.Issuer
	for _, name := range []string{"https://auth.example.com", "https://partner.example.net"} {
		ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
		if err != nil {
			log.Fatal(err)
		}
		issuer, err := issue.NewIssuer(issue.Config{Issuer: name, Keys: ring})
		if err != nil {
			log.Fatal(err)
		}
		v, err := token.NewVerifier(token.VerifierConfig{
			Issuer: name, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: list,
		})
		if err != nil {
			log.Fatal(err)
		}
		issuers, verifiers = append(issuers, issuer), append(verifiers, v)
	}
	verifier, err := token.OneOf(verifiers...)
	if err != nil {
		log.Fatal(err)
	}
	for _, issuer := range issuers {
		issued, err := issuer.Issue(ctx, issue.Request{Subject: "user-1", Client: "web", Audience: []string{"orders"}})
		if err != nil {
			log.Fatal(err)
		}
		claims, err := verifier.Verify(ctx, issued.Raw())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(claims.Issuer())
	}
	// Output:
	// https://auth.example.com
	// https://partner.example.net
}

// OneOf in front of services that take bound tokens: one DPoP for all, each issuer's
// own way to the certificate, and Recheck by the issuer that vouched.
func TestOneOfBinding(t *testing.T) {
	const issuerA, issuerB = "https://a.example.com", "https://b.example.com"
	a, b := forge.Ed(t, "a", forge.Keys().Ed), forge.Ed(t, "b", forge.NewEd(t))
	cert := newCertificate(t).Leaf
	d, p := newDPoP(t, nil), edProver(t)
	listB := forge.LocalList(t, revoke.Config{})
	verifierA := verifierOf(t, issuerA, a, func(c *token.VerifierConfig) { c.DPoP = d })
	verifierB := verifierOf(t, issuerB, b, func(c *token.VerifierConfig) {
		c.Revocations, c.InsecureNoRevocations = listB, false
		c.ClientCertificate = func(*http.Request) *x509.Certificate { return cert }
	})
	v := one(t, verifierA, verifierB)
	h := v.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	get := func(scheme, raw, proof string) int {
		r := httptest.NewRequest("GET", "/orders", nil)
		r.Header.Set("Authorization", scheme+" "+raw)
		r.Header.Set("DPoP", proof)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	good := forge.Claims(time.Now())
	bound := func(s forge.Signer, issuer, cnf string) string {
		return s.Forge(s.Header(), good.With("iss", strconv.Quote(issuer)).With("cnf", cnf))
	}
	jkt, x5t := `{"jkt":"`+p.jkt+`"}`, `{"x5t#S256":"`+token.CertificateThumbprint(cert)+`"}`
	rawA := bound(a, issuerA, jkt)
	proof := p.prove(rawA)
	for _, x := range []struct {
		name               string
		scheme, raw, proof string
		want               int
	}{
		{"A's, DPoP", "DPoP", rawA, proof, 200},
		{"A's, replayed", "DPoP", rawA, proof, 401},
		{"A's, Bearer", "Bearer", rawA, "", 401},
		{"B's, DPoP, which it does not take", "DPoP", bound(b, issuerB, jkt), p.prove(bound(b, issuerB, jkt)), 401},
		{"B's, certificate", "Bearer", bound(b, issuerB, x5t), "", 200},
		{"A's, certificate, which it has no way to", "Bearer", bound(a, issuerA, x5t), "", 401},
	} {
		if code := get(x.scheme, x.raw, x.proof); code != x.want {
			t.Errorf("%s: %d, want %d", x.name, code, x.want)
		}
	}

	claims, err := v.Verify(t.Context(), b.Forge(b.Header(), good.With("iss", strconv.Quote(issuerB))))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Recheck(t.Context(), claims); err != nil {
		t.Errorf("Recheck: %v", err)
	}
	if err := one(t, verifierA).Recheck(t.Context(), claims); !errors.Is(err, token.ErrIssuer) {
		t.Errorf("another's claims: error %v", err)
	}
	forge.Apply(t, listB, revoke.Event{Issuer: issuerB, Kind: revoke.KindToken, Value: claims.ID()})
	if err := v.Recheck(t.Context(), claims); !errors.Is(err, revoke.ErrRevoked) {
		t.Errorf("revoked: error %v", err)
	}

	other := verifierOf(t, issuerB, b, func(c *token.VerifierConfig) { c.DPoP = newDPoP(t, nil) })
	if v, err := token.OneOf(verifierA, other); v != nil || err == nil || !strings.Contains(err.Error(), "DPoP") {
		t.Errorf("two DPoPs: error %v", err)
	}
	same := verifierOf(t, issuerB, b, func(c *token.VerifierConfig) { c.DPoP = d })
	if _, err := token.OneOf(verifierA, same); err != nil {
		t.Errorf("the good twin: %v", err)
	}
}
