package jose

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// A JWK holds the members of a public JSON Web Key that define the key (RFC 7518
// section 6, RFC 8037 section 2), as they stand in the JSON.
type JWK struct {
	Kty, Crv, X, Y, N, E string
}

// Public returns the key. It takes one spelling of each key only: canonical
// base64url, coordinates of full length, numbers without leading zeros. The key is
// yet to be checked by [CheckPublic].
func (j JWK) Public() (crypto.PublicKey, error) {
	var members []Member
	switch j.Kty {
	case "RSA":
		members = []Member{{"n", j.N, 0, MaxRSABits / 8}, {"e", j.E, 0, 4}}
	case "EC":
		size := Coordinate(j.Crv)
		if size == 0 {
			return nil, fmt.Errorf("%w: unknown curve", ErrKey)
		}
		members = []Member{{"x", j.X, size, size}, {"y", j.Y, size, size}}
	case "OKP":
		if j.Crv != "Ed25519" {
			return nil, fmt.Errorf("%w: unknown curve", ErrKey)
		}
		members = []Member{{"x", j.X, 32, 32}}
	default:
		return nil, fmt.Errorf("%w: unknown kty", ErrKey)
	}
	for _, m := range members {
		if err := m.Check(); err != nil {
			return nil, err
		}
	}
	return parse(j.Kty, j.Crv, members)
}

// Canonical returns j with the one spelling that [JWK.Public] takes, as far as the
// other one leaves no doubt: without padding, in the alphabet for URLs, without line
// breaks, numbers without and coordinates with their leading zeros.
func (j JWK) Canonical() JWK {
	switch j.Kty {
	case "RSA":
		j.N, j.E = canonical(j.N, 1), canonical(j.E, 1)
	case "EC":
		size := Coordinate(j.Crv)
		j.X, j.Y = canonical(j.X, size), canonical(j.Y, size)
	case "OKP":
		j.X = canonical(j.X, -1)
	}
	return j
}

var urlAlphabet = strings.NewReplacer("+", "-", "/", "_", "\r", "", "\n", "")

// canonical returns text as canonical base64url of the number in it, of size bytes at
// least, or if size is negative of its bytes. What cannot be read stays as it is.
func canonical(text string, size int) string {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(urlAlphabet.Replace(text), "="))
	if err != nil || len(b) == 0 {
		return text
	}
	if size >= 0 {
		for len(b) > size && b[0] == 0 {
			b = b[1:]
		}
		if len(b) < size {
			b = append(make([]byte, size-len(b)), b...)
		}
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// A Member is a base64url value of Size bytes, or if Size is 0 a number of at most
// Limit bytes.
type Member struct {
	Name, Text  string
	Size, Limit int
}

// Check refuses every spelling of the value but one.
func (m Member) Check() error {
	if m.Text == "" {
		return fmt.Errorf("%w: member %s is missing", ErrKey, m.Name)
	}
	if len(m.Text) > base64.RawURLEncoding.EncodedLen(m.Limit) {
		return fmt.Errorf("%w: member %s is too long", ErrKey, m.Name)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(m.Text)
	switch {
	case err != nil, strings.ContainsAny(m.Text, "\r\n"): // which the decoder skips
		return fmt.Errorf("%w: member %s is not canonical base64url", ErrKey, m.Name)
	case len(b) == 0, m.Size != 0 && len(b) != m.Size:
		return fmt.Errorf("%w: member %s has %d bytes", ErrKey, m.Name, len(b))
	case m.Size == 0 && b[0] == 0:
		return fmt.Errorf("%w: member %s has leading zeros", ErrKey, m.Name)
	}
	return nil
}

// Coordinate returns the bytes of a coordinate on the curve of that name, 0 if it is
// unknown.
func Coordinate(crv string) int {
	for _, s := range schemes {
		if s.family == ecdsaFamily && s.curve.Params().Name == crv {
			return s.size
		}
	}
	return 0
}

// parse gives jwx a JWK of checked members: no byte of it needs escaping.
func parse(kty, crv string, members []Member) (crypto.PublicKey, error) {
	var b strings.Builder
	b.WriteString(`{"kty":"` + kty + `"`)
	if crv != "" && kty != "RSA" {
		b.WriteString(`,"crv":"` + crv + `"`)
	}
	for _, m := range members {
		b.WriteString(`,"` + m.Name + `":"` + m.Text + `"`)
	}
	b.WriteString(`}`)
	key, err := jwk.ParseKey([]byte(b.String()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	var public any
	if err := key.Raw(&public); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return public, nil
}

// Thumbprint returns the RFC 7638 SHA-256 thumbprint of a public key, or of a
// secret given as []byte, in base64url.
func Thumbprint(key any) (string, error) {
	k, err := jwk.FromRaw(key)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// MarshalPublic returns the JWK of a public key, for verifying alg under kid. The
// key must be one that [CheckPublic] returned: jwx would write down a secret.
func MarshalPublic(public crypto.PublicKey, kid, alg string) ([]byte, error) {
	public, err := CheckPublic(alg, public)
	if err != nil {
		return nil, err
	}
	k, err := jwk.FromRaw(public)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	for _, m := range []struct{ name, value string }{{jwk.KeyIDKey, kid}, {jwk.AlgorithmKey, alg}, {jwk.KeyUsageKey, "sig"}} {
		if err := k.Set(m.name, m.value); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrKey, m.name, err)
		}
	}
	return json.Marshal(k)
}
