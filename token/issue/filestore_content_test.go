package issue

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue/internal/privatekey"
)

// openFile returns the ring in a file, as OpenKeyring would read it.
func openFile(file []byte, codec ringCodec) (decodedRing, error) {
	content, err := decodeFile(file)
	if err != nil {
		return decodedRing{}, err
	}
	r, ok := content.live(ringKey(""), time.Now())
	if !ok {
		return decodedRing{}, errors.New("no ring")
	}
	return codec.decode(r.value)
}

// ringFile returns a file with a new ring of that algorithm.
func ringFile(t testing.TB, alg token.Algorithm, codec ringCodec) []byte {
	t.Helper()
	set, err := (&KeyringConfig{Algorithm: alg}).plan().first(nil)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := codec.encode(set)
	if err != nil {
		t.Fatal(err)
	}
	content := &fileContent{7, map[string]fileRecord{ringKey(""): {blob, 7, recordstore.Never.UnixMilli()}}}
	file, err := content.encode(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// Every bit of a file counts, sealed or not: one that is another or is missing is found
// out, in the private keys too, where a flipped bit makes another good key.
func TestDecodeFileDamaged(t *testing.T) {
	for name, codec := range map[string]ringCodec{"plain": {private: true}, "sealed": {private: true, record: ringKey(""), seals: fuzzSeal()}} {
		good := ringFile(t, token.EdDSA, codec)
		if _, err := openFile(good, codec); err != nil {
			t.Fatalf("%s: the good twin: %v", name, err)
		}
		for i := range good {
			for bit := range 8 {
				good[i] ^= 1 << bit
				if _, err := openFile(good, codec); err == nil {
					t.Fatalf("%s: bit %d of byte %d of %d is another: nobody notices", name, bit, i, len(good))
				}
				good[i] ^= 1 << bit
			}
			if _, err := openFile(good[:i], codec); err == nil {
				t.Fatalf("%s: cut to %d bytes: nobody notices", name, i)
			}
		}
		if _, err := openFile(append(bytes.Clone(good), ' '), codec); err == nil {
			t.Errorf("%s: a byte more: nobody notices", name)
		}
	}
}

// In a file that the version before wrote without a seal, which has no checksum, every bit
// of a private key is found out by the kid that the ring gave it: its thumbprint. So is every
// bit of an RSA or EC key under any kid, but of the value from which the rest follows.
func TestFormerRingDamaged(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("..", "internal", "forge", "testdata", "written-by-601627d", "ring-plain.json"))
	if err != nil {
		t.Fatal(err)
	}
	codec := ringCodec{private: true}
	ring, err := openFile(file, codec)
	if err != nil {
		t.Fatal(err)
	}
	flipped := 0
	for rest, at := file, 0; ; {
		i := bytes.Index(rest, []byte(`"pkcs8":"`))
		if i < 0 {
			break
		}
		i += len(`"pkcs8":"`)
		n := bytes.IndexByte(rest[i:], '"')
		der, err := base64.RawURLEncoding.DecodeString(string(rest[i : i+n]))
		if err != nil {
			t.Fatal(err)
		}
		for b := range 8 * len(der) {
			der[b/8] ^= 1 << (b % 8)
			bad := bytes.Clone(file)
			base64.RawURLEncoding.Encode(bad[at+i:], der)
			der[b/8] ^= 1 << (b % 8)
			if _, err := openFile(bad, codec); !errors.Is(err, ErrStoreCorrupt) {
				t.Fatalf("bit %d of the private key at byte %d is another: error %v", b, at+i, err)
			}
			flipped++
		}
		rest, at = rest[i+n:], at+i+n
	}
	if flipped < 3*8*48 {
		t.Errorf("only %d bits flipped of %d keys", flipped, len(ring.set.keys))
	}

	// A key of the caller's own with a kid that only looks like a thumbprint is read where
	// the configuration names it.
	own, err := NewSigningKey(fileSum([]byte("a certificate")), token.EdDSA, mustSigner(t, ring.set.keys[0].SigningKey))
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewSigningKey(own.key.ID(), token.EdDSA, mustSigner(t, ring.set.keys[1].SigningKey))
	if err != nil {
		t.Fatal(err)
	}
	der, _ := own.signer.PKCS8()
	named := fmt.Sprintf(`{"v":1,"kind":"keyring","gen":3,"keys":[{"kid":"%s","alg":"EdDSA","state":"active","since":0,"pkcs8":"%s"}]}`, own.key.ID(), base64.RawURLEncoding.EncodeToString(der))
	for _, c := range []struct {
		first *SigningKey
		good  bool
	}{{nil, false}, {other, false}, {own, true}} {
		codec.firstKey = c.first
		if _, err := openFile([]byte(named), codec); (err == nil) != c.good || err != nil && !strings.Contains(err.Error(), "FirstKey") {
			t.Errorf("FirstKey %v: error %v", c.first, err)
		}
	}
}

func mustSigner(t *testing.T, k *SigningKey) crypto.Signer {
	t.Helper()
	der, _ := k.signer.PKCS8()
	s, err := privatekey.PKCS8(der)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The halves of a pair that do not belong together are refused, of each kind of key that
// holds both, whatever its kid.
func TestDecodeRingOfHalves(t *testing.T) {
	for _, alg := range []token.Algorithm{token.ES256, token.ES384, token.ES512, token.RS256} {
		set, err := (&KeyringConfig{Algorithm: alg}).plan().first(nil)
		if err != nil {
			t.Fatal(err)
		}
		der, _ := set.keys[0].signer.PKCS8()
		accepted := 0
		tried, step := 0, 1
		if alg == token.RS256 {
			step = 7 // to look at one takes milliseconds
		}
		for b := 0; b < len(der); b += step {
			tried++
			bad := bytes.Clone(der)
			bad[b] ^= 1
			blob := fmt.Sprintf(`{"v":1,"kind":"keyring","gen":3,"keys":[{"kid":"mine","alg":"%s","state":"active","since":0,"pkcs8":"%s"}]}`, alg, base64.RawURLEncoding.EncodeToString(bad))
			if _, err := new(ringCodec).decode([]byte(blob)); err == nil {
				accepted++
			}
		}
		if accepted > 0 {
			t.Errorf("%s: %d of %d bytes of the private key may be others", alg, accepted, tried)
		}
	}
}

// FuzzDecodeRecords: what a file holds is read whole or not at all, and what was read is
// written and read again the same.
func FuzzDecodeRecords(f *testing.F) {
	for _, seed := range []string{
		`{"revision":0,"records":[]}`, `{"revision":17,"records":[{"key":"ring","revision":17,"expires":253402300799000,"value":"AAAA"},{"key":"a.b","revision":3,"expires":0,"value":""}]}`,
		`{"revision":17,"records":[{"key":"a","revision":18,"expires":0,"value":""}]}`, `{"revision":17,"records":[{"key":"a","revision":1,"expires":0,"value":"="}]}`,
		`{"revision":1,"records":[{"key":"..","revision":1,"expires":0,"value":""}]}`, `{"records":[]}`, `{"revision":-1,"records":{}}`, `{}`, ``,
		`{"revision":1,"records":[{"key":"a","revision":5000000000000000000,"expires":-5,"value":"AA"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		file := append(append([]byte(fileHead), fileSum(body)...), '\n')
		file = append(file, body...)
		content, err := decodeFile(file)
		if err != nil {
			repeatsNothing(t, err, body)
			return
		}
		then := time.UnixMilli(0).Add(-100 * 365 * 24 * time.Hour) // when nothing had expired
		for key, r := range content.records {
			if r.expires < then.UnixMilli() {
				delete(content.records, key)
			}
		}
		once, err := content.encode(then)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeFile(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := again.encode(then); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("another content: error %v", err)
		}
		if n := content.next(time.Now()); n <= content.revision || n >= formerRevisions+1 {
			t.Fatalf("after revision %d comes %d", content.revision, n)
		}
	})
}

// A file with the right checksum whose content cannot be, one bad member a row, is refused as a
// whole; so is nothing that can be.
func TestFileContentThatCannotBe(t *testing.T) {
	record := func(replace ...string) string {
		return strings.NewReplacer(replace...).Replace(`{"key":"r.a","revision":2,"expires":5,"value":"AAAA"}`)
	}
	file := func(records ...string) string { return `{"revision":2,"records":[` + strings.Join(records, ",") + `]}` }
	limit, over := base64.RawURLEncoding.EncodedLen(maxRingBytes), `"value":"`
	for body, good := range map[string]bool{
		file():         true,
		file(record()): true,
		file(record(), record(`r.a`, `r.b`, `n":2`, `n":1`)):       true,
		file(record(`"expires":5`, `"expires":-5`)):                true,
		file(record(`"AAAA"`, `""`)):                               true,
		file(record(over+`AAAA`, over+strings.Repeat("A", limit))): true,

		``:                              false,
		`[]`:                            false,
		`{}`:                            false,
		`{"revision":2}`:                false,
		`{"records":[]}`:                false,
		`{"revision":-1,"records":[]}`:  false,
		`{"revision":1.5,"records":[]}`: false,
		`{"revision":"2","records":[]}`: false,
		`{"revision":9223372036854775807,"records":[]}`:                false,
		`{"revision":2,"revision":2,"records":[]}`:                     false,
		`{"revision":2,"records":{}}`:                                  false,
		`{"revision":2,"records":null}`:                                false,
		`{"revision":2,"records":[],"more":1}`:                         false,
		file(`1`):                                                      false,
		file(`null`):                                                   false,
		file(`{}`):                                                     false,
		file(record(), record()):                                       false,
		file(record(`"key":"r.a",`, ``)):                               false,
		file(record(`"r.a"`, `1`)):                                     false,
		file(record(`r.a`, ``)):                                        false,
		file(record(`r.a`, `r a`)):                                     false,
		file(record(`"revision":2,`, ``)):                              false,
		file(record(`n":2`, `n":0`)):                                   false,
		file(record(`n":2`, `n":-1`)):                                  false,
		file(record(`n":2`, `n":3`)):                                   false,
		file(record(`n":2`, `n":"2"`)):                                 false,
		file(record(`"expires":5,`, ``)):                               false,
		file(record(`"expires":5`, `"expires":"5"`)):                   false,
		file(record(`"expires":5`, `"expires":9223372036854775807`)):   false,
		file(record(`,"value":"AAAA"`, ``)):                            false,
		file(record(`"AAAA"`, `1`)):                                    false,
		file(record(`AAAA`, `A`)):                                      false,
		file(record(`AAAA`, `AB`)):                                     false,
		file(record(`AAAA`, `AA==`)):                                   false,
		file(record(`AAAA`, `+/+/`)):                                   false,
		file(record(over+`AAAA`, over+strings.Repeat("A", limit)+`A`)): false,
		file(record(`{`, `{"more":1,`)):                                false,
	} {
		content, err := decodeFile([]byte(fileHead + fileSum([]byte(body)) + "\n" + body))
		if (err == nil) != good || (content == nil) == good {
			t.Errorf("%.200s: %v", body, err)
		}
	}
}
