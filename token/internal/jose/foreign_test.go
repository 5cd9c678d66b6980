package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// A distant signer is a key that is elsewhere.
type distant struct {
	*ecdsa.PrivateKey
	change func(signature []byte, err error) ([]byte, error)
}

func (d distant) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return d.change(d.PrivateKey.Sign(r, digest, opts))
}

// What a signer that is elsewhere returns is a signature of its key, or an error that says what
// went wrong: never both, and never what does not verify.
func TestForeignSigner(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	down := errors.New("the KMS is down")
	for name, c := range map[string]struct {
		change func([]byte, error) ([]byte, error)
		want   error
		says   string
	}{
		"good":                  {func(s []byte, err error) ([]byte, error) { return s, err }, nil, ""},
		"an error":              {func([]byte, error) ([]byte, error) { return nil, down }, down, "signing with ES256"},
		"an error, a signature": {func(s []byte, _ error) ([]byte, error) { return s, down }, down, "signing with ES256"},
		"nothing":               {func([]byte, error) ([]byte, error) { return nil, nil }, jose.ErrKey, "no DER"},
		"more behind it":        {func(s []byte, _ error) ([]byte, error) { return append(s, 0), nil }, jose.ErrKey, "no DER"},
		"another signature":     {func(s []byte, _ error) ([]byte, error) { s[len(s)-1] ^= 1; return s, nil }, jose.ErrKey, "no ES256 signature"},
		"a panic":               {func([]byte, error) ([]byte, error) { panic("x") }, nil, "panicked"},
	} {
		s, err := jose.NewSigner("ES256", distant{key, c.change})
		if err != nil {
			t.Fatal(err)
		}
		signature, err := s.Sign(t.Context(), []byte("input"))
		if (err == nil) != (c.says == "") || (signature == nil) == (err == nil) || c.want != nil && !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %x, error %v", name, signature, err)
		}
	}
}
