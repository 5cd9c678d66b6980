package token_test

import (
	"bytes"
	"log/slog"
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

// Anyone who has only a service that answers 401 to everybody, and its log at the usual level,
// finds the cause there, once a minute, and what to look at. Nothing of a token stands in it.
func TestConstantRefusalsAreExplained(t *testing.T) {
	forge.Keys()
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	other := forge.Ed(t, "other", forge.NewEd(t))
	forger := forge.Ed(t, "ed", forge.NewEd(t))
	type config = token.VerifierConfig
	type edit = func(forge.Object) forge.Object
	same := func(o forge.Object) forge.Object { return o }
	set := func(name, raw string) edit { return func(o forge.Object) forge.Object { return o.With(name, raw) } }
	without := func(name string) edit { return func(o forge.Object) forge.Object { return o.Without(name) } }
	p := edProver(t)
	for _, x := range []struct {
		name           string
		by             forge.Signer
		header, claims edit
		config         func(*config)
		opts           []token.VerifyOption
		scheme         string // Bearer if empty
		status         int
		level, says    string
		cause          string
	}{
		{name: "typ", header: set("typ", `"JWT"`), level: "INFO", cause: "type", says: `header typ is none of [\"at+jwt\"]`},
		{name: "typ of a Profile", config: func(c *config) { c.Profile.Types = []string{"JWT"} }, level: "INFO", cause: "type", says: `header typ is none of [\"JWT\"]`},
		{name: "alg", header: set("alg", `"RS256"`), level: "INFO", cause: "algorithm", says: "header alg is none of [EdDSA]"},
		{name: "kid", by: other, level: "INFO", cause: "unknown_key", says: "unknown key"},
		{name: "signature", by: forger, level: "INFO", cause: "signature", says: "bad signature"},
		{name: "size", claims: set("groups", strconv.Quote(strings.Repeat("g", 29<<10))), status: 400, level: "INFO", cause: "too_large", says: "more than 8192"},
		{name: "no client_id", claims: without("client_id"), level: "WARN", cause: "claims", says: "client_id is missing"},
		{name: "no jti", claims: without("jti"), level: "WARN", cause: "claims", says: "jti is missing"},
		{name: "numeric sub", claims: set("sub", "17"), level: "WARN", cause: "claims", says: "sub is not a string"},
		{name: "aud", claims: set("aud", `"billing-secret"`), level: "WARN", cause: "audience", says: "aud holds none of"},
		{name: "iss", claims: set("iss", `"https://auth.example.com/"`), level: "WARN", cause: "issuer", says: "iss is not"},
		{name: "exp − iat", claims: set("exp", forge.Number(time.Now().Add(300*time.Hour).Unix())), level: "WARN", cause: "lifetime", says: "exp − iat is more than"},
		{name: "iat ahead", claims: func(o forge.Object) forge.Object {
			return o.With("iat", forge.Number(time.Now().Unix()+600)).With("exp", forge.Number(time.Now().Unix()+900))
		}, level: "WARN", cause: "not_yet_valid", says: "iat"},
		{name: "nbf ahead", claims: set("nbf", forge.Number(time.Now().Add(300*time.Hour).Unix())), level: "WARN", cause: "not_yet_valid", says: "nbf"},
		{name: "a required claim", config: func(c *config) { c.Profile.Require = map[string][]string{"use": {"access"}} }, level: "WARN", cause: "claims", says: "use is missing"},
		{name: "a DPoP token without DPoP", claims: set("cnf", `{"jkt":"`+p.jkt+`"}`), level: "INFO", cause: "binding", says: "bound to a DPoP key"},
		{name: "RequireBinding", config: func(c *config) { c.RequireBinding = true }, level: "INFO", cause: "binding", says: "RequireBinding"},
		{name: "scope array", claims: set("scope", `["a"]`), opts: []token.VerifyOption{token.RequireScope("a")}, status: 403, level: "INFO", cause: "scope", says: "scope is not a string"},
		{name: "no scope", claims: without("scope"), opts: []token.VerifyOption{token.RequireScope("a")}, status: 403, level: "INFO", cause: "scope", says: "no scope"},
		{name: "auth_time as text", claims: set("auth_time", `"1"`), opts: []token.VerifyOption{token.RequireFresh(time.Hour)}, level: "INFO", cause: "authentication", says: "auth_time is no number"},
		{name: "no acr", opts: []token.VerifyOption{token.RequireACR("a")}, level: "INFO", cause: "authentication", says: "no acr"},
		{name: "our clock is ahead", claims: func(o forge.Object) forge.Object {
			return o.With("iat", forge.Number(time.Now().Add(-2*time.Hour).Unix())).With("exp", forge.Number(time.Now().Add(-time.Hour).Unix()))
		}, level: "INFO", cause: "expired", says: "expired"},
		{name: "DPoP where there is none", scheme: "DPoP", level: "INFO", cause: "scheme", says: "VerifierConfig.DPoP is nil"},
		{name: "Basic", scheme: "Basic", level: "INFO", cause: "scheme", says: "under another scheme"},
		{name: "more than the token", scheme: "Bearer token", status: 400, level: "INFO", cause: "request", says: "malformed access token"},
	} {
		synctest.Test(t, func(t *testing.T) {
			if x.by.Sign == nil {
				x.by = ed
			}
			if x.header == nil {
				x.header = same
			}
			if x.claims == nil {
				x.claims = same
			}
			if x.status == 0 {
				x.status = 401
			}
			if x.scheme == "" {
				x.scheme = "Bearer"
			}
			var logged bytes.Buffer
			v := forge.Verifier(t, func(c *config) {
				c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
				if x.config != nil {
					x.config(c)
				}
				c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
			})
			logged.Reset()
			h := v.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), x.opts...)
			start := time.Now()
			for time.Since(start) < 3*time.Minute {
				raw := x.by.Forge(x.header(x.by.Header()), x.claims(forge.Claims(time.Now())))
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("Authorization", x.scheme+" "+raw)
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != x.status {
					t.Fatalf("%s: %d %s, want %d", x.name, w.Code, w.Body, x.status)
				}
				if strings.Contains(strings.ToLower(w.Body.String()), "get a new") {
					t.Errorf("%s: the client is sent for another token of the same kind: %s", x.name, w.Body)
				}
				if leak := forge.Leaks(strings.ReplaceAll(logged.String(), "issuer="+forge.Issuer, ""), raw); leak != "" {
					t.Fatalf("%s: the log holds %q (invariant 10)", x.name, leak)
				}
				time.Sleep(5 * time.Second)
			}
			var lines []string
			for line := range strings.Lines(logged.String()) {
				if strings.Contains(line, "cause="+x.cause) {
					lines = append(lines, line)
				}
			}
			if len(lines) < 2 || len(lines) > 4 || !strings.Contains(lines[0], "level="+x.level) || !strings.Contains(lines[0], x.says) || !strings.Contains(lines[0], "advice=") {
				t.Errorf("%s: %d lines, want %q:\n%.1500s", x.name, len(lines), x.says, &logged)
			}
			if n := strings.Count(logged.String(), "\n"); n > 8 {
				t.Errorf("%s: %d lines in three minutes", x.name, n)
			}
			refused := v.Status().Refused
			if n := refused[x.cause]; (n != 36 || len(refused) != 1) && x.cause != "scheme" && x.cause != "request" {
				t.Errorf("%s: Status counts %v", x.name, refused)
			}
		})
	}
}

// Beside tokens that are accepted the everyday refusals, of what has expired or was
// revoked, are no news.
func TestEverydayRefusalsAreNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := forge.LocalList(t, revoke.Config{})
		var logged bytes.Buffer
		ring := forge.Ring(t, issue.KeyringConfig{})
		issuer := forge.NewIssuer(t, ring, nil)
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.Revocations, c.InsecureNoRevocations = []token.Algorithm{token.EdDSA}, ring, list, false
			c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		})
		h := v.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		get := func(raw string) int {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+raw)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Code
		}
		expired := forge.Issue(t, issuer, forge.Request()).Raw()
		time.Sleep(20 * time.Minute)
		revoked := forge.Issue(t, issuer, forge.Request())
		event, err := revoke.TokenOf(revoked.Claims().Identity())
		if err != nil {
			t.Fatal(err)
		}
		forge.Apply(t, list, event)
		for range 120 {
			if a, b, c := get(forge.Issue(t, issuer, forge.Request()).Raw()), get(expired), get(revoked.Raw()); a != 200 || b != 401 || c != 401 {
				t.Fatalf("%d, %d, %d", a, b, c)
			}
			time.Sleep(5 * time.Second)
		}
		if logged.Len() != 0 {
			t.Errorf("logged %s", &logged)
		}
		// But while nothing is accepted any more they are.
		for range 60 {
			get(expired)
			time.Sleep(5 * time.Second)
		}
		if n := strings.Count(logged.String(), "cause=expired"); n < 3 || n > 5 {
			t.Errorf("%d lines:\n%s", n, &logged)
		}
	})
}

// A claim that the configuration names and that no token has is said once, and counted;
// where some have it, nothing is said.
func TestNamedClaimsThatNoTokenHas(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	for _, x := range []struct {
		name   string
		config func(*token.VerifierConfig)
		first  bool   // a token that has the claim comes first
		kind   string // that is counted
		says   string
	}{
		{"TenantClaim", func(c *token.VerifierConfig) { c.TenantClaim = "tid" }, false, "tenant", "claim=tid"},
		{"TenantClaim, no cache", func(c *token.VerifierConfig) { c.TenantClaim, c.NoCache = "tid", true }, false, "tenant", "claim=tid"},
		{"TenantClaim that some have", func(c *token.VerifierConfig) { c.TenantClaim = "tid" }, true, "tenant", ""},
		{"SessionClaim", func(c *token.VerifierConfig) { c.Profile.SessionClaim = "session_state" }, false, "session", "claim=session_state"},
		{"IDClaim", func(c *token.VerifierConfig) { c.Profile.IDClaim, c.Profile.Optional = "uti", []string{"jti"} }, false, "token", "claim=uti"},
		{"ClientClaim", func(c *token.VerifierConfig) {
			c.Profile.ClientClaim, c.Profile.Optional = "azp", []string{"client_id"}
		}, false, "client", "claim=azp"},
		{"the default", func(c *token.VerifierConfig) {}, false, "tenant", ""},
	} {
		var logged bytes.Buffer
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
			c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
			x.config(c)
		})
		logged.Reset()
		full := forge.Claims(time.Now()).With("tid", `"t"`)
		if x.first {
			if _, err := v.Verify(t.Context(), ed.Forge(ed.Header(), full)); err != nil {
				t.Fatal(err)
			}
		}
		bare := forge.Claims(time.Now()).Without("tenant")
		switch x.kind {
		case "session":
			bare = bare.Without("sid")
		case "token":
			bare = bare.Without("jti")
		case "client":
			bare = bare.Without("client_id")
		}
		for i := range 5 {
			if _, err := v.Verify(t.Context(), ed.Forge(ed.Header(), bare.With("n", strconv.Itoa(i)))); err != nil {
				t.Fatalf("%s: %v", x.name, err)
			}
		}
		want := 1
		if x.says == "" {
			want = 0
		}
		if n := strings.Count(logged.String(), "level=WARN"); n != want || !strings.Contains(logged.String(), x.says) {
			t.Errorf("%s: logged %s", x.name, &logged)
		}
		if n := v.Status().Unnamed[x.kind]; n != 5 {
			t.Errorf("%s: Status counts %v", x.name, v.Status().Unnamed)
		}
	}
}

// A claim tenant of a form that no event names is passed over, once an hour aloud where there is a
// denylist; one of the right form is silent.
func TestTenantsOfAnotherFormAreToldOnceAnHour(t *testing.T) {
	forge.Keys()
	for name, c := range map[string]struct {
		tenant string
		list   bool
		says   int
	}{
		"an object":              {`{"id":"acme"}`, true, 2},
		"a number":               {`17`, true, 2},
		"text":                   {`"acme"`, true, 0},
		"an object, no denylist": {`{"id":"acme"}`, false, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			ed := forge.Ed(t, "ed", forge.Keys().Ed)
			var logged bytes.Buffer
			v := forge.Verifier(t, func(cfg *token.VerifierConfig) {
				cfg.Algorithms, cfg.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
				cfg.Logger = slog.New(slog.NewTextHandler(&logged, nil))
				if c.list {
					cfg.Revocations, cfg.InsecureNoRevocations = forge.LocalList(t, revoke.Config{}), false
				}
			})
			logged.Reset()
			for i, pass := range []time.Duration{0, 0, time.Hour - 1, 1} {
				time.Sleep(pass)
				if _, err := v.Verify(t.Context(), ed.Forge(ed.Header(), forge.Claims(time.Now()).With("tenant", c.tenant).With("n", strconv.Itoa(i)))); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if n := strings.Count(logged.String(), "which is passed over"); n != c.says {
				t.Errorf("%s: said %d times, want %d:\n%s", name, n, c.says, &logged)
			}
		})
	}
}

// How far an issuer's clock is ahead is logged, and told by IssuedAhead, as it is.
func TestHowFarAnIssuerIsAhead(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		var logged bytes.Buffer
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
			c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		})
		for _, ahead := range []time.Duration{59 * time.Second, 75 * time.Second, 70 * time.Second} {
			_, err := v.Verify(t.Context(), ed.Forge(ed.Header(), forge.Claims(time.Now().Add(ahead)).Without("nbf")))
			if (err == nil) != (ahead <= time.Minute) {
				t.Errorf("%s ahead: %v", ahead, err)
			}
		}
		if s := logged.String(); strings.Count(s, "from the future") != 1 || !strings.Contains(s, " ahead=1m15s ") {
			t.Errorf("logged:\n%s", s)
		}
		if a := v.IssuedAhead()[forge.Issuer]; a != (token.IssuedAhead{Accepted: 1, Refused: 2, Furthest: 75 * time.Second}) {
			t.Errorf("%+v", a)
		}
	})
}
