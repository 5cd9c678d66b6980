package issue_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// The auth service: every instance opens the same store, and they rotate the keys
// between them.
func ExampleOpenKeyring() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "keys") // mode 0700
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := issue.NewFileStore(filepath.Join(dir, "ring.json"))
	if err != nil {
		log.Fatal(err)
	}
	secret, err := hex.DecodeString("4f1d0c6e3f5ab09c7b8e21d6a3c4f5e60718293a4b5c6d7e8f90a1b2c3d4e5f6") // from a secret manager
	if err != nil {
		log.Fatal(err)
	}
	seal, err := issue.NewSealKey("2026-10", secret)
	if err != nil {
		log.Fatal(err)
	}

	ring, err := issue.OpenKeyring(ctx, store, issue.KeyringConfig{Algorithm: token.EdDSA, SealKeys: []*issue.SealKey{seal}})
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: ring})
	if err != nil {
		log.Fatal(err)
	}
	http.NewServeMux().Handle("/.well-known/jwks.json", ring)

	if _, err := issuer.Issue(ctx, issue.Request{Subject: "user-1", Client: "web", Audience: []string{"orders"}}); err != nil {
		log.Fatal(err)
	}
	for _, k := range ring.Status().Keys {
		fmt.Println(k.State, k.Key.Algorithm())
	}
	// Output:
	// active EdDSA
	// announced EdDSA
}

// A key leaked. The event ends its tokens within milliseconds, wherever they are; then
// it leaves the ring, and the key that was announced signs on.
func ExampleKeyring_Remove() {
	ctx := context.Background()
	secret := make([]byte, 32)
	rand.Read(secret) // from a secret manager, in earnest
	seal, err := issue.NewSealKey("2026-10", secret)
	if err != nil {
		log.Fatal(err)
	}
	ring, err := issue.OpenKeyring(ctx, refresh.NewMemoryStore(), issue.KeyringConfig{Issuer: "https://auth.example.com", SealKeys: []*issue.SealKey{seal}})
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()

	leaked := ring.Active()
	event := leaked.Revocation()
	event.Reason = "found in a public repository"
	// receipt, err := member.Publish(ctx, event), with the *bus.Member of the service
	fmt.Println(event.Kind, event.Value == leaked.Thumbprint())

	if err := ring.Remove(ctx, leaked.ID()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ring.Active().ID() != leaked.ID())
	// Output:
	// key true
	// true
}

// A key from a PEM file, managed by somebody else.
func ExampleNewKeyring() {
	// openssl genpkey -algorithm ed25519 makes such a file. This key is that of RFC 8037 appendix A.
	pem := []byte(`-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
`)
	key, err := issue.ParseSigningKey("2026-10", token.EdDSA, pem)
	if err != nil {
		log.Fatal(err)
	}
	ring, err := issue.NewKeyring(issue.KeyringConfig{}, key) // further public keys: the next one, the last one
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ring.Active())
	// Output:
	// token.Key{kid: "2026-10", alg: EdDSA, thumbprint: kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k}
}

// remoteKey stands for a key in a KMS, whose provider has a crypto.Signer for it.
type remoteKey struct{ inside *ecdsa.PrivateKey }

func (r remoteKey) Public() crypto.PublicKey { return r.inside.Public() }
func (r remoteKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return r.inside.Sign(random, digest, opts)
}

// A key that never leaves a KMS. What it returns is converted and verified.
func ExampleNewSigningKey() {
	inside, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	key, err := issue.NewSigningKey("kms-1", token.ES256, remoteKey{inside})
	if err != nil {
		log.Fatal(err)
	}
	ring, err := issue.NewKeyring(issue.KeyringConfig{}, key)
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: ring})
	if err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(context.Background(), issue.Request{Subject: "user-1", Client: "web", Audience: []string{"orders"}})
	fmt.Println(issued.Claims().Subject(), err)
	// Output:
	// user-1 <nil>
}

// One secret for issuer and verifier, where both are one service. It is served to
// nobody.
func ExampleNewSigningSecret() {
	secret := make([]byte, 32)
	rand.Read(secret) // from a secret manager, in earnest
	key, err := issue.NewSigningSecret("2026-10", token.HS256, secret)
	if err != nil {
		log.Fatal(err)
	}
	ring, err := issue.NewKeyring(issue.KeyringConfig{}, key)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ring)
	// Output:
	// issue.Keyring{active: token.Key{kid: "2026-10", alg: HS256}, keys: 1}
}
