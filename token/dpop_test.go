package token_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

func TestDPoPAccepts(t *testing.T) {
	for _, p := range []prover{edProver(t), ecProver(t), rsaProver(t, "PS256"), rsaProver(t, "RS256")} {
		b := newBoundAPI(t, nil)
		raw := b.issueTo(t, p.jkt)
		for _, scheme := range []string{"DPoP", "dpop", "DPOP"} {
			b.claims = nil
			r := b.send(scheme, raw, p.prove(raw))
			if r.StatusCode != 200 || b.claims == nil || b.claims.Binding() != (token.Binding{KeyThumbprint: p.jkt}) {
				t.Errorf("%s, %s: %d, %v; logged %q", p.alg, scheme, r.StatusCode, r.Header, &b.logged)
			}
		}
		if b.logged.Len() != 0 {
			t.Errorf("logged %q", &b.logged)
		}
	}
}

// RFC 9449 section 4.3, check 5: what is not allowed is refused, even if the key and the signature fit.
func TestDPoPAlgorithms(t *testing.T) {
	provers := []prover{edProver(t), ecProver(t), rsaProver(t, "PS256"), rsaProver(t, "RS256")}
	for allowed, cfg := range map[string][]token.Algorithm{
		"ES256 EdDSA PS256": nil, "ES256": {token.ES256}, "EdDSA RS256": {token.EdDSA, token.RS256},
	} {
		b := newBoundAPI(t, func(c *token.DPoPConfig) { c.Algorithms = cfg })
		for _, p := range provers {
			raw := b.issueTo(t, p.jkt)
			r := b.send("DPoP", raw, p.prove(raw))
			if good := strings.Contains(allowed, p.alg); good != (r.StatusCode == 200) || !good && dpopError(r) != "invalid_dpop_proof" {
				t.Errorf("%s where %s is allowed: %d", p.alg, allowed, r.StatusCode)
			}
		}
	}
}

// The twelve checks of RFC 9449 section 4.3, one by one, each with the good
// proof beside it. All bad proofs are answered with the same bytes, and nothing of
// a proof is logged (invariant 10).
func TestDPoPTwelveChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoundAPI(t, nil)
		p, raw := b.p, b.raw
		header, claims := p.header(), func() forge.Object { return p.claims(raw) }
		ec, hs := ecProver(t), forge.HMAC(t, "hs")
		one := func(header, claims fmt.Stringer) []string { return []string{p.forge(header, claims)} }
		with := func(name, value string) []string { return one(header, claims().With(name, value)) }
		head := func(name, value string) []string { return one(header.With(name, value), claims()) }
		key := func(name, value string) []string {
			return one(header.With("jwk", p.jwk.With(name, value).String()), claims())
		}
		at := func(d time.Duration) string {
			ms := time.Now().Add(d).UnixMilli()
			return fmt.Sprintf("%d.%03d", ms/1000, ms%1000)
		}
		good := p.prove(raw)
		const proof, invalid = "invalid_dpop_proof", "invalid_token"
		type bad struct {
			name   string
			proofs []string
			code   string
		}
		all := []bad{
			{"1: no header", nil, proof},
			{"1: two headers", []string{good, good}, proof},
			{"1: two headers, two proofs", []string{good, p.prove(raw)}, proof},
			{"1: an empty header", []string{""}, proof},
			{"2: two in one header", []string{good + ", " + good}, proof},
			{"2: no JWT", []string{"proof"}, proof},
			{"2: white space", []string{good + " x"}, proof},
			{"2: padding", []string{good + "="}, proof},
			{"2: four parts", []string{good + ".AAAA"}, proof},
			{"2: no signature", []string{good[:strings.LastIndexByte(good, '.')+1]}, proof},
			{"2: too large", one(header, claims().With("pad", `"`+strings.Repeat("a", 9000)+`"`)), proof},
			{"2: header no object", one(forge.Text(`[]`), claims()), proof},
			{"2: claims no object", one(header, forge.Text(`[]`)), proof},
			{"2: a claim twice", one(header, claims().Plus("htm", `"GET"`)), proof},
			{"2: alg twice", one(header.Plus("alg", `"EdDSA"`), claims()), proof},
			{"2: jwk twice", one(header.Plus("jwk", p.jwk.String()), claims()), proof},
			{"2: JSON after the claims", one(header, forge.Text(claims().String()+"{}")), proof},
			{"2: critical extension", head("crit", `["x"]`), proof},
			{"3: jti empty", with("jti", `""`), proof},
			{"3: jti a number", with("jti", `1`), proof},
			{"3: jti too long", with("jti", `"`+strings.Repeat("j", 257)+`"`), proof},
			{"3: htm null", with("htm", `null`), proof},
			{"3: iat a string", with("iat", strconv.Quote(at(0))), proof},
			{"4: typ JWT", head("typ", `"JWT"`), proof},
			{"4: typ of an access token", head("typ", `"at+jwt"`), proof},
			{"4: no typ", one(header.Without("typ"), claims()), proof},
			{"5: none", head("alg", `"none"`), proof},
			{"5: an algorithm that is not allowed", head("alg", `"ES512"`), proof},
			{"5: an algorithm that does not fit the key", head("alg", `"ES256"`), proof},
			{"5: HS256 with a secret in jwk", []string{prover{"HS256", nil, "", hs.Sign}.forge(
				forge.Object{"typ", `"dpop+jwt"`, "alg", `"HS256"`, "jwk", `{"kty":"oct","k":"` + forge.Base64(string(forge.Secret)) + `"}`}, claims())}, proof},
			{"5: HS256 over a public jwk", []string{prover{"HS256", nil, "", hs.Sign}.forge(header.With("alg", `"HS256"`), claims())}, proof},
			{"6: signature of another key", []string{prover{sign: edProver(t).sign}.forge(header, claims())}, proof},
			{"6: claims changed", []string{good[:strings.IndexByte(good, '.')+1] + strings.Split(p.prove(raw), ".")[1] + good[strings.LastIndexByte(good, '.'):]}, proof},
			{"7: private d", key("d", `"AAAA"`), proof},
			{"7: private d, empty", key("d", `""`), proof},
			{"7: secret k", key("k", `"AAAA"`), proof},
			{"7: no jwk", one(header.Without("jwk"), claims()), proof},
			{"7: jwk a string", head("jwk", strconv.Quote(p.jkt)), proof},
			{"7: jwk of another kty", key("kty", `"EC"`), proof},
			{"7: jwk for another algorithm", key("alg", `"ES256"`), proof},
			{"7: jwk for encryption", key("use", `"enc"`), proof},
			{"7: jwk with key_ops sign", key("key_ops", `["sign"]`), proof},
			{"7: jwk with a padded x", key("x", `"`+strings.Trim(p.jwk[5], `"`)+`="`), proof},
			{"7: jwk of small order", key("x", `"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"`), proof},
			{"8: htm POST", with("htm", `"POST"`), proof},
			{"8: htm in lower case", with("htm", `"get"`), proof},
			{"9: htu another host", with("htu", `"https://api.example.org/orders"`), proof},
			{"9: htu another path", with("htu", `"https://api.example.com/orders/"`), proof},
			{"9: htu another scheme", with("htu", `"http://api.example.com/orders"`), proof},
			{"9: htu another port", with("htu", `"https://api.example.com:8443/orders"`), proof},
			{"9: htu relative", with("htu", `"/orders"`), proof},
			{"9: htu empty", with("htu", `""`), proof},
			{"9: htu with a user", with("htu", `"https://me@api.example.com/orders"`), proof},
			{"9: htu with another case in its path", with("htu", `"https://api.example.com/Orders"`), proof},
			{"11: iat too old", with("iat", at(-time.Minute-time.Millisecond)), proof},
			{"11: iat in the future", with("iat", at(time.Minute+time.Millisecond)), proof},
			{"11: iat zero", with("iat", "0"), proof},
			{"11: exp passed", with("exp", at(-2*time.Minute)), proof},
			{"11: nbf in the future", with("nbf", at(2*time.Minute)), proof},
			{"12: no ath", one(header, claims().Without("ath")), proof},
			{"12: ath of another token", with("ath", strconv.Quote(digest(raw+"x"))), proof},
			{"12: ath a number", with("ath", `1`), proof},
			{"12: ath empty", with("ath", `""`), proof},
			{"12: ath of the proof's own header", with("ath", strconv.Quote(p.jkt)), proof},
			{"12: another key, in order otherwise", []string{ec.prove(raw)}, invalid},
		}
		for _, name := range []string{"jti", "htm", "htu", "iat"} {
			all = append(all, bad{"3: no " + name, one(header, claims().Without(name)), proof})
		}
		answers := map[string]string{}
		for _, x := range all {
			b.logged.Reset()
			r := b.send("DPoP", raw, x.proofs...)
			if r.StatusCode != 401 || dpopError(r) != x.code {
				t.Errorf("%s: %d %v", x.name, r.StatusCode, r.Header)
			}
			got := fmt.Sprint(r.Status, r.Header, forge.Body(t, r))
			if first, ok := answers[x.code]; ok && got != first {
				t.Errorf("%s is answered %s, others %s", x.name, got, first)
			}
			answers[x.code] = got
			for _, secret := range append(x.proofs, raw) {
				if len(secret) > 20 && forge.Leaks(b.logged.String(), secret) != "" {
					t.Errorf("%s: the log holds %q: %s (invariant 10)", x.name, forge.Leaks(b.logged.String(), secret), &b.logged)
				}
			}
			if !strings.Contains(b.logged.String(), "DPoP") {
				t.Errorf("%s: logged %q", x.name, &b.logged)
			}
			if name, ok := strings.CutPrefix(x.name, "3: no "); ok && !strings.Contains(b.logged.String(), name+" is missing") {
				t.Errorf("%s: logged %q", x.name, &b.logged)
			}
			if r := b.send("DPoP", raw, p.prove(raw)); r.StatusCode != 200 {
				t.Fatalf("%s: the good twin: %d; logged %q", x.name, r.StatusCode, &b.logged)
			}
		}
		for name, proofs := range map[string][]string{ // at the edges, still good
			"typ in capitals":    head("typ", `"DPOP+JWT"`),
			"jwk with alg, use":  key("alg", `"EdDSA","use":"sig","key_ops":["verify"],"kid":"k"`),
			"htu with a query":   with("htu", `"https://api.example.com/orders?page=3"`),
			"htu with fragment":  with("htu", `"https://api.example.com/orders#a"`),
			"htu normalised":     with("htu", `"HTTPS://API.example.com:443/x/../%6frders"`),
			"iat a window old":   with("iat", at(-time.Minute)),
			"iat a window ahead": with("iat", at(time.Minute)),
			"jti of 256 bytes":   with("jti", `"`+strings.Repeat("j", 256)+`"`),
			"a nonce unasked":    with("nonce", `"n"`),
			"a null nonce":       with("nonce", `null`),
			"a nonce of numbers": with("nonce", `[1]`),
			"exp to come":        with("exp", at(time.Minute)),
			"other claims":       with("x", `{"a":[1]}`),
		} {
			if r := b.send("DPoP", raw, proofs...); r.StatusCode != 200 {
				t.Errorf("%s: %d; logged %q", name, r.StatusCode, &b.logged)
			}
		}
	})
}

// Schemes and bindings must agree (RFC 9449 sections 7.1, 7.2).
func TestDPoPSchemes(t *testing.T) {
	b := newBoundAPI(t, nil)
	plain := forge.Issue(t, b.issuer, forge.Request()).Raw()
	for _, x := range []struct {
		name        string
		scheme, raw string
		proofs      []string
		status      int
		challenges  []string
	}{
		{"bound, DPoP", "DPoP", b.raw, []string{b.p.prove(b.raw)}, 200, nil},
		{"bound, Bearer", "Bearer", b.raw, nil, 401, []string{`Bearer realm="orders", error="invalid_token"`, `DPoP realm="orders", algs="ES256 Ed25519 EdDSA PS256 RS256"`}},
		{"bound, Bearer with a proof", "Bearer", b.raw, []string{b.p.prove(b.raw)}, 401, []string{`Bearer realm="orders", error="invalid_token"`, `DPoP realm="orders", algs="ES256 Ed25519 EdDSA PS256 RS256"`}},
		{"unbound, DPoP", "DPoP", plain, []string{b.p.prove(plain)}, 401, []string{`Bearer realm="orders"`, `DPoP realm="orders", algs="ES256 Ed25519 EdDSA PS256 RS256", error="invalid_token"`}},
		{"unbound, DPoP without a proof", "DPoP", plain, nil, 401, []string{`Bearer realm="orders"`, `DPoP realm="orders", algs="ES256 Ed25519 EdDSA PS256 RS256", error="invalid_dpop_proof"`}},
		{"unbound, Bearer", "Bearer", plain, nil, 200, nil},
		{"unbound, Bearer with a proof", "Bearer", plain, []string{"nonsense"}, 200, nil},
		{"no token", "Basic", "eDp5", nil, 401, []string{`Bearer realm="orders"`, `DPoP realm="orders", algs="ES256 Ed25519 EdDSA PS256 RS256"`}},
		{"no token68", "DPoP", "", nil, 400, []string{`Bearer realm="orders"`, `DPoP realm="orders", algs="ES256 Ed25519 EdDSA PS256 RS256", error="invalid_request"`}},
		{"two schemes in one header", "DPoP", b.raw + ", Bearer " + plain, []string{b.p.prove(b.raw)}, 400, []string{`Bearer realm="orders"`, `DPoP realm="orders", algs="ES256 Ed25519 EdDSA PS256 RS256", error="invalid_request"`}},
	} {
		r := b.send(x.scheme, x.raw, x.proofs...)
		if got := r.Header.Values("WWW-Authenticate"); r.StatusCode != x.status || fmt.Sprint(got) != fmt.Sprint(x.challenges) {
			t.Errorf("%s: %d %q; want %d %q", x.name, r.StatusCode, got, x.status, x.challenges)
		}
	}
}

// Two schemes at once.
func TestTwoSchemesAtOnce(t *testing.T) {
	b := newBoundAPI(t, nil)
	plain := forge.Issue(t, b.issuer, forge.Request()).Raw()
	r := httptest.NewRequest("GET", "/orders", nil)
	r.Header["Authorization"] = []string{"Bearer " + plain, "DPoP " + b.raw}
	r.Header.Set("DPoP", b.p.prove(b.raw))
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	if w.Code != 400 || b.passed != 0 {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	r.Header["Authorization"] = r.Header["Authorization"][1:]
	w = httptest.NewRecorder()
	if b.h.ServeHTTP(w, r); w.Code != 200 {
		t.Errorf("the good twin: %d", w.Code)
	}
}

// A bound token that is bad for another reason is answered as any bad token, and
// neither it nor a stale denylist uses the proof up.
func TestDPoPTokenComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := forge.LocalList(t, revoke.Config{})
		d := newDPoP(t, nil)
		b := &boundAPI{p: edProver(t)}
		b.api = newAPI(t, func(c *token.VerifierConfig) { c.DPoP, c.Revocations, c.InsecureNoRevocations = d, list, false })
		old := b.issueTo(t, b.p.jkt)
		time.Sleep(16 * time.Minute)
		if r := b.send("DPoP", old, b.p.prove(old)); dpopError(r) != "invalid_token" || !strings.Contains(b.logged.String(), "expired") {
			t.Errorf("expired: %v, logged %q", r.Header, &b.logged)
		}
		raw := b.issueTo(t, b.p.jkt)
		proof := b.p.prove(raw)
		stale := newAPI(t, func(c *token.VerifierConfig) {
			c.DPoP, c.Keys, c.Revocations, c.InsecureNoRevocations = d, b.ring, forge.NewList(t, revoke.Config{}), false
		})
		if r := (&boundAPI{api: stale}).send("DPoP", raw, proof); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
			t.Errorf("stale: %d", r.StatusCode)
		}
		if r := b.send("DPoP", raw, proof); r.StatusCode != 200 {
			t.Errorf("the proof was used up by a 503: %d", r.StatusCode)
		}
		if r := b.send("DPoP", raw, proof); dpopError(r) != "invalid_dpop_proof" {
			t.Errorf("replayed: %v", r.Header)
		}
		forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindSubject, Value: "user-1", Before: time.Now()})
		if r := b.send("DPoP", raw, b.p.prove(raw)); dpopError(r) != "invalid_token" || !strings.Contains(b.logged.String(), "revoked") {
			t.Errorf("revoked: %v, logged %q", r.Header, &b.logged)
		}
	})
}

// Nothing but bound tokens, where that is asked for.
func TestRequireBinding(t *testing.T) {
	b := &boundAPI{p: edProver(t)}
	b.api = newAPI(t, func(c *token.VerifierConfig) { c.DPoP, c.RequireBinding = newDPoP(t, nil), true })
	plain, bound := forge.Issue(t, b.issuer, forge.Request()).Raw(), b.issueTo(t, b.p.jkt)
	if r := b.send("Bearer", plain); r.StatusCode != 401 {
		t.Errorf("a bearer token: %d", r.StatusCode)
	}
	if r := b.send("DPoP", bound, b.p.prove(bound)); r.StatusCode != 200 {
		t.Errorf("the good twin: %d", r.StatusCode)
	}
}

// CVE-2026-42602: the zero VerifierConfig refuses bound tokens and does not speak DPoP.
func TestBoundTokenWithoutDPoP(t *testing.T) {
	b := &boundAPI{p: edProver(t)}
	b.api = newAPI(t, nil)
	raw := b.issueTo(t, b.p.jkt)
	r := b.send("DPoP", raw, b.p.prove(raw))
	if got := r.Header.Values("WWW-Authenticate"); r.StatusCode != 401 || fmt.Sprint(got) != `[Bearer realm="orders"]` {
		t.Errorf("%d %q", r.StatusCode, got)
	}
	v := forge.RingVerifier(t, b.ring, token.EdDSA)
	_, err := v.Verify(t.Context(), raw, token.WithSender(token.Sender{Proof: b.p.prove(raw), Method: "GET", URL: proofURL}))
	if !errors.Is(err, token.ErrBinding) || errors.Is(err, token.ErrProof) {
		t.Errorf("error %v", err)
	}
}

// Where there is no net/http, Verify takes what the sender showed.
func TestWithSender(t *testing.T) {
	b := newBoundAPI(t, nil)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.DPoP = []token.Algorithm{token.EdDSA}, b.ring, newDPoP(t, nil)
	})
	proof := b.p.prove(b.raw)
	for _, x := range []struct {
		name   string
		sender token.Sender
		want   error
	}{
		{"nothing", token.Sender{}, token.ErrBinding},
		{"a proof for no URL", token.Sender{Proof: proof, Method: "GET"}, token.ErrProof},
		{"another method", token.Sender{Proof: proof, Method: "POST", URL: proofURL}, token.ErrProof},
		{"the right one", token.Sender{Proof: proof, Method: "GET", URL: proofURL}, nil},
		{"again", token.Sender{Proof: proof, Method: "GET", URL: proofURL}, token.ErrReplayed},
	} {
		claims, err := v.Verify(t.Context(), b.raw, token.WithSender(x.sender))
		if !errors.Is(err, x.want) || (claims != nil) != (x.want == nil) {
			t.Errorf("%s: error %v, want %v", x.name, err, x.want)
		}
		if err != nil && !errors.Is(err, token.ErrInvalidToken) {
			t.Errorf("%s: error %v is of no family", x.name, err)
		}
	}
}

// The URL of a request is BaseURL and the path of the request line: what a client can
// write in headers changes nothing, and neither does what handlers rewrite.
func TestDPoPURL(t *testing.T) {
	for _, x := range []struct {
		name   string
		change func(*token.DPoPConfig)
		htu    string
		rig    func(*http.Request)
		want   int
	}{
		{"plain", nil, proofURL, nil, 200},
		{"Host", nil, "https://evil.example/orders", func(r *http.Request) { r.Host = "evil.example" }, 401},
		{"Host, good", nil, proofURL, func(r *http.Request) { r.Host = "10.0.0.7:8080" }, 200},
		{"X-Forwarded-Host", nil, "https://evil.example/orders", func(r *http.Request) {
			r.Header.Set("X-Forwarded-Host", "evil.example")
			r.Header.Set("X-Forwarded-Proto", "https")
			r.Header.Set("Forwarded", "host=evil.example;proto=https")
		}, 401},
		{"a prefix that the proxy strips", func(c *token.DPoPConfig) { c.BaseURL += "/shop/" }, proofBase + "/shop/orders", nil, 200},
		{"the prefix missing", func(c *token.DPoPConfig) { c.BaseURL += "/shop" }, proofURL, nil, 401},
		{"a prefix that a handler stripped", nil, proofBase + "/v1/orders", func(r *http.Request) { r.RequestURI = "/v1/orders?page=2" }, 200},
		{"an absolute request target", nil, proofURL, func(r *http.Request) { r.RequestURI = "http://evil.example/orders" }, 200},
		{"no request line", nil, proofURL, func(r *http.Request) { r.RequestURI = "" }, 200},
		{"an escape", nil, proofBase + "/a%2Fb", func(r *http.Request) { r.RequestURI = "/a%2fb" }, 200},
		{"an escape is no slash", nil, proofBase + "/a/b", func(r *http.Request) { r.RequestURI = "/a%2fb" }, 401},
		{"URL", func(c *token.DPoPConfig) {
			c.BaseURL, c.URL = "", func(r *http.Request) string { return "https://shop.example.com/x" + r.URL.Path }
		}, "https://shop.example.com/x/orders", nil, 200},
		{"URL that knows nothing", func(c *token.DPoPConfig) { c.BaseURL, c.URL = "", func(r *http.Request) string { return "" } }, proofURL, nil, 401},
	} {
		b := newBoundAPI(t, x.change)
		r := httptest.NewRequest("GET", "/orders?page=2", nil)
		r.Header.Set("Authorization", "DPoP "+b.raw)
		r.Header.Set("DPoP", b.p.forge(b.p.header(), b.p.claims(b.raw).With("htu", strconv.Quote(x.htu))))
		if x.rig != nil {
			x.rig(r)
		}
		w := httptest.NewRecorder()
		if b.h.ServeHTTP(w, r); w.Code != x.want {
			t.Errorf("%s: %d, want %d; logged %q", x.name, w.Code, x.want, &b.logged)
		}
	}
}

// The token endpoint: a proof without a token.
func TestDPoPThumbprint(t *testing.T) {
	p := ecProver(t)
	d := newDPoP(t, func(c *token.DPoPConfig) { c.BaseURL = "https://auth.example.com" })
	post := func(proofs ...string) (string, error) {
		r := httptest.NewRequest("POST", "/token", nil)
		for _, p := range proofs {
			r.Header.Add("DPoP", p)
		}
		return d.Thumbprint(r)
	}
	claims := p.claims("").Without("ath").With("htm", `"POST"`).With("htu", `"https://auth.example.com/token"`)
	good := p.forge(p.header(), claims)
	if jkt, err := post(good); err != nil || jkt != p.jkt {
		t.Errorf("%q, error %v", jkt, err)
	}
	if jkt, err := post(good); !errors.Is(err, token.ErrReplayed) {
		t.Errorf("replayed: %q, error %v", jkt, err)
	}
	for name, proofs := range map[string][]string{
		"none": nil, "two": {good, good}, "another URL": {p.prove("")},
	} {
		if jkt, err := post(proofs...); !errors.Is(err, token.ErrProof) || jkt != "" {
			t.Errorf("%s: %q, error %v", name, jkt, err)
		}
	}
}

func TestNewDPoPRefuses(t *testing.T) {
	zero := new([32]byte)
	for name, cfg := range map[string]token.DPoPConfig{
		"BaseURL is empty":              {},
		"BaseURL and URL":               {BaseURL: proofBase, URL: func(*http.Request) string { return "" }},
		"BaseURL is not":                {BaseURL: "api.example.com"},
		"BaseURL is not an":             {BaseURL: "ftp://api.example.com"},
		"BaseURL is not an absolute":    {BaseURL: "https://me@api.example.com"},
		"BaseURL is not an absolute ht": {BaseURL: proofBase + "?a"},
		"Algorithms is empty":           {BaseURL: proofBase, Algorithms: []token.Algorithm{}},
		`Algorithms holds "HS256"`:      {BaseURL: proofBase, Algorithms: []token.Algorithm{token.ES256, token.HS256}},
		`Algorithms holds "none"`:       {BaseURL: proofBase, Algorithms: []token.Algorithm{"none"}},
		"Window":                        {BaseURL: proofBase, Window: time.Millisecond},
		"Window is":                     {BaseURL: proofBase, Window: time.Hour},
		"NonceLifetime":                 {BaseURL: proofBase, RequireNonce: true, NonceLifetime: time.Second},
		"NonceKeys is empty":            {BaseURL: proofBase, RequireNonce: true, NonceKeys: []*[32]byte{}},
		"NonceKeys holds":               {BaseURL: proofBase, RequireNonce: true, NonceKeys: []*[32]byte{zero}},
		"NonceKeys holds an":            {BaseURL: proofBase, RequireNonce: true, NonceKeys: []*[32]byte{nil}},
		"MaxProofs":                     {BaseURL: proofBase, MaxProofs: -1},
		"MaxProofs is":                  {BaseURL: proofBase, MaxProofs: 1 << 30},
	} {
		if d, err := token.NewDPoP(cfg); d != nil || err == nil || !strings.HasPrefix(err.Error(), "token: DPoPConfig."+name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	d, err := token.NewDPoP(token.DPoPConfig{BaseURL: "http://localhost:8080"})
	if err != nil || d.Nonce() != "" || d.String() != "token.DPoP{algs: ES256 Ed25519 EdDSA PS256}" {
		t.Errorf("the good twin: %v, error %v", d, err)
	}
	_, err = token.NewVerifier(token.VerifierConfig{Issuer: forge.Issuer, Audiences: []string{"a"}, Algorithms: []token.Algorithm{token.EdDSA},
		Keys: forge.Ring(t, issue.KeyringConfig{}), InsecureNoRevocations: true, DPoP: &token.DPoP{}})
	if err == nil || !strings.Contains(err.Error(), "VerifierConfig.DPoP") {
		t.Errorf("a DPoP that NewDPoP did not make: error %v", err)
	}
}

// Invariant 10.
func TestDPoPRedaction(t *testing.T) {
	key := [32]byte([]byte("a nonce key of thirty-two bytes."))
	cfg := token.DPoPConfig{BaseURL: proofBase, RequireNonce: true, NonceKeys: []*[32]byte{&key}}
	d, err := token.NewDPoP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := token.Sender{Proof: "secret-proof", URL: proofURL, Method: "GET"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out := fmt.Sprintf(verb+verb, cfg, d)
		for _, secret := range []string{"nonce key", fmt.Sprintf("%x", key[:8]), "97 32 110", "0x61, 0x20"} {
			if strings.Contains(out, secret) {
				t.Errorf("%s: %s", verb, out)
			}
		}
		if verb != "%d" && strings.Contains(fmt.Sprintf(verb, s)+fmt.Sprintf(verb, &s), "secret-proof") {
			t.Errorf("%s shows a proof", verb)
		}
	}
	if !strings.Contains(s.String(), "proof: true") || !strings.Contains(s.LogValue().String(), "proof=true") || !strings.Contains(d.LogValue().String(), "ES256") {
		t.Errorf("%s %s %s", s, s.LogValue(), d.LogValue())
	}
}

// Each limit of a DPoPConfig, exactly at it and just beyond.
func TestDPoPLimits(t *testing.T) {
	set := func(change func(*token.DPoPConfig, time.Duration), least, most time.Duration) {
		t.Helper()
		for x, good := range map[time.Duration]bool{least - 1: false, least: true, most: true, most + 1: false} {
			cfg := token.DPoPConfig{BaseURL: proofBase, RequireNonce: true}
			change(&cfg, x)
			if _, err := token.NewDPoP(cfg); (err == nil) != good {
				t.Errorf("%s: %v", x, err)
			}
		}
	}
	set(func(c *token.DPoPConfig, d time.Duration) { c.Window = d }, time.Second, 5*time.Minute)
	set(func(c *token.DPoPConfig, d time.Duration) { c.NonceLifetime = d }, 4*time.Second, time.Hour)
}
