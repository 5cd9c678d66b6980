package token_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

func writtenBefore(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "written-by-601627d", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// aboutWritten says when the samples were written, by the clock of a bubble as these
// tests have one, and which keys signed then.
func aboutWritten(t *testing.T) (at time.Time, active map[string]string) {
	t.Helper()
	var about struct {
		Written int64 `json:"written_ms"`
		Active  map[string]string
	}
	if err := json.Unmarshal(writtenBefore(t, "about.json"), &about); err != nil {
		t.Fatal(err)
	}
	return time.UnixMilli(about.Written), about.Active
}

// Keyrings that the version before has stored, sealed and not, are opened: the same key
// signs, the same are published, and what comes after is stored so that it is opened again.
func TestKeyringOfTheVersionBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, active := aboutWritten(t)
		time.Sleep(time.Until(at.Add(time.Second)))
		seal, err := token.NewSealKey("sample", []byte("thirty-two bytes of no secret 01"))
		if err != nil {
			t.Fatal(err)
		}
		for name, cfg := range map[string]token.KeyringConfig{"plain": {}, "sealed": {Algorithm: token.ES256, SealKeys: []*token.SealKey{seal}}} {
			path := filepath.Join(privateDir(t), "ring.json")
			if err := os.WriteFile(path, writtenBefore(t, "ring-"+name+".json"), 0o600); err != nil {
				t.Fatal(err)
			}
			store := fileStore(t, path)
			ring := openRing(t, store, cfg)
			var kids []string
			for _, state := range []token.KeyState{token.KeyRetired, token.KeyActive, token.KeyAnnounced} {
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
			if err := errors.Join(json.Unmarshal(writtenBefore(t, "jwks-"+name+".json"), &before), json.Unmarshal([]byte(body(t, serve(t, ring, "GET", nil))), &now)); err != nil {
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
				if _, err := token.OpenKeyring(t.Context(), store, token.KeyringConfig{Algorithm: token.ES256}); !errors.Is(err, token.ErrKeyStore) {
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

// Tokens of the version before are accepted, as long as they live and nothing revokes
// them, and revoked by each kind of event as they always were.
func TestTokensOfTheVersionBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, _ := aboutWritten(t)
		time.Sleep(time.Until(at.Add(time.Second)))
		var raws map[string]string
		if err := json.Unmarshal(writtenBefore(t, "tokens.json"), &raws); err != nil {
			t.Fatal(err)
		}
		const issuer = "https://auth.example.com"
		verifier := func(name string, list *revoke.List) *token.Verifier {
			alg, set := token.EdDSA, "jwks-plain.json"
			if strings.HasPrefix(name, "es256") {
				alg, set = token.ES256, "jwks-sealed.json"
			}
			keys, err := token.ParseKeySet(writtenBefore(t, set), alg)
			if err != nil {
				t.Fatal(err)
			}
			v, err := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Audiences: []string{"api"}, Algorithms: []token.Algorithm{alg}, Keys: keys, Revocations: list})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		if len(raws) != 10 {
			t.Fatalf("%d tokens", len(raws))
		}
		ids := map[string]revoke.Identity{}
		for name, raw := range raws {
			c, err := verifier(name, localList(t, revoke.Config{})).Verify(t.Context(), raw)
			if strings.HasPrefix(name, "bound") {
				if !errors.Is(err, token.ErrBinding) { // no key is proven
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			ids[name] = c.Identity()
			switch {
			case c.Issuer() != issuer || c.ID() == "" || c.ExpiresAt().Sub(c.IssuedAt()) != 15*time.Minute:
				t.Errorf("%s: %v", name, c)
			case strings.HasPrefix(name, "plain"):
				role, _ := c.Claim("role")
				if c.Subject() != "user-1" || c.SessionID() != "session-1" || c.Tenant() != "acme" || c.ClientID() != "web" || !c.HasScope("read") || string(role) != `"admin"` {
					t.Errorf("%s: %v", name, c)
				}
			case strings.HasPrefix(name, "client") && (c.Subject() != "batch" || c.SessionID() != ""):
				t.Errorf("%s: %v", name, c)
			}
		}

		id := ids["plain"]
		byToken, err := revoke.TokenOf(id)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []revoke.Event{
			byToken,
			{Kind: revoke.KindSession, Value: "session-1"},
			{Kind: revoke.KindSubject, Value: "user-1"}, // a cutoff is that much ahead of now
			{Kind: revoke.KindSubject, Value: "user-1", Before: at, Keep: []string{"session-2"}},
			{Kind: revoke.KindClient, Value: "web", Before: at},
			{Kind: revoke.KindTenant, Value: "acme", Before: at},
			{Kind: revoke.KindKey, Value: id.Key},
			{Kind: revoke.KindIssuer, Before: at},
		} {
			e.Issuer = issuer
			list := localList(t, revoke.Config{})
			v := verifier("plain", list)
			if _, err := v.Verify(t.Context(), raws["plain"]); err != nil {
				t.Fatal(err)
			}
			apply(t, list, e)
			for range 2 { // the second time it is remembered
				if _, err := v.Verify(t.Context(), raws["plain"]); !errors.Is(err, revoke.ErrRevoked) {
					t.Errorf("%s: %v", e.Kind, err)
				}
			}
			if _, err := v.Verify(t.Context(), raws["client"]); errors.Is(err, revoke.ErrRevoked) != (e.Kind == revoke.KindKey || e.Kind == revoke.KindIssuer) {
				t.Errorf("%s: the token of another: %v", e.Kind, err)
			}
		}
		// One that was dated past a cutoff is spared by it, and not by the next.
		list := localList(t, revoke.Config{})
		apply(t, list, revoke.Event{Issuer: issuer, Kind: revoke.KindSubject, Value: "user-1", Before: at.Add(2 * time.Second)})
		v := verifier("plain", list)
		if _, err := v.Verify(t.Context(), raws["post-dated"]); err != nil {
			t.Errorf("post-dated: %v", err)
		}
		if _, err := v.Verify(t.Context(), raws["plain"]); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("before that cutoff: %v", err)
		}
		apply(t, list, revoke.Event{Issuer: issuer, Kind: revoke.KindSubject, Value: "user-1"})
		if _, err := v.Verify(t.Context(), raws["post-dated"]); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("post-dated, after the next cutoff: %v", err)
		}

		time.Sleep(16 * time.Minute)
		for name, raw := range raws {
			if _, err := verifier(name, localList(t, revoke.Config{})).Verify(t.Context(), raw); !errors.Is(err, token.ErrExpired) && !strings.HasPrefix(name, "bound") {
				t.Errorf("%s, when its life is over: %v", name, err)
			}
		}
	})
}
