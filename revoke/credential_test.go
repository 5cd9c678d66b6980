package revoke_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Made up; none opens anything.
const (
	jwt  = "eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImsxIn0.eyJpc3MiOiJodHRwczovL2EifQ.c2lnbmF0dXJl"
	htr1 = "htr1_AAECAwQFBgcICQoLDA0ODwAAAZt3QAAAAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8AAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw"
)

var credentials = map[string]string{
	"a JWT":                          jwt,
	"a JWT, Bearer":                  "Bearer " + jwt,
	"a JWT, DPoP":                    "dpop " + jwt,
	"a JWT, in a header":             "Authorization: Bearer " + jwt,
	"a JWT, blanks around":           "  " + jwt + "\n",
	"a JWT, quoted":                  `"` + jwt + `"`,
	"a JWT, in prose":                "leaked: " + jwt + " (see the ticket)",
	"a JWT, in a URL":                "app://cb.test/cb?id_token=" + jwt + "&state=x",
	"a JWT, in a path":               "app://cb.test/t/" + jwt,
	"a JWT, in a fragment":           "#access_token=" + jwt,
	"a JWT without its signature":    jwt[:strings.LastIndex(jwt, ".")],
	"a JWT, signature empty":         jwt[:strings.LastIndex(jwt, ".")+1],
	"a JWT, padded":                  strings.Replace(jwt, ".", "==.", 1),
	"a JWT, white space in the head": "eyAiYWxnIiA6ICJFUzI1NiIgfQ.e30.c2ln",
	"a JWT, a line first":            "CnsiYWxnIjoiRVMyNTYifQ.e30.c2ln",
	"a JWE":                          "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a2V5.aXY.Y2lwaGVy.dGFn",
	"an SD-JWT":                      jwt + "~WyJzYWx0IiwiYSIsMV0~",
	"a refresh token":                htr1,
	"a refresh token, quoted":        `'` + htr1 + `'`,
	"a refresh token, as a cookie":   "__Secure-refresh=" + htr1,
	"a cookie header":                "Cookie: sid=2f6c1b7a9e; lang=en",
	"a Set-Cookie header":            "set-cookie: session=s3cr3tv4lue; Path=/; HttpOnly",
	"a __Host- cookie":               "__Host-session=abcdefghij",
	"a private key in PEM":           "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA",
	"a private JWK":                  `{"kty":"OKP","crv":"Ed25519","x":"eA","d":"ZA"}`,
	"a symmetric JWK":                `{ "kty" : "oct", "k" : "c2VjcmV0" }`,
	"a JWS as JSON":                  `{"payload":"e30","protected":"eyJhbGciOiJFUzI1NiJ9","signature":"c2ln"}`,
	"an answer of a token endpoint":  `{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"Bearer"}`,
	"an opaque bearer token":         "Bearer 2YotnFZFEjr1zCsicMWpAA",
	"a bearer token with dots":       "Bearer mF_9.B5f-4.1JqM.2YotnFZFEjr1zCsi",
	"basic credentials":              "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW",
	"a PASETO":                       "v4.local.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"a client secret":                "client_id=web&client_secret=7Fjfp0ZBr1KtDRbnfVdmIw",
	"a bearer token of letters":      "Bearer " + strings.Repeat("aB", 16),
	"a URL with a password":          "db://user:hunter2@idp.test",
}

// Whole identifiers of issuers that there are, and texts that speak of credentials.
var identifiers = []string{
	"user-1", "auth0|5f7c8ec7c33c6c004bbafe82", "google-oauth2|103547991597142817347", "alice@example.com", "mailto:alice@example.com", "https://idp.example.com/users/42",
	"f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "{f81d4fae-7dec-11d0-a765-00a0c91e6bf6}", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "248289761001", "AAMkAGI2=", "b2JqZWN0LWlkZW50aWZpZXI=",
	"PqT+/abc==", "CN=Alice Example,OU=People,O=Example Corp,C=DE", "uid=alice,ou=people,dc=example,dc=com", "EXAMPLE\\alice", "system:serviceaccount:default:builder", "spiffe://example.org/ns/prod/sa/web",
	"arn:aws:iam::123456789012:user/alice", "us-east-1:8f4d7c1e-3e1b-4d2a-9f0e-2c7e0d1b5a6f", "ONRTAC:4f1f6e5a-7a71-4b3e-9c2f-1d0f6a2b3c4d", "trrtcc:0b8b7c5e-4c37-4a68-8f0a-b7e0d1a0c9f1", "f:8a3f1c2e-5d4b-4a6f-9e8d-7c6b5a493827:alice",
	"3.14159", "1.2.840.113549", "a.b.c", "com.example.web", "0.AXEA-_abcDEF.AgABAAEAAAD", "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK", "Müller, Jürgen", "山田太郎", "key=value", "a b c", "alice smith",
	"Basic Telecommunications Ltd", "Bearer of News GmbH", "bearer-service", "DPoP demo client 2", "Basic Plan 2026", "cookie", "password-reset-service", "client_secret_basic", "ey", "eyJ", "eyJhbGci", "eyes.wide.open",
	"htr1_", "htr1_user", strings.Repeat("x", revoke.MaxValueBytes), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "e30.e30.e30", "eyJhIjoxfQ.eyJiIjoyfQ.c2ln", "user:pass@host", "ftp://alice@example.com/", "https://auth.example.com/realms/a?b=c:d@e",
	// Almost each of the forms that are refused.
	"com.engineeringdepart.web", "db.local.example.com", "a.public.example.org", "v4.local.key", "v2.public.schedule-of-2026", "v5.local.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "-----BEGINNING of the end", `{"kty":"EC","crv":"P-256"}`,
	`{"d":1,"k":2}`, `{"payload":"p"}`, `{"signature":"s","signatures":[]}`, `{"access_token"}`, `{"the password":1}`, "x=1 __Host-session", "x=1 __Secure-", "__Host-a=short", "cookie: a;b=cdefghijkl", "cookie jar: a=bcdefghijklm",
	"id_token=short", "forbearer 1234567890123456", "bearer 123456789012345", "bearer ofthewholecompanynews", "Bearer " + strings.Repeat("a", 31), "https://alice:@example.com/", "https://example.com/?to=a:b@c", "https://a.example.com/ and https://b@example.com/",
	"_IdP:7c9b2e51f0d94f3a8a6d1f0c3b2e4a59", "2026-01-01T00:00:00Z", "\u202ename", "a\u00ff\u2028\x01",
}

var remarks = []string{
	"logout", "password_change", "bearer token leaked", "Bearer authentication misconfigured", "cookie: stolen from the browser", "Set-Cookie without Secure", "basic auth was on", "access_token= in a log file", "password=changed",
	"the private key is in a repository", "JWT eyJhbGciOiJSUzI1NiJ9 header seen", "ticket https://tickets.example.com/T-12?x=y", "refresh token reuse (htr1_ prefix seen)", "two\nlines", " padded ",
	"password=abcd\x7fefghijkl", "cookie: lang=en", "Set-Cookie: theme = dark, not a session", "the __Host- prefix (path=/) is missing",
}

// What has the form of a credential is refused in every field and on every way in, and
// said to be so by name and not by value.
func TestCredentialsAreRefused(t *testing.T) {
	l, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	good := revoke.Event{Issuer: iss, Kind: revoke.KindSubject, Value: "u", Keep: []string{"s"}, Reason: "logout", Actor: "admin", ID: "1"}
	if _, err := good.Complete(time.Now(), revoke.DefaultRetention()); err != nil {
		t.Fatal(err)
	}
	for name, secret := range credentials {
		for field, event := range map[string]func(e *revoke.Event){
			"issuer": func(e *revoke.Event) { e.Issuer = secret }, "value": func(e *revoke.Event) { e.Value = secret }, "keep": func(e *revoke.Event) { e.Keep = []string{"s", secret} },
			"id": func(e *revoke.Event) { e.ID = secret }, "reason": func(e *revoke.Event) { e.Reason = secret }, "actor": func(e *revoke.Event) { e.Actor = secret },
		} {
			for kind := revoke.KindToken; kind <= revoke.KindIssuer; kind++ {
				e := good
				if e.Kind = kind; kind != revoke.KindSubject && field == "keep" {
					continue
				} else if kind != revoke.KindSubject {
					e.Keep = nil
				}
				switch kind {
				case revoke.KindKey:
					e.Value = thumbprint
				case revoke.KindIssuer:
					e.Value = ""
				}
				event(&e)
				_, completed := e.Complete(time.Now(), revoke.DefaultRetention())
				for way, err := range map[string]error{"Validate": e.Validate(), "Complete": completed, "Apply": l.Apply(revoke.Now(), e)} {
					if !errors.Is(err, revoke.ErrCredential) || !errors.Is(err, revoke.ErrInvalidEvent) || !strings.Contains(err.Error(), field) {
						t.Errorf("%s as %s of kind %s, %s: %v", name, field, kind, way, err)
					} else if leaks(err.Error(), secret) {
						t.Errorf("%s as %s, %s: the error tells it: %v", name, field, way, err)
					}
				}
			}
		}
		if _, err := revoke.TokenOf(revoke.Identity{Issuer: iss, Token: secret}); !errors.Is(err, revoke.ErrCredential) {
			t.Errorf("%s: TokenOf: %v", name, err)
		}
		if err := replica.CheckIdentifier("sid", secret); !errors.Is(err, revoke.ErrCredential) || !strings.Contains(err.Error(), "sid") {
			t.Errorf("%s: CheckIdentifier: %v", name, err)
		}
	}
	if s := l.Stats(revoke.Now()); s.Bytes == 0 || s.Applied[revoke.KindToken] != 0 {
		t.Errorf("applied: %v", s.Applied)
	}
	// One that is too long for any event is named as what it is all the same.
	e := revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: jwt + strings.Repeat("A", 2000)}
	if err := e.Validate(); !errors.Is(err, revoke.ErrCredential) {
		t.Errorf("a long token: %v", err)
	}
}

// leaks reports whether text holds a piece of secret of more than seven bytes.
func leaks(text, secret string) bool {
	for i := 0; i+8 <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+8]) {
			return true
		}
	}
	return false
}

func TestIdentifiersAndRemarksAreTaken(t *testing.T) {
	for _, s := range identifiers {
		if err := replica.CheckIdentifier("value", s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		e := revoke.Event{Issuer: s, Kind: revoke.KindSubject, Value: s, Keep: []string{s}}
		if len(s) <= revoke.MaxReasonBytes {
			e.ID, e.Reason, e.Actor = s, s, s
		}
		if err := e.Validate(); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range remarks {
		e := revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: "s", Reason: s, Actor: s}
		if err := e.Validate(); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for want, all := range map[string][]string{
		"blank": {" ", "\u00a0", " \t\n"}, "white space": {" user", "user ", "user\n", "\tuser", "\ufeffuser", "user\u200b", "user\r\n"},
		"control character": {"us\ner", "us\x00er", "us\ter", "\x1b[2Juser", "user\x7f"}, "empty": {""}, "UTF-8": {"\xff"}, "513": {strings.Repeat("x", revoke.MaxValueBytes+1)},
	} {
		for _, s := range all {
			if err := replica.CheckIdentifier("sub", s); !errors.Is(err, revoke.ErrInvalidEvent) || errors.Is(err, revoke.ErrCredential) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "sub") {
				t.Errorf("%q: %v, want one that says %q", s, err, want)
			}
			e := revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: s}
			if e.Validate() == nil {
				t.Errorf("%q is taken for a sid", s)
			}
		}
	}
}

// A replica applies what it receives: a value is not shown and costs nobody anything, and
// if it is an identifier after all, its revocation is not lost.
func TestReceivedCredentialsAreAppliedCountedAndNotShown(t *testing.T) {
	var log strings.Builder
	now := revoke.Now()
	l, f := fed(t, now, &log)
	l.ExpectIssuer(iss)
	n := uint64(0)
	for _, secret := range credentials {
		if strings.Contains(secret, "PRIVATE") || len(secret) > revoke.MaxValueBytes {
			continue
		}
		for _, e := range []revoke.Event{{Issuer: iss, Kind: revoke.KindSubject, Value: secret}, {Issuer: secret, Kind: revoke.KindSubject, Value: "u"}} {
			n++
			if err := f.Event(now, replica.Record{Generation: 1, Delivery: n, Sequence: n, Time: now.Time()}, e); err != nil {
				t.Fatal(err)
			}
			id := revoke.Identity{Issuer: e.Issuer, Subject: e.Value, IssuedAt: now.Time()}
			if err := l.Check(now, &id, revoke.InsecureAllow()); !errors.Is(err, revoke.ErrRevoked) {
				t.Errorf("not applied: %v", err)
			}
		}
		now = now.Add(2 * time.Minute) // so that each is logged
		if leaks(log.String(), secret) {
			t.Errorf("shown: %s", log.String())
		}
	}
	if s := l.Stats(now); s.Credentials != n || len(s.Faults)+len(s.Unusable) > 0 {
		t.Errorf("%d counted of %d, %v, %v", s.Credentials, n, s.Faults, s.Unusable)
	}
	if !strings.Contains(log.String(), "form of a credential") {
		t.Errorf("not logged: %s", log.String())
	}
}

// FuzzCheckIdentifier: no text panics, takes long, or gets into the error.
func FuzzCheckIdentifier(f *testing.F) {
	for _, s := range credentials {
		f.Add(s)
	}
	for _, s := range append(identifiers, remarks...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		err := replica.CheckIdentifier("value", s)
		if err != nil && !errors.Is(err, revoke.ErrInvalidEvent) {
			t.Fatal(err)
		}
		// A token is found wherever it stands, if what stands before is not of its letters.
		if around := "x: " + jwt + " " + s; !errors.Is(replica.CheckIdentifier("value", around), revoke.ErrCredential) {
			t.Fatalf("not found in %q", around)
		}
		// And what is random letters and digits is none.
		if strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") == "" && s != "" && len(s) <= revoke.MaxValueBytes && err != nil {
			t.Fatalf("%q: %v", s, err)
		}
	})
}

func BenchmarkCheckIdentifier(b *testing.B) {
	for name, s := range map[string]string{"uuid": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "url": iss, "jwt": jwt} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = replica.CheckIdentifier("value", s)
			}
		})
	}
}

// fed returns a List and a Feed whose subscription has begun, which logs to log.
func fed(t *testing.T, now revoke.Instant, log *strings.Builder) (*revoke.List, *replica.Feed) {
	t.Helper()
	l, err := revoke.NewList(revoke.Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	f, err := replica.NewFeed(l)
	if err != nil {
		t.Fatal(err)
	}
	f.Begin(now, replica.LogInfo{Retention: revoke.DefaultRetention()})
	return l, f
}
