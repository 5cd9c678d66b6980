package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// A Binding says whose token it is (cnf, RFC 7800 section 3.1): the sender that presents it
// must prove possession of that key. The zero Binding is that of a bearer token,
// good in anybody's hands. Where both are set, both must be proven.
type Binding struct {
	// KeyThumbprint is the RFC 7638 thumbprint of the key that signs the sender's
	// DPoP proofs (jkt, RFC 9449 section 6.1). [DPoP.Thumbprint] finds it in a token
	// request.
	KeyThumbprint string
	// CertificateThumbprint is that of the sender's TLS client certificate (x5t#S256,
	// RFC 8705 section 3.1), as [CertificateThumbprint] returns it.
	CertificateThumbprint string
}

// IsZero reports whether b binds to nothing.
func (b Binding) IsZero() bool { return b == Binding{} }

// CertificateThumbprint returns the SHA-256 of a certificate in base64url, the form
// of x5t#S256 (RFC 8705 section 3.1).
func CertificateThumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// A Sender is what the sender of a token showed beside it. [Verifier.Middleware]
// takes it from the request; where there is no net/http, give it to Verify by
// [WithSender].
type Sender struct {
	// Certificate is the client certificate of the TLS connection that the token came
	// on, its possession proven by the handshake. Nil means that there was none.
	Certificate *x509.Certificate

	// Proof is the one DPoP header of the request. Empty means that the token was not
	// presented under the DPoP scheme.
	Proof string
	// Method and URL are what Proof must be for: the request's method, and its URL as
	// the client sees it, never as a header says that a client can write.
	Method, URL string
}

// String says what is there, and shows no proof: until it is used it is a secret.
func (s Sender) String() string {
	return fmt.Sprintf("token.Sender{certificate: %t, proof: %t}", s.Certificate != nil, s.Proof != "")
}

// GoString returns [Sender.String].
func (s Sender) GoString() string { return s.String() }

// LogValue logs what is there.
func (s Sender) LogValue() slog.Value {
	return slog.GroupValue(slog.Bool("certificate", s.Certificate != nil), slog.Bool("proof", s.Proof != ""))
}

// WithSender lets Verify accept a token that is bound to s, see [Binding].
func WithSender(s Sender) VerifyOption {
	return (&demands{sender: s, senderSet: true}).option()
}

// binding reads cnf. Members that we do not know are ignored beside one that we
// check (RFC 7800 section 3.1); alone they would turn a bound token into a bearer token,
// so such a token is refused, as is one that is bound by what cannot be a digest.
func binding(v strictjson.Value) (b Binding, err error) {
	if v.Kind() != '{' {
		return b, unbound("cnf is not an object")
	}
	err = strictjson.Object(v.Raw(), func(name string, v strictjson.Value) error {
		switch name {
		case "jkt":
			b.KeyThumbprint, _ = v.Text()
			if !shape.IsDigest(b.KeyThumbprint) {
				return unbound("cnf.jkt is not a SHA-256 digest in base64url")
			}
		case "x5t#S256":
			b.CertificateThumbprint, _ = v.Text()
			if !shape.IsDigest(b.CertificateThumbprint) {
				return unbound("cnf.x5t#S256 is not a SHA-256 digest in base64url")
			}
		}
		return nil
	})
	if err == nil && b.IsZero() {
		err = unbound("cnf names no key that can be checked here")
	}
	return b, err
}

func unbound(why string) error { return fmt.Errorf("token: %w: %s", errBinding, why) }

// possession checks that p proves what c is bound to. The use of a proof that it
// returns, nil for a token without one, is yet to be recorded.
func (a *acceptor) possession(c *Claims, p *presented, raw string, now time.Time) (*proofUse, error) {
	b, s := c.binding, p.sender
	if p.request != nil && b.CertificateThumbprint != "" {
		s.Certificate = a.cfg.ClientCertificate(p.request)
	}
	switch {
	case b.IsZero() && a.cfg.RequireBinding:
		return nil, unbound("a bearer token, where RequireBinding is set")
	case b.KeyThumbprint == "" && s.Proof != "":
		return nil, unbound("presented with a proof, but bound to no key")
	case b.KeyThumbprint != "" && s.Proof == "":
		return nil, unbound("bound to a DPoP key, but presented without a proof")
	case b.KeyThumbprint != "" && a.cfg.DPoP == nil:
		return nil, unbound("bound to a DPoP key, but VerifierConfig.DPoP is nil")
	case b.CertificateThumbprint != "" && s.Certificate == nil:
		return nil, unbound("bound to a client certificate, but there is none")
	case b.CertificateThumbprint != "" && !equal(b.CertificateThumbprint, CertificateThumbprint(s.Certificate)):
		return nil, unbound("bound to another client certificate")
	case b.KeyThumbprint == "":
		return nil, nil
	}
	return a.cfg.DPoP.s.check(&s, raw, b.KeyThumbprint, now)
}

// clientCertificate is the default of [VerifierConfig].ClientCertificate.
func clientCertificate(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
