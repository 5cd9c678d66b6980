package token_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// A token endpoint that binds tokens to the DPoP key of the client, and asks for a
// nonce: what it answers to a bad proof is for the endpoint to write (RFC 9449 sections
// 5 and 8). In front of APIs the Middleware does all of it.
func ExampleDPoP_Thumbprint() {
	dpop, err := token.NewDPoP(token.DPoPConfig{BaseURL: "https://auth.example.com", RequireNonce: true})
	if err != nil {
		log.Fatal(err)
	}
	endpoint := func(w http.ResponseWriter, r *http.Request) {
		// First check the grant: anybody can make keys and proofs.
		thumbprint, err := dpop.Thumbprint(r)
		if nonce := dpop.Nonce(); nonce != "" {
			w.Header().Set("DPoP-Nonce", nonce)
		}
		answer := func(status int, code string) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error":%q}`, code)
		}
		switch {
		case errors.Is(err, token.ErrUnavailable):
			w.Header().Set("Retry-After", "2")
			answer(http.StatusServiceUnavailable, "temporarily_unavailable")
		case errors.Is(err, token.ErrNonce):
			answer(http.StatusBadRequest, "use_dpop_nonce")
		case err != nil: // why is for the log alone
			answer(http.StatusBadRequest, "invalid_dpop_proof")
		default: // Issue with Binding: token.Binding{KeyThumbprint: thumbprint}
			fmt.Fprintf(w, "bound to a thumbprint of %d characters", len(thumbprint))
		}
	}

	client := tokentest.NewClient(new(testing.T))
	post := func(url string) string {
		r := httptest.NewRequest("POST", "/token", nil)
		r.Header.Set("DPoP", client.Proof("POST", url, ""))
		w := httptest.NewRecorder()
		endpoint(w, r)
		fmt.Println(w.Code, w.Body)
		return w.Header().Get("DPoP-Nonce")
	}
	client.Nonce = post("https://auth.example.com/token")
	post("https://auth.example.com/token")
	post("https://another.example.com/token")
	// Output:
	// 400 {"error":"use_dpop_nonce"}
	// 200 bound to a thumbprint of 43 characters
	// 400 {"error":"invalid_dpop_proof"}
}

// A token that is bound to the TLS certificate of its client (RFC 8705). The server
// must ask for certificates, tls.RequestClientCert or stricter; the auth service takes
// the certificate from its own connection with the client, r.TLS.
func ExampleCertificateThumbprint() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}

	auth := tokentest.New(new(testing.T), func(c *token.VerifierConfig) { c.RequireBinding = true })
	bound := auth.Token(func(r *issue.Request) { r.Binding.CertificateThumbprint = token.CertificateThumbprint(cert) })

	server := httptest.NewUnstartedServer(auth.Verifier.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	get := func(who, raw string, certificates ...tls.Certificate) {
		transport := server.Client().Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.Certificates = certificates
		defer transport.CloseIdleConnections()
		r, err := http.NewRequest("GET", server.URL, nil)
		if err != nil {
			log.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+raw)
		resp, err := transport.RoundTrip(r)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(who, resp.StatusCode)
	}
	get("client", bound, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
	get("thief", bound)
	get("unbound", auth.Token(), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
	// Output:
	// client 200
	// thief 401
	// unbound 401
}
