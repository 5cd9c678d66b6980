package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

var pairs = []string{"EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func newSigner(t testing.TB, alg string) *jose.Signer {
	t.Helper()
	var s *jose.Signer
	var err error
	if alg[0] == 'R' || alg[0] == 'P' {
		s, err = jose.NewSigner(alg, rsaKey()) // a key that is not made anew each time
	} else {
		s, err = jose.GenerateSigner(alg)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newVerifier(t testing.TB, alg string, public crypto.PublicKey) jose.Verifier {
	t.Helper()
	checked, err := jose.CheckPublic(alg, public)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jose.NewVerifier(alg, checked)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSignatures(t *testing.T) {
	input := []byte("header.payload")
	for _, alg := range pairs {
		s := newSigner(t, alg)
		v := newVerifier(t, alg, s.Public())
		sig, err := s.Sign(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		if !v.Verify(input, sig) {
			t.Errorf("%s: good signature refused", alg)
		}
		if v.Verify([]byte("header.payloae"), sig) {
			t.Errorf("%s: accepted over other bytes", alg)
		}
		step := 1
		if len(sig) > 200 {
			step = 13
		}
		for i := 0; i < len(sig); i += step { // every byte counts
			bad := slices.Clone(sig)
			bad[i] ^= 0x10
			if v.Verify(input, bad) {
				t.Errorf("%s: accepted with byte %d changed", alg, i)
			}
		}
		for n := range sig { // CVE-2020-28042
			if v.Verify(input, sig[:n]) {
				t.Errorf("%s: accepted with %d of %d bytes", alg, n, len(sig))
			}
		}
		for _, bad := range [][]byte{append(slices.Clone(sig), 0), append([]byte{0}, sig...), make([]byte, len(sig)), slices.Repeat([]byte{0xff}, len(sig))} {
			if v.Verify(input, bad) {
				t.Errorf("%s: accepted %d bytes %x…", alg, len(bad), bad[:2])
			}
		}
	}
}

// The DER that ecdsa.VerifyASN1 wants is written by us: numbers with leading zeros
// and with the high bit set must survive it.
func TestECDSANumbers(t *testing.T) {
	for alg, n := range map[string]int{"ES256": 2500, "ES384": 100, "ES512": 100} {
		s := newSigner(t, alg)
		v := newVerifier(t, alg, s.Public())
		var short, high int
		for i := range n {
			input := fmt.Append(nil, i)
			sig, err := s.Sign(t.Context(), input)
			if err != nil {
				t.Fatal(err)
			}
			half := len(sig) / 2
			if sig[0] == 0 || sig[half] == 0 {
				short++
			}
			if sig[0] > 127 || sig[half] > 127 || alg == "ES512" && (sig[1] > 127 || sig[half+1] > 127) {
				high++
			}
			if !v.Verify(input, sig) {
				t.Fatalf("%s: good signature %x refused", alg, sig)
			}
		}
		if short == 0 && alg != "ES384" || high == 0 {
			t.Errorf("%s: %d signatures with leading zeros, %d with the high bit: nothing was tested", alg, short, high)
		}
	}
}

// CVE-2022-21449: r and s of zero, and of the order of the group.
func TestECDSADegenerate(t *testing.T) {
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		s := newSigner(t, alg)
		v := newVerifier(t, alg, s.Public())
		good, err := s.Sign(t.Context(), []byte("m"))
		if err != nil {
			t.Fatal(err)
		}
		half := len(good) / 2
		number := func(n *big.Int) []byte { return n.FillBytes(make([]byte, half)) }
		order := curve.Params().N
		for _, n := range []*big.Int{big.NewInt(0), order, new(big.Int).Sub(order, big.NewInt(1)), new(big.Int).Add(order, big.NewInt(1))} {
			for _, sig := range [][]byte{slices.Concat(number(n), number(n)), slices.Concat(number(n), good[half:]), slices.Concat(good[:half], number(n))} {
				if v.Verify([]byte("m"), sig) {
					t.Errorf("%s: accepted %x", alg, sig)
				}
			}
		}
		if !v.Verify([]byte("m"), good) {
			t.Errorf("%s: the good twin is refused", alg)
		}
	}
}

// jwx accepts PS256 with any salt length; RFC 7518 section 3.5 has one.
func TestPSSSaltLength(t *testing.T) {
	for alg, hash := range map[string]crypto.Hash{"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512} {
		v := newVerifier(t, alg, rsaKey().Public())
		h := hash.New()
		h.Write([]byte("m"))
		for _, salt := range []int{0, 20, 32, 48, 64} {
			sig, err := rsa.SignPSS(rand.Reader, rsaKey(), hash, h.Sum(nil), &rsa.PSSOptions{SaltLength: salt})
			if err != nil {
				t.Fatal(err)
			}
			if v.Verify([]byte("m"), sig) != (salt == hash.Size()) {
				t.Errorf("%s with a salt of %d bytes: want it accepted only for %d", alg, salt, hash.Size())
			}
		}
	}
}

func TestHMAC(t *testing.T) {
	secret := []byte("sixty-four bytes, for the longest hash; as random as prose can be")
	for alg, size := range map[string]int{"HS256": 32, "HS384": 48, "HS512": 64} {
		if err := jose.CheckSecret(alg, secret[:size-1]); !errors.Is(err, jose.ErrWeak) {
			t.Errorf("%s: %d bytes: error %v", alg, size-1, err)
		}
		if err := jose.CheckSecret(alg, slices.Repeat([]byte{7}, size)); !errors.Is(err, jose.ErrWeak) {
			t.Errorf("%s: one byte repeated: error %v", alg, err)
		}
		if err := jose.CheckSecret(alg, secret[:size]); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
	own := slices.Clone(secret)
	v := jose.NewSecretVerifier("HS256", own)
	clear(own) // the verifier has its own copy
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("m"))
	mac := h.Sum(nil)
	if !v.Verify([]byte("m"), mac) {
		t.Error("the good MAC is refused")
	}
	if v.Verify([]byte("n"), mac) || v.Verify([]byte("m"), mac[:31]) || v.Verify([]byte("m"), append(mac, 0)) || v.Verify([]byte("m"), nil) {
		t.Error("a wrong MAC is accepted")
	}
	if err := jose.CheckSecret("EdDSA", secret); !errors.Is(err, jose.ErrKey) {
		t.Errorf("a secret for EdDSA: error %v", err)
	}
}

func TestCheckPublicRSA(t *testing.T) {
	good := &rsaKey().PublicKey
	with := func(n *big.Int, e int) *rsa.PublicKey { return &rsa.PublicKey{N: n, E: e} }
	short := new(big.Int).SetBit(new(big.Int).Rsh(good.N, 1), 0, 1)
	long := new(big.Int).SetBit(new(big.Int).Lsh(good.N, 8192), 0, 1)
	beyond := int64(1<<31 + 1) // negative where an int has 32 bits
	for _, x := range []struct {
		name string
		key  *rsa.PublicKey
		want error
	}{
		{"good", good, nil},
		{"2047 bits", with(short, 65537), jose.ErrWeak},
		{"too large to be verified with", with(long, 65537), jose.ErrKey},
		{"zero modulus", with(new(big.Int), 65537), jose.ErrWeak},
		{"negative modulus", with(new(big.Int).Neg(good.N), 65537), jose.ErrWeak},
		{"even modulus", with(new(big.Int).SetBit(good.N, 0, 0), 65537), jose.ErrWeak},
		{"no modulus", with(nil, 65537), jose.ErrKey},
		{"e = 1", with(good.N, 1), jose.ErrWeak}, // every message is its own signature
		{"e = 3", with(good.N, 3), jose.ErrWeak},
		{"even e", with(good.N, 65538), jose.ErrWeak},
		{"negative e", with(good.N, -65537), jose.ErrWeak},
		{"e beyond 31 bits", with(good.N, int(beyond)), jose.ErrWeak},
		{"another odd e", with(good.N, 65539), nil},
		{"ROCA", with(rocaModulus(), 65537), jose.ErrWeak},
	} {
		for _, alg := range []string{"RS256", "PS512"} {
			if _, err := jose.CheckPublic(alg, x.key); !errors.Is(err, x.want) {
				t.Errorf("%s for %s: error %v, want %v", x.name, alg, err, x.want)
			}
		}
	}
	if _, err := jose.CheckPublic("RS256", (*rsa.PublicKey)(nil)); !errors.Is(err, jose.ErrKey) {
		t.Errorf("nil: error %v", err)
	}
}

// rocaModulus makes a number with the mark of the faulty generator: a power of
// 65537 modulo the product of the first primes.
func rocaModulus() *big.Int {
	m := big.NewInt(2)
	for p := int64(3); p <= 167; p += 2 {
		if big.NewInt(p).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(p))
		}
	}
	power := new(big.Int).Exp(big.NewInt(65537), big.NewInt(123456789), m)
	multiple := new(big.Int).Lsh(big.NewInt(1), uint(2048-m.BitLen()))
	return power.Add(power, multiple.Mul(multiple, m))
}

func TestCheckPublicEd25519(t *testing.T) {
	good, _, _ := ed25519.GenerateKey(rand.Reader)
	if _, err := jose.CheckPublic("EdDSA", good); err != nil {
		t.Errorf("good: %v", err)
	}
	for i := range 200 { // no sound key is refused
		seed := sha256.Sum256([]byte{byte(i)})
		if _, err := jose.CheckPublic("EdDSA", ed25519.NewKeyFromSeed(seed[:]).Public()); err != nil {
			t.Fatalf("seed %d: %v", i, err)
		}
	}
	low := func(head byte, rest byte, top byte) string {
		b := slices.Repeat([]byte{rest}, 32)
		b[0], b[31] = head, top
		return hex.EncodeToString(b)
	}
	for name, x := range map[string]string{
		"order 1":                  low(1, 0, 0),
		"order 1, other sign":      low(1, 0, 0x80),
		"order 2":                  low(0xec, 0xff, 0x7f),
		"order 4":                  low(0, 0, 0),
		"order 4, other sign":      low(0, 0, 0x80),
		"order 8":                  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"order 8, other y":         "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"order 8, other sign":      "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"p, a second spelling":     low(0xed, 0xff, 0x7f),
		"p+1, a second spelling":   low(0xee, 0xff, 0x7f),
		"all ones":                 low(0xff, 0xff, 0xff),
		"not a point of the curve": low(2, 0, 0),
	} {
		b, err := hex.DecodeString(x)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jose.CheckPublic("EdDSA", ed25519.PublicKey(b)); !errors.Is(err, jose.ErrWeak) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := jose.CheckPublic("EdDSA", ed25519.PublicKey(make([]byte, n))); !errors.Is(err, jose.ErrKey) {
			t.Errorf("%d bytes: error %v", n, err)
		}
	}
}

func TestCheckPublicMatchesAlgorithm(t *testing.T) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	for _, alg := range append(slices.Clone(pairs), "HS256", "none", "", "eddsa", "es256") {
		for name, x := range map[string]struct {
			key  crypto.PublicKey
			fits bool
		}{
			"Ed25519":           {ed, alg == "EdDSA"},
			"P-256":             {ec.Public(), alg == "ES256"},
			"RSA":               {rsaKey().Public(), alg != "" && (alg[0] == 'R' || alg[0] == 'P')},
			"private EC":        {ec, false},
			"private RSA":       {rsaKey(), false},
			"EC without values": {&ecdsa.PublicKey{Curve: elliptic.P256()}, false},
			"EC zero":           {&ecdsa.PublicKey{}, false},
			"nil EC":            {(*ecdsa.PublicKey)(nil), false},
			"bytes":             {make([]byte, 32), false},
			"nil":               {nil, false},
		} {
			_, err := jose.CheckPublic(alg, x.key)
			if (err == nil) != x.fits || err != nil && !errors.Is(err, jose.ErrKey) && !errors.Is(err, jose.ErrWeak) {
				t.Errorf("%s for %q: error %v", name, alg, err)
			}
		}
	}
}

// A key given by pointer and changed later must not change what verifies.
func TestCheckPublicCopies(t *testing.T) {
	public := rsaKey().PublicKey
	public.N = new(big.Int).Set(public.N)
	v := newVerifier(t, "RS256", &public)
	digest := sha256.Sum256([]byte("m"))
	sig, err := rsa.SignPKCS1v15(nil, rsaKey(), crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	public.N.SetInt64(1)
	public.E = 3
	if !v.Verify([]byte("m"), sig) {
		t.Error("the verifier changed with its caller's key")
	}
}

// RFC 7638 section 3 by hand beside what jwx makes of it: SHA-256 over the required
// members in lexicographic order.
func TestThumbprint(t *testing.T) {
	for _, alg := range []string{"EdDSA", "ES256", "ES384", "ES512", "RS256"} {
		public := newSigner(t, alg).Public()
		got, err := jose.Thumbprint(public)
		if err != nil {
			t.Fatal(err)
		}
		if want := thumbprint(t, public); got != want {
			t.Errorf("%s: thumbprint %s, want %s", alg, got, want)
		}
	}
}

// The members of a published key name no secret, whatever the algorithm.
func TestMarshalPublic(t *testing.T) {
	for _, alg := range pairs {
		s := newSigner(t, alg)
		data, err := jose.MarshalPublic(s.Public(), `a "kid"`, alg)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if strings.Contains(string(data), `"`+secret+`":`) {
				t.Errorf("%s: member %s is published", alg, secret)
			}
		}
		if !strings.Contains(string(data), `"kid":"a \"kid\""`) || !strings.Contains(string(data), `"alg":"`+alg+`"`) || !strings.Contains(string(data), `"use":"sig"`) {
			t.Errorf("%s: published as %s", alg, data)
		}
	}
	for name, key := range map[string]any{"secret": []byte("thirty-two bytes of what is kept"), "private": rsaKey()} {
		if data, err := jose.MarshalPublic(key, "k", "RS256"); err == nil {
			t.Errorf("%s key published as %s", name, data)
		}
	}
}

func TestGenerateSignerRefuses(t *testing.T) {
	for _, alg := range []string{"HS256", "none", "", "ES256K"} {
		if _, err := jose.GenerateSigner(alg); !errors.Is(err, jose.ErrKey) {
			t.Errorf("%q: error %v", alg, err)
		}
	}
	if _, err := jose.NewSigner("ES384", rsaKey()); !errors.Is(err, jose.ErrKey) {
		t.Errorf("an RSA key for ES384: error %v", err)
	}
}

func BenchmarkVerify(b *testing.B) {
	input := []byte(strings.Repeat("x", 400))
	for _, alg := range []string{"EdDSA", "ES256", "RS256"} {
		s := newSigner(b, alg)
		v := newVerifier(b, alg, s.Public())
		sig, err := s.Sign(b.Context(), input)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !v.Verify(input, sig) {
					b.Fatal("refused")
				}
			}
		})
	}
	// What the standard library alone needs.
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	digest := sha256.Sum256(input)
	der, _ := ecdsa.SignASN1(rand.Reader, key, digest[:])
	b.Run("bare ES256", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			digest := sha256.Sum256(input)
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], der) {
				b.Fatal("refused")
			}
		}
	})
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	sig := ed25519.Sign(private, input)
	b.Run("bare EdDSA", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !ed25519.Verify(public, input, sig) {
				b.Fatal("refused")
			}
		}
	})
}
