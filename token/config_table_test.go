package token_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A row is one field of a configuration: values that cannot be meant, which are refused
// with a ConfigError that names it, those that weaken, which are warned of, and one that is
// good. A field that takes any value says why.
type row struct {
	bad  []any  // values, or functions that change the whole configuration
	weak []any  // the same
	good any    // the same
	any  string // why no value is wrong
}

// Every field of every configuration has a row: a new one without fails.
func TestEveryFieldOfEveryConfig(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	ring := forge.Ring(t, issue.KeyringConfig{})
	hour := forge.LocalList(t, revoke.Config{TokenLifetime: time.Hour})
	fromProxy := token.FromAddresses()
	published := new(forge.Web)
	published.Set(jwksURL, forge.KeysAt(t, "k"))
	published.Set("http://auth.example.com/keys", forge.KeysAt(t, "k"))
	type (
		v = token.VerifierConfig
		d = token.DPoPConfig
		i = issue.Config
		k = issue.KeyringConfig
		r = token.RemoteKeySetConfig
		f = token.ForwardAuthConfig
	)
	const farAway = 1 << 60 // of nanoseconds: some 36 years
	durations := func(more ...any) []any { return append([]any{time.Duration(-1), time.Duration(farAway)}, more...) }
	for _, c := range []struct {
		name string
		base func(log *slog.Logger) any // a pointer to a good configuration
		make func(cfg any) error
		rows map[string]row
	}{
		{"token.VerifierConfig", func(log *slog.Logger) any {
			return &v{Issuer: forge.Issuer, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: forge.StaticKeys(t, ed), Revocations: hour, Logger: log}
		}, func(cfg any) error { _, err := token.NewVerifier(*cfg.(*v)); return err }, map[string]row{
			"Issuer":    {bad: []any{"", strings.Repeat("i", 513), " https://auth.example.com", "https://auth.example.com\n", "\xff", "https://login.microsoftonline.com/{tenantid}/v2.0"}, good: "https://auth.example.com/"},
			"OwnIssuer": {any: "both are meant; one that is another's is refused with a MaxSkew below a second", good: true},
			"Audiences": {bad: []any{[]string(nil), []string{}, []string{""}, []string{"a", ""}, []string{" a"}, []string{"a\n"}, []string{"*"}}, good: []string{"a", "b"}},
			"Algorithms": {bad: []any{[]token.Algorithm(nil), []token.Algorithm{}, []token.Algorithm{""}, []token.Algorithm{"none"}, []token.Algorithm{"rs256"}, []token.Algorithm{token.RS256, token.HS256}},
				good: []token.Algorithm{token.EdDSA, token.ES256}},
			"Keys":                  {bad: []any{nil, (*token.StaticKeySet)(nil), (*issue.Keyring)(nil), (*token.RemoteKeySet)(nil), new(token.StaticKeySet), new(issue.Keyring), new(token.RemoteKeySet)}, good: ring},
			"Revocations":           {bad: []any{(*revoke.List)(nil), new(revoke.List)}, good: hour},
			"InsecureNoRevocations": {bad: []any{true}, weak: []any{func(c *v) { c.Revocations, c.InsecureNoRevocations = nil, true }}},
			"WhenStale":             {bad: []any{revoke.AllowYounger(0), revoke.AllowYounger(-1), revoke.AllowYounger(time.Hour)}, weak: []any{revoke.InsecureAllow(), revoke.AllowYounger(time.Minute)}},
			"Leeway":                {bad: durations(time.Duration(30), revoke.MaxLeeway+1), weak: []any{2 * time.Minute, revoke.MaxLeeway}, good: time.Minute},
			"MaxLifetime": {bad: durations(time.Duration(900), time.Hour+1), good: 15 * time.Minute, weak: []any{
				func(c *v) { c.Revocations, c.InsecureNoRevocations, c.MaxLifetime = nil, true, 25*time.Hour },
				func(c *v) { c.Revocations = forge.LocalList(t, revoke.Config{TokenLifetime: 48 * time.Hour}) },
			}},
			"DPoP":              {bad: []any{new(token.DPoP)}, good: newDPoP(t, nil)},
			"ClientCertificate": {any: "only the caller knows where his proxy writes it"},
			"RequireBinding":    {any: "it refuses more", good: true},
			"TenantClaim":       {bad: []any{"sub", "SUB", "\xff", "x\n", "hyt_at"}, good: "tid"},
			"Profile":           {any: "see its own rows"},
			"MaxTokenBytes":     {bad: []any{-1, 8, 64<<10 + 1}, good: 64 << 10},
			"CacheBytes":        {bad: []any{-1, 16}, good: 64 << 10},
			"NoCache":           {bad: []any{func(c *v) { c.CacheBytes, c.NoCache = 1<<20, true }}, good: true},
			"Logger":            {any: "nil is silent"},
		}},
		{"token.Profile", func(log *slog.Logger) any {
			return &v{Issuer: forge.Issuer, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: forge.StaticKeys(t, ed), Revocations: hour, Logger: log}
		}, func(cfg any) error { _, err := token.NewVerifier(*cfg.(*v)); return err }, map[string]row{
			"Types":         {bad: []any{[]string{}, []string{"logout+jwt"}, []string{"application/secevent+jwt"}}, weak: []any{[]string{"JWT"}, []string{""}}, good: []string{"at+jwt"}},
			"Optional":      {bad: []any{[]string{"exp"}, []string{""}, []string{"iat"}, []string{"SUB"}}, weak: []any{[]string{"sub"}, []string{"jti", "client_id"}}},
			"Numeric":       {bad: []any{[]string{"exp"}, []string{""}, []string{"azp"}}, good: []string{"sub"}},
			"Tenants":       {bad: []any{func(string) bool { return true }}},
			"AudienceClaim": {bad: []any{"sub", "exp"}, weak: []any{"client_id", "resource"}},
			"ClientClaim":   {bad: []any{"sub", "aud"}, good: "azp"},
			"IDClaim":       {bad: []any{"sid", "sub"}, good: "uti"},
			"SessionClaim":  {bad: []any{"jti", "sub"}, good: "origin_jti"},
			"ScopeClaim":    {bad: []any{"aud", "sub"}, good: "scp"},
			"Require":       {bad: []any{map[string][]string{"a": nil}, map[string][]string{"a": {}}}, good: map[string][]string{"a": {"b"}}},
			"Refuse":        {bad: []any{func(c *v) { c.Profile.Refuse, c.Profile.Require = []string{"a"}, map[string][]string{"a": {"b"}} }}, good: []string{"nonce"}},
		}},
		{"token.DPoPConfig", func(*slog.Logger) any { return &d{BaseURL: proofBase} }, func(cfg any) error { _, err := token.NewDPoP(*cfg.(*d)); return err }, map[string]row{
			"BaseURL":       {bad: []any{"", "api.example.com", "ftp://x", "https://x?y", "https://x#y", "https://a@x", func(c *d) { c.URL = func(*http.Request) string { return "" } }}, good: "https://api.example.com/v1"},
			"URL":           {any: "only the caller knows his names", good: func(c *d) { c.BaseURL, c.URL = "", func(*http.Request) string { return "" } }},
			"Algorithms":    {bad: []any{[]token.Algorithm{}, []token.Algorithm{token.HS256}, []token.Algorithm{"none"}}, good: []token.Algorithm{token.ES256}},
			"Window":        {bad: durations(time.Duration(60)), good: time.Minute},
			"RequireNonce":  {any: "it refuses more", good: true},
			"NonceLifetime": {bad: []any{time.Minute, func(c *d) { c.RequireNonce, c.NonceLifetime = true, -1 }, func(c *d) { c.RequireNonce, c.NonceLifetime = true, farAway }}, good: func(c *d) { c.RequireNonce, c.NonceLifetime = true, time.Minute }},
			"NonceKeys": {bad: []any{[]*[32]byte{{1, 2}}, func(c *d) { c.RequireNonce, c.NonceKeys = true, []*[32]byte{} }, func(c *d) { c.RequireNonce, c.NonceKeys = true, []*[32]byte{nil} }, func(c *d) { c.RequireNonce, c.NonceKeys = true, []*[32]byte{{}} }},
				good: func(c *d) { c.RequireNonce, c.NonceKeys = true, []*[32]byte{{1, 2}} }},
			"MaxProofs": {bad: []any{-1, 10, 1<<24 + 1}, good: 1 << 10},
		}},
		{"issue.Config", func(*slog.Logger) any { return &i{Issuer: forge.Issuer, Keys: ring} }, func(cfg any) error { _, err := issue.NewIssuer(*cfg.(*i)); return err }, map[string]row{
			"Issuer":        {bad: []any{"", strings.Repeat("i", 513), " https://auth.example.com", "\xff"}, good: "https://auth.example.com/"},
			"Keys":          {bad: []any{(*issue.Keyring)(nil), new(issue.Keyring)}, good: ring},
			"Lifetime":      {bad: durations(time.Duration(900), 2*time.Hour), good: 5 * time.Minute},
			"TokenLifetime": {bad: durations(time.Duration(900)), good: 2 * time.Hour},
			"MaxSkew":       {bad: durations(time.Duration(2), revoke.MaxSkewLimit+time.Millisecond), good: time.Second},
			"WholeSeconds":  {any: "it is without effect"},
			"TenantClaim":   {bad: []any{"sub", "\xff", "hyt_at"}, good: "org"},
			"MaxTokenBytes": {bad: []any{-1, 8, 64<<10 + 1}, good: 16 << 10},
		}},
		{"issue.KeyringConfig", func(log *slog.Logger) any { return &k{Logger: log} }, func(cfg any) error { _, err := issue.NewEphemeralKeyring(*cfg.(*k)); return err }, map[string]row{
			"Issuer":            {bad: []any{strings.Repeat("i", 513), " x", "\xff"}, good: forge.Issuer},
			"Algorithm":         {bad: []any{token.Algorithm("none"), token.HS256}, good: token.ES256},
			"MaxAge":            {bad: durations(time.Duration(300)), good: time.Minute},
			"RotateEvery":       {bad: durations(), good: 7 * 24 * time.Hour},
			"AnnounceFor":       {bad: durations(time.Duration(300)), good: time.Hour},
			"TokenLifetime":     {bad: durations(time.Duration(900)), good: 2 * time.Hour},
			"MaxSkew":           {bad: durations(), good: time.Second},
			"RefreshInterval":   {bad: durations(), good: time.Second},
			"SealKeys":          {any: "judged by NewSealKey and OpenKeyring"},
			"InsecureOpenPlain": {any: "judged by OpenKeyring"},
			"Revocations":       {any: "judged by OpenKeyring"},
			"FirstKey":          {any: "judged by OpenKeyring"},
			"CopyFrom":          {any: "judged by OpenKeyring"},
			"Logger":            {any: "nil is silent"},
		}},
		{"token.RemoteKeySetConfig", func(log *slog.Logger) any { return &r{Transport: published, Logger: log} }, func(cfg any) error {
			url := jwksURL
			if cfg.(*r).InsecureAllowHTTP {
				url = "http://auth.example.com/keys"
			}
			s, err := token.NewRemoteKeySet(t.Context(), url, *cfg.(*r))
			if err == nil {
				s.Close()
			}
			return err
		}, map[string]row{
			"Algorithms":        {bad: []any{[]token.Algorithm{token.HS256}, []token.Algorithm{"none"}}, good: []token.Algorithm{token.EdDSA}},
			"RefreshInterval":   {bad: durations(time.Duration(300)), good: time.Minute},
			"MinInterval":       {bad: durations(time.Duration(10)), good: time.Second},
			"MaxAge":            {bad: durations(time.Duration(3600)), good: 2 * time.Hour},
			"Timeout":           {bad: durations(time.Duration(10)), good: time.Second},
			"Transport":         {any: "nil is ours"},
			"InsecureAllowHTTP": {weak: []any{true}},
			"Logger":            {any: "nil is silent"},
		}},
		{"token.ForwardAuthConfig", func(log *slog.Logger) any {
			return &f{MethodHeader: "X-Original-Method", URIHeader: "X-Original-Uri", FromProxy: fromProxy, Logger: log}
		}, func(cfg any) error { _, err := token.NewForwardAuth(*cfg.(*f), http.NotFoundHandler()); return err }, map[string]row{
			"MethodHeader": {bad: []any{"", "a b", "Authorization", "X-Ä"}, good: "X-Forwarded-Method"},
			"URIHeader":    {bad: []any{"", "a:b", "DPoP", "x-original-method"}, good: "X-Forwarded-Uri"},
			"HostHeader":   {bad: []any{"Host", "X-Original-Uri", " "}, good: "X-Forwarded-Host"},
			"FromProxy":    {bad: []any{(func(*http.Request) bool)(nil)}, good: fromProxy},
			"Logger":       {any: "nil is silent"},
		}},
	} {
		structure := reflect.TypeOf(c.base(nil)).Elem()
		inner := ""
		if c.name == "token.Profile" {
			structure, inner = reflect.TypeFor[token.Profile](), "Profile."
		}
		with := func(field string, value any, log *slog.Logger) error {
			cfg := c.base(log)
			if x := reflect.ValueOf(value); value != nil && x.Kind() == reflect.Func && x.Type().NumIn() == 1 && x.Type().In(0) == reflect.TypeOf(cfg) {
				x.Call([]reflect.Value{reflect.ValueOf(cfg)})
				return c.make(cfg)
			}
			s := reflect.ValueOf(cfg).Elem()
			if inner != "" {
				s = s.FieldByName("Profile")
			}
			at := s.FieldByName(field)
			if value == nil {
				at.SetZero()
			} else {
				at.Set(reflect.ValueOf(value))
			}
			return c.make(cfg)
		}
		if err := c.make(c.base(nil)); err != nil {
			t.Errorf("%s: the good configuration: %v", c.name, err)
		}
		seen := 0
		for n := range structure.NumField() {
			field := structure.Field(n)
			if !field.IsExported() {
				continue
			}
			x, ok := c.rows[field.Name]
			seen++
			switch {
			case !ok:
				t.Errorf("%s.%s has no row", c.name, field.Name)
				continue
			case len(x.bad) == 0 && len(x.weak) == 0 && x.any == "":
				t.Errorf("%s.%s has an empty row", c.name, field.Name)
			}
			for _, value := range x.bad {
				err := with(field.Name, value, nil)
				var bad *token.ConfigError
				owner := c.name
				if inner != "" {
					owner = "token.VerifierConfig"
				}
				if !errors.As(err, &bad) || bad.Config != owner || bad.Field != inner+field.Name || bad.Reason == "" || !strings.Contains(err.Error(), owner[strings.IndexByte(owner, '.')+1:]+"."+bad.Field+" ") {
					t.Errorf("%s.%s = %.60v: error %v", c.name, field.Name, value, err)
				}
			}
			for _, value := range x.weak {
				var logged bytes.Buffer
				if err := with(field.Name, value, slog.New(slog.NewTextHandler(&logged, nil))); err != nil || !strings.Contains(logged.String(), "level=WARN") {
					t.Errorf("%s.%s = %.60v: error %v, logged %q", c.name, field.Name, value, err, &logged)
				}
			}
			if x.good != nil {
				var logged bytes.Buffer
				if err := with(field.Name, x.good, slog.New(slog.NewTextHandler(&logged, nil))); err != nil || strings.Contains(logged.String(), "level=WARN") {
					t.Errorf("%s.%s = %.60v, which is good: error %v, logged %q", c.name, field.Name, x.good, err, &logged)
				}
			}
		}
		if seen != len(c.rows) {
			t.Errorf("%s: %d rows of %d fields", c.name, len(c.rows), seen)
		}
	}
}
