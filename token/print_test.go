package token_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/printtest"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// TestNothingPrintsASecret prints every exported type in every way, while its methods are
// called, and looks for each secret in every form (invariant 10).
func TestNothingPrintsASecret(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var sealing, nonce [32]byte
	rand.Read(sealing[:])
	rand.Read(nonce[:])
	shared := []byte("a secret that no way of printing may show")
	pair, err := token.NewSigningKey("pair", token.EdDSA, private)
	if err != nil {
		t.Fatal(err)
	}
	seal, err := token.NewSealKey("seal", sealing[:])
	if err != nil {
		t.Fatal(err)
	}
	symmetric, err := token.NewSecretKey("symmetric", token.HS256, shared)
	if err != nil {
		t.Fatal(err)
	}
	dpopConfig := token.DPoPConfig{BaseURL: "https://api.example.com", NonceKeys: []*[32]byte{&nonce}, RequireNonce: true}
	dpop, err := token.NewDPoP(dpopConfig)
	if err != nil {
		t.Fatal(err)
	}
	set, err := token.NewStaticKeySet(symmetric)
	if err != nil {
		t.Fatal(err)
	}
	store := new(token.MemoryStore)
	ringConfig := token.KeyringConfig{FirstKey: pair, SealKeys: []*token.SealKey{seal}}
	ring := openRing(t, store, ringConfig)
	file := fileStore(t, filepath.Join(privateDir(t), "ring.json")) // whose ring is not sealed
	openRing(t, file, token.KeyringConfig{FirstKey: pair})
	record, err := file.Load(t.Context(), token.RingKey(""))
	if err != nil {
		t.Fatal(err)
	}
	plain := new(token.MemoryStore) // the same in memory
	put(t, plain, record.Value)
	issuer := newIssuer(t, ring, nil)
	issued := issue(t, issuer, request())
	list := localList(t, revoke.Config{})
	verifierConfig := token.VerifierConfig{Issuer: "https://auth.example.com", Audiences: []string{"api"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: list, DPoP: dpop}
	verifier, err := token.NewVerifier(verifierConfig)
	if err != nil {
		t.Fatal(err)
	}
	sender := token.Sender{Proof: issued.Token(), Method: "GET", URL: "https://api.example.com/"}

	table := map[string]any{
		"Sender": sender, "Issued": issued, "Claims": issued.Claims(), "DPoP": dpop, "DPoPConfig": dpopConfig,
		"Key": symmetric, "SigningKey": pair, "SealKey": seal, "StaticKeySet": set, "MemoryStore": plain, "Store": token.Store(store),
		"Keyring": ring, "KeyringConfig": ringConfig, "KeyringStatus": ring.Status(), "Issuer": issuer, "IssuerConfig": issuer.Config(),
		"IssueRequest": request(), "Verifier": verifier, "VerifierConfig": verifierConfig, "RemoteKeySet": new(token.RemoteKeySet),
		"KeySet": token.KeySet(ring), "VerifyOption": token.WithSender(sender), "FileStore": file,
	}
	// These hold nothing that is secret.
	public := []string{"Algorithm", "Binding", "ConfigError", "ForwardAuthConfig", "IssuedAhead", "KeyState", "KeyStatus", "Profile", "RemoteKeysConfig", "RemoteKeysStatus", "VerifierStatus"}
	for _, name := range printtest.Types(t, ".") {
		if _, ok := table[name]; !ok && !strings.Contains(" "+strings.Join(public, " ")+" ", " "+name+" ") {
			t.Errorf("%s is not looked at", name)
		}
	}

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			verifier.Verify(t.Context(), issued.Token())
			ring.Refresh(t.Context())
			dpop.Nonce()
		}
	})
	secrets := map[string][]byte{
		"shared secret": shared, "private key": private.Seed(), "seal key": sealing[:], "nonce key": nonce[:],
		"token": []byte(issued.Token()[len(issued.Token())-60:]), "payload": []byte(strings.Split(issued.Token(), ".")[1][8:40]),
	}
	for name, v := range table {
		out := printtest.Prints(v)
		for secret, raw := range secrets {
			if found := printtest.Leaks(out, printtest.Forms(raw)); len(found) > 0 {
				t.Errorf("%s shows the %s: %q", name, secret, found)
			}
		}
	}
	close(stop)
	wg.Wait()
	for name, v := range table {
		if name == "Sender" || name == "DPoPConfig" { // whose fields are the caller's, and exported
			continue
		}
		out := printtest.Hidden(v)
		for secret, raw := range secrets {
			if found := printtest.Leaks(out, printtest.Forms(raw)); len(found) > 0 {
				t.Errorf("%s, hidden, shows the %s: %q", name, secret, found)
			}
		}
	}
}
