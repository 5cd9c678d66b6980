package issue

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
)

var storedPKCS8 = sync.OnceValue(func() string {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(der)
})

// storedRing returns a ring as it is stored, with the members of its one key.
func storedRing(key string) string {
	return `{"v":1,"kind":"keyring","gen":3,"keys":[` + strings.ReplaceAll(key, "PKCS8", storedPKCS8()) + `]}`
}

const goodKey = `{"kid":"a","alg":"EdDSA","state":"active","since":1790000000000,"pkcs8":"PKCS8"}`

func TestDecodeRing(t *testing.T) {
	ring := func(from, to string) string { return strings.Replace(storedRing(goodKey), from, to, 1) }
	for name, blob := range map[string]string{
		"nothing": "", "null": "null", "array": "[]", "text": "x", "data after": storedRing(goodKey) + "{}", "too long": storedRing(goodKey) + strings.Repeat(" ", 1<<20),
		"version 3": ring(`"v":1`, `"v":3`), "version 0": ring(`"v":1`, `"v":0`), "version 2 without thumbprints": ring(`"v":1`, `"v":2`), "version 1 with one": ring(`"state"`, `"thumbprint":"x","state"`), "no version": ring(`"v":1,`, ``), "version text": ring(`"v":1`, `"v":"1"`),
		"other kind": ring(`"kind":"keyring"`, `"kind":"x"`), "no kind": ring(`"kind":"keyring",`, ``), "gen 0": ring(`"gen":3`, `"gen":0`), "gen of half": ring(`"gen":3`, `"gen":3.5`),
		"unknown member": ring(`"gen":3`, `"gen":3,"x":1`), "twice": ring(`"gen":3`, `"gen":3,"gen":3`), "both kinds": ring(`"gen":3`, `"gen":3,"seal":"a"`),
		"no keys": `{"v":1,"kind":"keyring","gen":3}`, "empty": storedRing(""), "keys no array": ring(`"keys":[`, `"keys":{"a":[`) + "}", "key no object": storedRing(goodKey + `,1`),
		"no active": ring(`"active"`, `"retired"`), "two active": storedRing(goodKey + `,` + strings.Replace(goodKey, `"a"`, `"b"`, 1)), "one kid twice": storedRing(goodKey + `,` + strings.Replace(goodKey, `active`, `retired`, 1)),
		"unknown state": ring(`"active"`, `"gone"`), "since before 1970": ring(`17900`, `-17900`), "since far": ring(`1790000000000`, `1790000000000000`), "since text": ring(`1790000000000`, `"1"`),
		"no kid": ring(`"kid":"a"`, `"kid":""`), "long kid": ring(`"kid":"a"`, `"kid":"`+strings.Repeat("a", 2000)+`"`), "HS256": ring(`EdDSA`, `HS256`), "other alg": ring(`EdDSA`, `ES256`), "no alg": ring(`"alg":"EdDSA",`, ``),
		"unknown member of a key": ring(`"state"`, `"x":1,"state"`), "hurry 1": ring(`"state"`, `"hurry":1,"state"`), "padding": ring(storedPKCS8(), storedPKCS8()+"="), "another key": ring(storedPKCS8()[:10], "AAAAAAAAAA"),
		"no pkcs8": ring(storedPKCS8(), ""), "long pkcs8": ring(storedPKCS8(), strings.Repeat("A", 20000)), "many keys": storedRing(manyStored(101)),
		"sealed, no key": `{"v":1,"kind":"sealed keyring","seal":"a","box":"AAAA"}`, "sealed with keys": `{"v":1,"kind":"sealed keyring","seal":"a","box":"AAAA","keys":[]}`,
	} {
		ring, err := new(ringCodec).decode([]byte(blob))
		set := ring.set
		if set != nil || !errors.Is(err, ErrStoreCorrupt) || !errors.Is(err, ErrStore) {
			t.Errorf("%s: %v, error %v", name, set, err)
		}
		repeatsNothing(t, err, []byte(blob))
	}
	for name, blob := range map[string]string{
		"good": storedRing(goodKey), "announced": storedRing(goodKey + `,{"kid":"b","alg":"EdDSA","state":"announced","since":0,"hurry":true,"pkcs8":"PKCS8"}`), "a hundred": storedRing(manyStored(100)),
	} {
		if ring, err := new(ringCodec).decode([]byte(blob)); err != nil || ring.set.gen != 3 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func manyStored(n int) string {
	keys := []string{goodKey}
	for i := range n - 1 {
		keys = append(keys, strings.NewReplacer(`"a"`, fmt.Sprintf(`"k%d"`, i), "active", "retired").Replace(goodKey))
	}
	return strings.Join(keys, ",")
}

func repeatsNothing(t testing.TB, err error, blob []byte) {
	t.Helper()
	for i := 0; err != nil && i+24 <= len(blob) && i < 1<<14; i++ {
		if strings.Contains(err.Error(), string(blob[i:i+24])) {
			t.Errorf("error %q repeats the blob (invariant 10)", err)
			return
		}
	}
}

func fuzzSeal() []*SealKey {
	k, err := NewSealKey("fuzz", bytes.Repeat([]byte("ab"), 16))
	if err != nil {
		panic(err)
	}
	return []*SealKey{k}
}

// FuzzDecodeRing: a blob is read whole or not at all, and what was read is written
// and read again the same. The seed corpus covers sealed ones; the fuzzer then works
// on what is inside the seal, which it could not forge.
func FuzzDecodeRing(f *testing.F) {
	for _, plain := range []string{storedRing(goodKey), storedRing(manyStored(3)), storedRing(goodKey + `,{"kid":"b","alg":"EdDSA","state":"announced","since":0,"hurry":true,"pkcs8":"PKCS8"}`),
		`{"v":1,"kind":"sealed keyring","seal":"fuzz","box":"AAAA"}`, `{"v":2}`, `{}`, ``} {
		for _, seal := range []bool{true, false} {
			f.Add([]byte(plain), seal)
		}
	}
	for _, alg := range []token.Algorithm{token.ES256, token.ES512, token.RS256} {
		set, err := (&KeyringConfig{Algorithm: alg}).plan().first(nil)
		if err != nil {
			f.Fatal(err)
		}
		plain, err := encodePlain(set)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain, false)
	}
	seals := fuzzSeal()
	f.Fuzz(func(t *testing.T, blob []byte, seal bool) {
		in := blob
		if seal {
			in = fmt.Appendf(nil, `{"v":2,"kind":"sealed keyring","seal":"fuzz","box":"%s"}`, base64.RawURLEncoding.EncodeToString(seals[0].seal(blob, seals[0].bound("i", "r"))))
		}
		codec := ringCodec{issuer: "i", record: "r", seals: seals, openPlain: true}
		ring, err := codec.decode(in)
		set, sealer := ring.set, ring.sealer
		if err != nil {
			if set != nil || !errors.Is(err, ErrStoreCorrupt) {
				t.Fatalf("%v beside error %v", set, err)
			}
			repeatsNothing(t, err, blob)
			return
		}
		if (sealer == "fuzz") != seal {
			t.Fatalf("sealed by %q", sealer)
		}
		once, err := encodePlain(set)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := codec.encode(set)
		if err != nil {
			t.Fatal(err)
		}
		again, err := (&ringCodec{issuer: "i", record: "r", seals: seals}).decode(sealed)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := encodePlain(again.set); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("another ring: error %v", err)
		}
		if _, err := newRingState(set.keys[set.find(keyActive)].SigningKey, set.statuses()); err != nil {
			t.Fatalf("a ring that cannot be used: %v", err)
		}
	})
}
