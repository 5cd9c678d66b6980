package token_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// prints returns everything that careless code makes of v: all verbs, also those
// that never call String, inside of other values, in logs and as JSON.
func prints(v any) string {
	type holder struct {
		Exported any
		hidden   any
	}
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T", "%o", "%f", "%U", "%c"} {
		for _, x := range []any{v, []any{v}, map[string]any{"k": v}, holder{v, v}, &holder{v, v}} {
			fmt.Fprintf(&b, verb+"\n", x)
		}
	}
	text, js := slog.New(slog.NewTextHandler(&b, nil)), slog.New(slog.NewJSONHandler(&b, nil))
	text.Info("m", "v", v, "in", []any{v})
	js.Info("m", "v", v, "in", []any{v})
	if data, err := json.Marshal(v); err == nil {
		b.Write(data)
	}
	fmt.Fprint(&b, fmt.Errorf("wrapped: %v", v))
	return b.String()
}

// Invariant 10: what bears a secret redacts itself, no matter what prints it.
func TestSecretsStaySecret(t *testing.T) {
	secret := []byte("a secret that must stay one, no matter what prints it")
	hs, err := token.NewSecretKey("kid-of-secret", token.HS256, secret)
	if err != nil {
		t.Fatal(err)
	}
	set, err := token.NewStaticKeySet(hs)
	if err != nil {
		t.Fatal(err)
	}
	ring := forge.Ring(t, issue.KeyringConfig{})
	issuer := forge.NewIssuer(t, ring, nil)
	issued := forge.Issue(t, issuer, forge.Request())
	if leak := tokenLeak(fmt.Sprint(issued.Raw()), issued.Raw()); leak == "" {
		t.Fatal("the search finds nothing where the token is")
	}
	for name, v := range map[string]any{
		"*Key": hs, "Key": *hs, "*StaticKeySet": set, "*Keyring": ring, "*Issuer": issuer, "*Issued": issued, "Issued": *issued,
		"Claims": *issued.Claims(), "*Claims": issued.Claims(),
		"Config":     issue.Config{Issuer: "i", Keys: ring},
		"embedded":   struct{ issue.Token }{*issued},
		"hidden":     struct{ i issue.Token }{*issued},
		"hidden key": struct{ k token.Key }{*hs},
	} {
		out := prints(v)
		if leak := tokenLeak(out, issued.Raw()); leak != "" {
			t.Errorf("%s shows %q of the token", name, leak)
		}
		for form, s := range map[string]string{
			"text": string(secret), "hex": hex.EncodeToString(secret), "base64": base64.StdEncoding.EncodeToString(secret), "base64url": base64.RawURLEncoding.EncodeToString(secret),
			"bytes": strings.Trim(fmt.Sprint(secret), "[]"), "Go": strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"),
		} {
			if strings.Contains(strings.ToLower(out), strings.ToLower(s)) {
				t.Errorf("%s shows the secret as %s", name, form)
			}
		}
	}
	// The good twins: what is public is shown. What is made of a secret is not.
	if s := fmt.Sprint(hs); !strings.Contains(s, "kid-of-secret") || strings.Contains(s, hs.Thumbprint()) {
		t.Errorf("Key prints as %s", s)
	}
	if s := fmt.Sprintf("%#v", ring); !strings.Contains(s, ring.Active().ID()) {
		t.Errorf("Keyring prints as %s", s)
	}
	if s := fmt.Sprint(issued); !strings.Contains(s, issued.Claims().ID()) {
		t.Errorf("Issued prints as %s", s)
	}
}

// tokenLeak returns a stretch of the token's payload or signature that s holds, also
// in hex, as %x writes it.
func tokenLeak(s, raw string) string {
	s = strings.ToLower(s)
	parts := strings.Split(raw, ".")
	for _, part := range parts[1:] {
		for i := 0; i+12 <= len(part); i++ {
			piece := strings.ToLower(part[i : i+12])
			if strings.Contains(s, piece) || strings.Contains(s, hex.EncodeToString([]byte(part[i:i+12]))) {
				return piece
			}
		}
	}
	return ""
}
