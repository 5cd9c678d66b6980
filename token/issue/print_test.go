package issue_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/printtest"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// TestNothingPrintsASecret prints every exported type in every way, while its methods are
// called, and looks for each secret in every form (invariant 10).
func TestNothingPrintsASecret(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var sealing [32]byte
	rand.Read(sealing[:])
	shared := []byte("a secret that no way of printing may show")
	pair, err := issue.NewSigningKey("pair", token.EdDSA, private)
	if err != nil {
		t.Fatal(err)
	}
	seal, err := issue.NewSealKey("seal", sealing[:])
	if err != nil {
		t.Fatal(err)
	}
	secret, err := issue.NewSigningSecret("symmetric", token.HS256, shared)
	if err != nil {
		t.Fatal(err)
	}
	store := new(issue.MemoryStore)
	ringConfig := issue.KeyringConfig{FirstKey: pair, SealKeys: []*issue.SealKey{seal}}
	ring := openRing(t, store, ringConfig)
	file := fileStore(t, filepath.Join(privateDir(t), "ring.json")) // whose ring is not sealed
	openRing(t, file, issue.KeyringConfig{FirstKey: pair})
	record, err := file.Load(t.Context(), issue.RingKey(""))
	if err != nil {
		t.Fatal(err)
	}
	plain := new(issue.MemoryStore) // the same in memory
	put(t, plain, record.Value)
	issuer := forge.NewIssuer(t, ring, nil)
	issued := forge.Issue(t, issuer, forge.Request())
	table := map[string]any{
		"Token": issued, "SigningKey": pair, "SigningKey of a secret": secret, "SealKey": seal, "MemoryStore": plain, "Store": issue.Store(store),
		"Keyring": ring, "KeyringConfig": ringConfig, "KeyringStatus": ring.Status(), "Issuer": issuer, "Config": issuer.Config(),
		"Request": forge.Request(), "FileStore": file,
	}
	// These hold nothing that is secret.
	public := []string{"KeyStatus"}
	printtest.HoldsAll(t, ".", table, public...)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			issuer.Issue(t.Context(), forge.Request())
			ring.Refresh(t.Context())
		}
	})
	secrets := map[string][]byte{
		"shared secret": shared, "private key": private.Seed(), "seal key": sealing[:],
		"token": []byte(issued.Raw()[len(issued.Raw())-60:]), "payload": []byte(strings.Split(issued.Raw(), ".")[1][8:40]),
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
		out := printtest.Hidden(v)
		for secret, raw := range secrets {
			if found := printtest.Leaks(out, printtest.Forms(raw)); len(found) > 0 {
				t.Errorf("%s, hidden, shows the %s: %q", name, secret, found)
			}
		}
	}
}
