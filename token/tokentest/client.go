package tokentest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A Client holds a key and makes DPoP proofs with it (RFC 9449).
type Client struct {
	// Nonce goes into proofs, if the service asked for one.
	Nonce string

	tb   testing.TB
	x    string // the public key
	sign signer
}

// NewClient returns a Client with a new Ed25519 key.
func NewClient(tb testing.TB) *Client {
	tb.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	fatal(tb, err)
	return &Client{tb: tb, x: base64.RawURLEncoding.EncodeToString(public), sign: signerOf(private)}
}

// Bind makes a token that of c: only c can use it.
func (c *Client) Bind(r *issue.Request) {
	r.Binding.KeyThumbprint = hash(`{"crv":"Ed25519","kty":"OKP","x":"` + c.x + `"}`)
}

// Proof returns a new proof for a request of that method and URL with that access
// token, or for one without a token if raw is empty.
func (c *Client) Proof(method, url, raw string) string {
	c.tb.Helper()
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": url, "iat": time.Now().Unix()}
	if raw != "" {
		claims["ath"] = hash(raw)
	}
	if c.Nonce != "" {
		claims["nonce"] = c.Nonce
	}
	jwk := map[string]any{"kty": "OKP", "crv": "Ed25519", "x": c.x}
	return sign(c.tb, c.sign, map[string]any{"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk}, claims)
}

// Authorize gives r the token raw and a proof for it, as a request to BaseURL.
func (c *Client) Authorize(r *http.Request, raw string) {
	c.tb.Helper()
	r.Header.Set("Authorization", "DPoP "+raw)
	r.Header.Set("DPoP", c.Proof(r.Method, BaseURL+r.URL.EscapedPath(), raw))
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
