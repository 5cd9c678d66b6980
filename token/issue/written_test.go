package issue_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// Keyrings that the version before has stored, sealed and not, are opened: the same key
// signs, the same are published, and what comes after is stored so that it is opened again.
func TestKeyringOfTheVersionBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, active := forge.AboutWritten(t)
		time.Sleep(time.Until(at.Add(time.Second)))
		seal, err := issue.NewSealKey("sample", []byte("thirty-two bytes of no secret 01"))
		if err != nil {
			t.Fatal(err)
		}
		for name, cfg := range map[string]issue.KeyringConfig{"plain": {}, "sealed": {Algorithm: token.ES256, SealKeys: []*issue.SealKey{seal}}} {
			path := filepath.Join(privateDir(t), "ring.json")
			if err := os.WriteFile(path, forge.Written(t, "ring-"+name+".json"), 0o600); err != nil {
				t.Fatal(err)
			}
			store := fileStore(t, path)
			ring := openRing(t, store, cfg)
			var kids []string
			for _, state := range []string{issue.KeyRetired, issue.KeyActive, issue.KeyAnnounced} {
				list := states(ring, state)
				if len(list) != 1 {
					t.Fatalf("%s: %d keys are %s", name, len(list), state)
				}
				kids = append(kids, list[0])
			}
			if ring.Active().ID() != active[name] || kids[1] != active[name] {
				t.Errorf("%s: %s signs, %s did", name, ring.Active().ID(), active[name])
			}
			var before, now struct{ Keys []map[string]any }
			if err := errors.Join(json.Unmarshal(forge.Written(t, "jwks-"+name+".json"), &before), json.Unmarshal([]byte(forge.Body(t, forge.Serve(t, ring, "GET", nil))), &now)); err != nil {
				t.Fatal(err)
			}
			if x, y := mustJSON(t, before), mustJSON(t, now); !bytes.Equal(x, y) {
				t.Errorf("%s: published\n%s\nbefore\n%s", name, y, x)
			}
			next, err := ring.Rotate(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			again := openRing(t, store, cfg)
			if next.ID() != kids[2] || len(again.Status().Keys) < len(kids) {
				t.Errorf("%s: %s comes next, %s was announced; %d keys", name, next.ID(), kids[2], len(again.Status().Keys))
			}
			if name == "sealed" {
				if _, err := issue.OpenKeyring(t.Context(), store, issue.KeyringConfig{Algorithm: token.ES256}); !errors.Is(err, issue.ErrStore) {
					t.Errorf("opened without the key of its seal: %v", err)
				}
			}
			if err := errors.Join(ring.Close(), again.Close()); err != nil {
				t.Error(err)
			}
		}
	})
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
