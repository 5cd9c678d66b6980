package token_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

const someDigest = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

func TestIssueBinding(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{})
	i := forge.NewIssuer(t, ring, nil)
	other := strings.Repeat("A", 43)
	for want, b := range map[string]token.Binding{
		"":                             {},
		`{"jkt":"` + someDigest + `"}`: {KeyThumbprint: someDigest},
		`{"x5t#S256":"` + other + `"}`: {CertificateThumbprint: other},
		`{"jkt":"` + someDigest + `","x5t#S256":"` + other + `"}`: {KeyThumbprint: someDigest, CertificateThumbprint: other},
	} {
		r := forge.Request()
		r.Binding = b
		issued := forge.Issue(t, i, r)
		raw, _ := issued.Claims().Claim("cnf")
		if string(raw) != want || issued.Claims().Binding() != b {
			t.Errorf("%+v: cnf %s, read as %+v", b, raw, issued.Claims().Binding())
		}
		if !json.Valid([]byte(forge.PayloadOf(t, issued.Raw()))) {
			t.Errorf("%+v: %s", b, forge.PayloadOf(t, issued.Raw()))
		}
		_, err := forge.RingVerifier(t, ring, token.EdDSA).Verify(t.Context(), issued.Raw())
		if b.IsZero() != (err == nil) || err != nil && !errors.Is(err, token.ErrBinding) {
			t.Errorf("%+v as a bearer token: error %v", b, err)
		}
	}
	for _, bad := range []string{"x", someDigest + "A", someDigest[:42], someDigest[:42] + "J", someDigest[:41] + `","`, someDigest + "=", someDigest[:20] + "\n" + someDigest[20:], " " + someDigest[1:]} {
		for _, b := range []token.Binding{{KeyThumbprint: bad}, {CertificateThumbprint: bad}} {
			r := forge.Request()
			r.Binding = b
			if issued, err := i.Issue(t.Context(), r); !errors.Is(err, issue.ErrIssue) || issued != nil || !strings.Contains(err.Error(), "Binding") {
				t.Errorf("%+v: error %v", b, err)
			}
		}
	}
}

// cnf as others write it.
func TestConfirmationForms(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	p := edProver(t)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.DPoP = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), newDPoP(t, nil)
	})
	verify := func(cnf string, sender bool) error {
		raw := ed.Forge(ed.Header(), forge.Claims(time.Now()).With("cnf", cnf))
		var s token.Sender
		if sender {
			s = token.Sender{Proof: p.prove(raw), Method: "GET", URL: proofURL}
		}
		_, err := v.Verify(t.Context(), raw, token.WithSender(s))
		return err
	}
	for _, cnf := range []string{
		"null", "[]", `"` + p.jkt + `"`, "{}", `{"jkt":null}`, `{"jkt":""}`, `{"jkt":1}`, `{"jkt":"` + p.jkt + `="}`, `{"JKT":"` + p.jkt + `"}`,
		`{"jwk":{"kty":"OKP"}}`, `{"kid":"k"}`, `{"x5t":"` + p.jkt + `"}`, `{"jkt":"` + p.jkt + `","x5t#S256":"x"}`,
	} {
		for _, sender := range []bool{true, false} {
			if err := verify(cnf, sender); !errors.Is(err, token.ErrBinding) {
				t.Errorf("%s: error %v", cnf, err)
			}
		}
	}
	if err := verify(`{"jkt":"`+p.jkt+`","jkt":"`+p.jkt+`"}`, true); !errors.Is(err, token.ErrMalformed) {
		t.Errorf("twice: error %v", err)
	}
	for _, cnf := range []string{`{"jkt":"` + p.jkt + `"}`, `{"other":1,"jkt":"` + p.jkt + `"}`} { // RFC 7800 section 3.1
		if err := verify(cnf, true); err != nil {
			t.Errorf("%s: error %v", cnf, err)
		}
		if err := verify(cnf, false); !errors.Is(err, token.ErrBinding) {
			t.Errorf("%s without a proof: error %v", cnf, err)
		}
	}
}

func newCertificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Over TLS, the token works with the certificate that it is bound to and
// with no other; refusals look like any bad token's.
func TestMutualTLS(t *testing.T) {
	a := newAPI(t, nil)
	mine, other := newCertificate(t), newCertificate(t)
	bound, plain := forge.Request(), forge.Request()
	bound.Binding.CertificateThumbprint = token.CertificateThumbprint(mine.Leaf)
	raw, bearer := forge.Issue(t, a.issuer, bound).Raw(), forge.Issue(t, a.issuer, plain).Raw()
	srv := httptest.NewUnstartedServer(a.h)
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	defer srv.Close()
	get := func(raw string, certs ...tls.Certificate) (int, string) {
		transport := srv.Client().Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.Certificates = certs
		defer transport.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+raw)
		r.Header.Set("X-Forwarded-Client-Cert", base64.StdEncoding.EncodeToString(mine.Certificate[0])) // believed by nobody
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header.Get("WWW-Authenticate") + string(b)
	}
	_, invalid := get("opaque")
	for _, x := range []struct {
		name  string
		raw   string
		certs []tls.Certificate
		want  int
	}{
		{"bound, its certificate", raw, []tls.Certificate{mine}, 200},
		{"bound, another certificate", raw, []tls.Certificate{other}, 401},
		{"bound, no certificate", raw, nil, 401},
		{"unbound, some certificate", bearer, []tls.Certificate{other}, 200},
		{"unbound, no certificate", bearer, nil, 200},
	} {
		code, answer := get(x.raw, x.certs...)
		if code != x.want || code == 401 && answer != invalid {
			t.Errorf("%s: %d %s, want %d; logged %q", x.name, code, answer, x.want, &a.logged)
		}
	}
}

// Behind a proxy the caller says where the certificate is.
func TestClientCertificateFunc(t *testing.T) {
	mine := newCertificate(t)
	var cert *x509.Certificate
	a := newAPI(t, func(c *token.VerifierConfig) {
		c.ClientCertificate = func(r *http.Request) *x509.Certificate {
			if r.RemoteAddr != "192.0.2.1:1234" {
				t.Errorf("asked for %s", r.RemoteAddr)
			}
			return cert
		}
	})
	r := forge.Request()
	r.Binding.CertificateThumbprint = token.CertificateThumbprint(mine.Leaf)
	raw := forge.Issue(t, a.issuer, r).Raw()
	if code := a.get("/", "Bearer "+raw).StatusCode; code != 401 {
		t.Errorf("no certificate: %d", code)
	}
	cert = newCertificate(t).Leaf
	if code := a.get("/", "Bearer "+raw).StatusCode; code != 401 {
		t.Errorf("another certificate: %d", code)
	}
	cert = mine.Leaf
	if code := a.get("/", "Bearer "+raw).StatusCode; code != 200 {
		t.Errorf("the right one: %d, logged %q", code, &a.logged)
	}
}

// Bound to both: both are needed.
func TestBoundTwice(t *testing.T) {
	b := newBoundAPI(t, nil)
	cert := newCertificate(t).Leaf
	r := forge.Request()
	r.Binding = token.Binding{KeyThumbprint: b.p.jkt, CertificateThumbprint: token.CertificateThumbprint(cert)}
	raw := forge.Issue(t, b.issuer, r).Raw()
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.DPoP = []token.Algorithm{token.EdDSA}, b.ring, newDPoP(t, nil)
	})
	for _, x := range []struct{ cert, proof bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		var s token.Sender
		if x.cert {
			s.Certificate = cert
		}
		if x.proof {
			s.Proof, s.Method, s.URL = b.p.prove(raw), "GET", proofURL
		}
		if _, err := v.Verify(t.Context(), raw, token.WithSender(s)); (err == nil) != (x.cert && x.proof) || err != nil && !errors.Is(err, token.ErrBinding) {
			t.Errorf("%+v: error %v", x, err)
		}
	}
}
