package issue_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// printed returns what everything that prints makes of v.
func printed(v any) map[string]string {
	out := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		out[verb] = fmt.Sprintf(verb, v)
	}
	j, err := json.Marshal(v)
	out["JSON"] = fmt.Sprintf("%s %v", j, err)
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("m", "v", v)
	}
	out["slog"] = log.String()
	return out
}

// spellings returns the forms in which a secret could stand in a text.
func spellings(secret []byte) []string {
	decimal := strings.Trim(fmt.Sprint(secret[:12]), "[]")
	return []string{
		string(secret[:12]), hex.EncodeToString(secret[:12]), strings.ToUpper(hex.EncodeToString(secret[:12])), decimal, strings.ReplaceAll(decimal, " ", ", "),
		base64.StdEncoding.EncodeToString(secret[:12]), base64.RawURLEncoding.EncodeToString(secret[:12]), strings.Trim(fmt.Sprintf("%#v", secret[:8]), "[]byte{}"),
	}
}

// Invariant 10: no key in anything that is printed, of every type that bears one.
func TestKeysAreRedacted(t *testing.T) {
	k := forge.Keys()
	store := new(issue.MemoryStore)
	var logged bytes.Buffer
	pair, err := issue.NewSigningKey("pair", token.EdDSA, k.Ed)
	if err != nil {
		t.Fatal(err)
	}
	secret := signingSecret(t, "secret", token.HS256, longSecret)
	cfg := issue.KeyringConfig{FirstKey: pair, Logger: slog.New(slog.NewJSONHandler(&logged, nil))}
	file := fileStore(t, filepath.Join(privateDir(t), "ring.json")) // whose ring is not sealed
	ring := openRing(t, file, cfg)
	openRing(t, store, cfg)
	sealed := cfg
	sealed.SealKeys = []*issue.SealKey{sealKey(t, "seal")}
	openRing(t, new(issue.MemoryStore), sealed)
	if err := ring.Remove(t.Context(), "pair"); err != nil {
		t.Fatal(err)
	}
	record, err := file.Load(t.Context(), issue.RingKey(""))
	if err != nil {
		t.Fatal(err)
	}
	blob := record.Value
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k.Ed)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(blob, []byte(`"pkcs8":"`)) + len(`"pkcs8":"`) + 22 // after what every Ed25519 key begins with
	secrets := map[string][]byte{"Ed25519": k.Ed.Seed(), "PKCS #8": pkcs8[16:], "HMAC secret": longSecret, "seal key": sealSecret("seal"), "blob": blob[i : i+40]}

	for name, v := range map[string]any{
		"SigningKey": pair, "SigningKey by value": *pair, "SigningKey of a secret": secret, "and by value": *secret, "no SigningKey": issue.SigningKey{}, "Key": secret.Key(), "Key by value": *secret.Key(),
		"SealKey": sealed.SealKeys[0], "SealKey by value": *sealed.SealKeys[0], "KeyringConfig": sealed, "and its address": &sealed, "Keyring": ring,
		"Keyring of secrets": fixedRing(t, secret), "Status": ring.Status(), "MemoryStore": store, "FileStore": file, "Record": record, "Config": issue.Config{Issuer: "i", Keys: ring},
		"Issuer": forge.NewIssuer(t, ring, nil), "slices": []any{pair, secret, sealed}, "map": map[string]any{"a": pair, "b": *secret, "c": sealed.SealKeys},
	} {
		for verb, text := range printed(v) {
			for what, bytes := range secrets {
				for _, s := range spellings(bytes) {
					if strings.Contains(text, s) {
						t.Errorf("%s with %s shows the %s: %.300s", name, verb, what, text)
					}
				}
			}
		}
	}
	for what, bytes := range secrets {
		for _, s := range spellings(bytes) {
			if strings.Contains(logged.String(), s) {
				t.Errorf("the log shows the %s: %s", what, &logged)
			}
		}
	}
	if !strings.Contains(logged.String(), "without a seal") {
		t.Error("nothing is logged: what is tested?")
	}
	if found := strings.Contains(string(blob[i:i+40]), spellings(blob[i : i+40])[0]); !found { // the test itself
		t.Error("a secret in the clear is not found")
	}
}
