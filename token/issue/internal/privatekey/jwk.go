package privatekey

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// A JWK is a private or symmetric JSON Web Key as it was read. Members that are not there
// are empty.
type JWK struct {
	jose.JWK
	KID, Alg string

	use                    string
	ops, signs             bool // key_ops is there, and holds "sign"
	d, p, q, dp, dq, qi, k string
}

// ParseJWK reads a strict JSON object. What it holds is yet to be checked.
func ParseJWK(data []byte) (*JWK, error) {
	j := new(JWK)
	err := strictjson.Object(data, j.member)
	return j, err
}

// ForSigning reports whether use and key_ops let the key sign.
func (j *JWK) ForSigning() bool { return (j.use == "" || j.use == "sig") && (!j.ops || j.signs) }

func (j *JWK) member(name string, v strictjson.Value) error {
	if v.Kind() == 'n' { // as good as not there
		return nil
	}
	dst, known := map[string]*string{
		"kty": &j.Kty, "crv": &j.Crv, "x": &j.X, "y": &j.Y, "n": &j.N, "e": &j.E, "kid": &j.KID, "alg": &j.Alg, "use": &j.use,
		"d": &j.d, "p": &j.p, "q": &j.q, "dp": &j.dp, "dq": &j.dq, "qi": &j.qi, "k": &j.k,
	}[name]
	switch {
	case name == "oth":
		return errors.New("RSA with more than two primes")
	case name == "key_ops":
		j.ops = true
		isArray, err := v.Elements(func(v strictjson.Value) error {
			op, _ := v.Text()
			j.signs = j.signs || op == "sign"
			return nil
		})
		if !isArray {
			return errors.New("key_ops is not an array")
		}
		return err
	case !known:
		return nil
	}
	text, ok := v.Text()
	if !ok {
		return fmt.Errorf("%s is not a string", name)
	}
	*dst = text
	return nil
}

// Signer returns the private key. Like [jose.JWK.Public] it takes one spelling of each.
func (j *JWK) Signer() (crypto.Signer, error) {
	public, err := j.Public()
	if err != nil {
		return nil, err
	}
	switch public := public.(type) {
	case ed25519.PublicKey:
		seed, err := decode(jose.Member{Name: "d", Text: j.d, Size: 32, Limit: 32})
		if err != nil {
			return nil, err
		}
		key := ed25519.NewKeyFromSeed(seed)
		if !public.Equal(key.Public()) {
			return nil, fmt.Errorf("%w: the halves of the key do not match", jose.ErrKey)
		}
		return key, nil
	case *ecdsa.PublicKey:
		size := jose.Coordinate(j.Crv)
		raw, err := decode(jose.Member{Name: "d", Text: j.d, Size: size, Limit: size})
		if err != nil {
			return nil, err
		}
		return jose.ECKey(public.Curve, raw, public)
	case *rsa.PublicKey:
		return j.rsa(public)
	}
	return nil, fmt.Errorf("%w: unknown kty", jose.ErrKey)
}

func (j *JWK) rsa(public *rsa.PublicKey) (crypto.Signer, error) {
	if bits := public.N.BitLen(); bits < jose.MinRSABits { // nothing is computed with it
		return nil, fmt.Errorf("%w: RSA modulus of %d bits, fewer than %d", jose.ErrWeak, bits, jose.MinRSABits)
	}
	var n [6]*big.Int
	for i, m := range []struct{ name, text string }{{"d", j.d}, {"p", j.p}, {"q", j.q}, {"dp", j.dp}, {"dq", j.dq}, {"qi", j.qi}} {
		if i > 2 && m.text == "" { // RFC 7518 section 6.3.2: they can be computed
			continue
		}
		b, err := decode(jose.Member{Name: m.name, Text: m.text, Limit: jose.MaxRSABits / 8})
		if err != nil {
			return nil, err
		}
		n[i] = new(big.Int).SetBytes(b)
	}
	signer, err := jose.RSAKey(public.N, public.E, n[0], []*big.Int{n[1], n[2]})
	if err != nil {
		return nil, err
	}
	own := signer.(*rsa.PrivateKey).Precomputed
	for i, have := range []*big.Int{own.Dp, own.Dq, own.Qinv} {
		if given := n[3+i]; given != nil && have != nil && given.Cmp(have) != 0 {
			return nil, fmt.Errorf("%w: the parts of the RSA key do not match", jose.ErrKey)
		}
	}
	return signer, nil
}

// maxSecretBytes bounds the value of a key of kty oct.
const maxSecretBytes = 1 << 10

// Secret returns the value of a key of kty oct.
func (j *JWK) Secret() ([]byte, error) {
	if j.Kty != "oct" {
		return nil, fmt.Errorf("%w: not a secret", jose.ErrKey)
	}
	// No number: zeros in front are part of it.
	b, err := base64.RawURLEncoding.Strict().DecodeString(j.k)
	if err != nil || len(b) == 0 || len(b) > maxSecretBytes || bytes.ContainsAny([]byte(j.k), "\r\n") {
		return nil, fmt.Errorf("%w: member k is not canonical base64url", jose.ErrKey)
	}
	return b, nil
}

// decode returns the value of a member that passes [jose.Member.Check].
func decode(m jose.Member) ([]byte, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	return base64.RawURLEncoding.DecodeString(m.Text)
}
