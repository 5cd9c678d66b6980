package token

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// Published examples, kept beside the project and not in it: a clone skips these
// tests. They show that the gate and the keys agree with others about what a
// signature is, and that nothing but the compact form gets through.
const vectors = "../../shared/vectors"

// vector is what the files of the JOSE cookbook and of RFC 7515, 7519 and 8037 hold.
type vector struct {
	Input struct {
		Key json.RawMessage `json:"key"`
		Alg json.RawMessage `json:"alg"`
	} `json:"input"`
	Output struct {
		Compact  string          `json:"compact"`
		JSON     json.RawMessage `json:"json"`
		JSONFlat json.RawMessage `json:"json_flat"`
	} `json:"output"`
}

// haveVectors skips the test if there are no vectors at all. A folder or a file that
// is missing among them fails.
func haveVectors(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(vectors); errors.Is(err, fs.ErrNotExist) {
		t.Skip("the published vectors are not beside this checkout")
	}
}

func readVector(t *testing.T, name string, into any) {
	t.Helper()
	haveVectors(t)
	data, err := os.ReadFile(filepath.Join(vectors, name))
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func vectorKey(t *testing.T, jwk json.RawMessage, alg Algorithm) *Key {
	t.Helper()
	var j struct{ Kty, Kid, Crv, X, Y, N, E, K string }
	if err := json.Unmarshal(jwk, &j); err != nil {
		t.Fatal(err)
	}
	decode := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var public crypto.PublicKey
	switch j.Kty {
	case "oct":
		key, err := NewSecretKey(cmp.Or(j.Kid, "of the vector"), alg, decode(j.K)) // which names none
		if err != nil {
			t.Fatal(err)
		}
		return key
	case "OKP":
		public = ed25519.PublicKey(decode(j.X))
	case "RSA":
		public = &rsa.PublicKey{N: new(big.Int).SetBytes(decode(j.N)), E: int(new(big.Int).SetBytes(decode(j.E)).Int64())}
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[j.Crv]
		point, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, decode(j.X), decode(j.Y)))
		if err != nil {
			t.Fatal(err)
		}
		public = point
	}
	key, err := NewKey(j.Kid, alg, public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// checkSigned fails unless raw passes the gate, key verifies it, key verifies no
// neighbour of it, and a Verifier refuses it for its type, since no example is an
// access token.
func checkSigned(t *testing.T, raw string, key *Key) {
	t.Helper()
	p, err := split(raw, shape.DefaultTokenBytes)
	if err != nil {
		t.Fatalf("refused by the gate: %v", err)
	}
	h, err := parseHeader(p.header)
	if err != nil || h.alg != key.Algorithm() {
		t.Fatalf("header %+v, error %v", h, err)
	}
	if err := key.verify(p.signed, p.signature); err != nil {
		t.Fatalf("good signature refused: %v", err)
	}
	p.signed[0] ^= 1
	if key.verify(p.signed, p.signature) == nil {
		t.Fatal("accepted over other bytes")
	}
	p.signed[0] ^= 1
	p.signature[len(p.signature)-1] ^= 1
	if key.verify(p.signed, p.signature) == nil {
		t.Fatal("another signature accepted")
	}
	keys, err := NewStaticKeySet(key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(VerifierConfig{Issuer: "joe", Audiences: []string{"a"}, Algorithms: []Algorithm{key.Algorithm()}, Keys: keys, InsecureNoRevocations: true})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := v.Verify(t.Context(), raw); c != nil || !errors.Is(err, ErrType) {
		t.Fatalf("as an access token: error %v", err)
	}
}

func checkRefusedByGate(t *testing.T, what, raw string) {
	t.Helper()
	p, err := split(raw, shape.MaxTokenBytes)
	if err == nil {
		_, err = parseHeader(p.header)
	}
	if !errors.Is(err, ErrMalformed) {
		t.Errorf("%s: error %v", what, err)
	}
}

func TestJOSECookbook(t *testing.T) {
	signed := map[string]bool{
		"jws/4_1.rsa_v15_signature.json": true, "jws/4_2.rsa-pss_signature.json": true, "jws/4_3.ecdsa_signature.json": true,
		"jws/4_4.hmac-sha2_integrity_protection.json": true, "curve25519/jws.json": true,
	}
	root := filepath.Join(vectors, "ietf-jose-cookbook")
	haveVectors(t)
	verified, refused := 0, 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".json") || strings.HasPrefix(name, "jwk/") || strings.HasPrefix(name, "6.") {
			return err
		}
		var v vector
		readVector(t, filepath.Join("ietf-jose-cookbook", name), &v)
		t.Run(name, func(t *testing.T) {
			switch {
			case signed[name]:
				var alg Algorithm
				if err := json.Unmarshal(v.Input.Alg, &alg); err != nil {
					t.Fatal(err)
				}
				checkSigned(t, v.Output.Compact, vectorKey(t, v.Input.Key, alg))
				verified++
			case v.Output.Compact != "": // detached, b64 false, encrypted
				checkRefusedByGate(t, "compact form", v.Output.Compact)
				refused++
			}
			for _, form := range []json.RawMessage{v.Output.JSON, v.Output.JSONFlat} {
				if form == nil {
					continue
				}
				var compact bytes.Buffer
				if err := json.Compact(&compact, form); err != nil {
					t.Fatal(err)
				}
				checkRefusedByGate(t, "JSON form", compact.String())
				refused++
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if verified != len(signed) || refused < 40 {
		t.Errorf("%d examples verified, want %d; %d refused, want at least 40", verified, len(signed), refused)
	}
}

// The keys of the cookbook as a published set: the public ones are for us, each with
// the one algorithm that is asked for; private and symmetric ones are refused.
func TestCookbookKeys(t *testing.T) {
	for name, alg := range map[string]Algorithm{
		"3_1.ec_public_key": ES512, "3_2.ec_private_key": "", "3_3.rsa_public_key": PS384, "3_4.rsa_private_key": "",
		"3_5.symmetric_key_mac_computation": "", "3_6.symmetric_key_encryption": "",
	} {
		var jwk json.RawMessage
		readVector(t, "ietf-jose-cookbook/jwk/"+name+".json", &jwk)
		set, err := ParseKeySet([]byte(`{"keys":[`+string(jwk)+`]}`), ES512, PS384)
		if alg == "" {
			if !errors.Is(err, ErrKey) {
				t.Errorf("%s: error %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if key, err := set.Lookup(t.Context(), "bilbo.baggins@hobbiton.example", alg); err != nil || key.Algorithm() != alg {
			t.Errorf("%s: key %v, error %v", name, key, err)
		}
	}
}

func TestNestedCookbookToken(t *testing.T) {
	var v struct {
		Sign    vector `json:"sign"`
		Encrypt vector `json:"encrypt"`
	}
	readVector(t, "ietf-jose-cookbook/6.nesting_signatures_and_encryption.json", &v)
	checkSigned(t, v.Sign.Output.Compact, vectorKey(t, v.Sign.Input.Key, PS256))
	checkRefusedByGate(t, "encrypted", v.Encrypt.Output.Compact)
}

func TestRFCExamples(t *testing.T) {
	var file struct {
		JWS []struct {
			Ref   string
			JWK   json.RawMessage
			Token string
			Valid bool `json:"signature_valid"`
		}
		Thumbprints []struct {
			Ref    string
			JWK    json.RawMessage
			SHA256 string
		} `json:"jwk_thumbprint"`
		Count int
	}
	readVector(t, "rfc-examples/jws_jwk.json", &file)
	for _, x := range file.JWS {
		t.Run(x.Ref, func(t *testing.T) {
			if !x.Valid {
				checkRefusedByGate(t, "unsecured", x.Token)
				return
			}
			header, _ := base64.RawURLEncoding.DecodeString(x.Token[:strings.IndexByte(x.Token, '.')])
			h, err := parseHeader(header)
			if err != nil {
				t.Fatal(err)
			}
			checkSigned(t, x.Token, vectorKey(t, x.JWK, h.alg))
		})
	}
	for _, x := range file.Thumbprints {
		alg := RS256
		if strings.Contains(string(x.JWK), "OKP") {
			alg = EdDSA
		}
		if got := vectorKey(t, x.JWK, alg).Thumbprint(); got != x.SHA256 {
			t.Errorf("%s: thumbprint %s, want %s", x.Ref, got, x.SHA256)
		}
	}
	if n := len(file.JWS) + len(file.Thumbprints); n == 0 || n != file.Count {
		t.Errorf("%d examples read, the file says %d", n, file.Count)
	}
}

// Well-signed JWTs of other kinds are no access tokens.
func TestOtherKindsOfJWT(t *testing.T) {
	var proofs struct {
		Proofs []struct {
			Proof  string
			Header struct{ JWK json.RawMessage }
		}
	}
	readVector(t, "dpop/dpop_examples.json", &proofs)
	if len(proofs.Proofs) != 4 {
		t.Fatalf("%d proofs read", len(proofs.Proofs))
	}
	for _, p := range proofs.Proofs {
		checkSigned(t, p.Proof, vectorKey(t, p.Header.JWK, ES256))
	}
	var list struct {
		JWT string
		JWK json.RawMessage `json:"public_jwk_src_util"`
	}
	readVector(t, "oauth-status-list/status_list_token.json", &list)
	checkSigned(t, list.JWT, vectorKey(t, list.JWK, ES256))
}
