package token

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// What a store holds is one strict JSON object, either
//
//	{"v":1,"kind":"keyring","gen":3,"keys":[{"kid":"…","alg":"EdDSA","state":"active","since":1790000000000,"pkcs8":"…"}]}
//
// or that, sealed: {"v":1,"kind":"sealed keyring","seal":"key id","box":"…"}.
// Binary values are base64url. Unknown members are refused: an instance that does
// not understand the ring must not write it.

const (
	maxRingBytes  = 1 << 20
	maxPKCS8Bytes = 8 << 10 // of one key; an RSA key of 8192 bits needs 4.8 KB
	maxSince      = maxSeconds * 1000

	kindPlain  = "keyring"
	kindSealed = "sealed keyring"
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrKeyStoreCorrupt, fmt.Sprintf(format, args...))
}

// encodeRing returns what a store shall hold, sealed by the first of seals.
func encodeRing(set *ringSet, seals []*SealKey) ([]byte, error) {
	plain, err := encodePlain(set)
	if err != nil || len(seals) == 0 {
		return plain, err
	}
	defer clear(plain)
	id, err := strictjson.AppendText(nil, seals[0].id)
	if err != nil {
		return nil, fmt.Errorf("%w: the id of a seal key: %w", ErrKeyStore, err)
	}
	return fmt.Appendf(nil, `{"v":1,"kind":"%s","seal":%s,"box":"%s"}`, kindSealed, id, base64.RawURLEncoding.EncodeToString(seals[0].seal(plain))), nil
}

func encodePlain(set *ringSet) ([]byte, error) {
	b := make([]byte, 0, 8<<10)
	b = fmt.Appendf(b, `{"v":1,"kind":"%s","gen":%d,"keys":[`, kindPlain, set.gen)
	for i, k := range set.keys {
		if i > 0 {
			b = append(b, ',')
		}
		kid, err := strictjson.AppendText(nil, k.key.id)
		if err != nil {
			return nil, fmt.Errorf("%w: a kid: %w", ErrKeyStore, err)
		}
		der, ok := k.signer.PKCS8()
		if !ok {
			return nil, fmt.Errorf("%w: kid %q is not in memory", ErrKeyStore, k.key.id)
		}
		b = fmt.Appendf(b, `{"kid":%s,"alg":"%s","state":"%s","since":%d`, kid, k.key.alg, k.state, k.since)
		if k.hurry {
			b = append(b, `,"hurry":true`...)
		}
		b = append(b, `,"pkcs8":"`...)
		b = base64.RawURLEncoding.AppendEncode(b, der)
		b = append(b, `"}`...)
		clear(der)
	}
	b = append(b, `]}`...)
	if len(b) > maxRingBytes/2 { // sealed, it must be readable too
		return nil, fmt.Errorf("%w: a ring of %d bytes, more than %d", ErrKeyStore, len(b), maxRingBytes/2)
	}
	return b, nil
}

// decodeRing reads what a store holds: all of it or nothing. sealer is the id of
// the key that sealed it. No error repeats a part of the blob.
func decodeRing(blob []byte, seals []*SealKey, openPlain bool) (set *ringSet, sealer string, err error) {
	if len(blob) > maxRingBytes {
		return nil, "", corrupt("%d bytes, more than %d", len(blob), maxRingBytes)
	}
	var o ringObject
	if err := o.read(blob); err != nil {
		return nil, "", err
	}
	switch {
	case o.kind == kindSealed:
		plain, err := o.open(seals)
		if err != nil {
			return nil, "", err
		}
		defer clear(plain)
		sealer, o = o.seal, ringObject{}
		if err := o.read(plain); err != nil {
			return nil, "", err
		}
	case len(seals) > 0 && !openPlain:
		return nil, "", corrupt("it is not sealed (KeyringConfig.InsecureOpenPlain takes it once)")
	}
	if o.kind != kindPlain {
		return nil, "", corrupt("unknown kind")
	}
	set, err = o.ring()
	return set, sealer, err
}

// A ringObject holds the members of the outer object, of either kind.
type ringObject struct {
	version, gen int64
	kind         string
	seal, box    string
	keys         strictjson.Value
}

func (o *ringObject) read(data []byte) error {
	err := strictjson.Object(data, func(name string, v strictjson.Value) error {
		ok := false
		switch name {
		case "v":
			o.version, ok = v.Int()
		case "kind":
			o.kind, ok = v.Text()
		case "gen":
			o.gen, ok = v.Int()
		case "keys":
			o.keys, ok = v, true
		case "seal":
			o.seal, ok = v.Text()
		case "box":
			o.box, ok = v.Text()
		default:
			return errors.New("a member that we do not know")
		}
		if !ok {
			return fmt.Errorf("%s is of the wrong type", name)
		}
		return nil
	})
	switch {
	case err != nil:
		return corrupt("%v", err)
	case o.version != 1:
		return corrupt("version %d, not 1", o.version)
	case o.kind == kindPlain && (o.seal != "" || o.box != ""), o.kind == kindSealed && (o.gen != 0 || o.keys.Kind() != 0):
		return corrupt("members of both kinds")
	}
	return nil
}

// open returns the plain object in a sealed one.
func (o *ringObject) open(seals []*SealKey) ([]byte, error) {
	box, err := base64.RawURLEncoding.Strict().DecodeString(o.box)
	if err != nil {
		return nil, corrupt("the box is not base64url")
	}
	for _, k := range seals {
		if k.id != o.seal {
			continue
		}
		plain, err := k.open(box)
		if err != nil {
			return nil, corrupt("the seal of key %q is broken", k.id)
		}
		return plain, nil
	}
	if len(seals) == 0 {
		return nil, corrupt("it is sealed, and there are no SealKeys")
	}
	ids := make([]string, len(seals))
	for i, k := range seals {
		ids[i] = k.id
	}
	return nil, corrupt("sealed with another key than the SealKeys %q", ids)
}

// ring returns the set in a plain object.
func (o *ringObject) ring() (*ringSet, error) {
	set := &ringSet{gen: o.gen}
	isArray, err := o.keys.Elements(func(v strictjson.Value) error {
		if len(set.keys) == maxKeys {
			return fmt.Errorf("more than %d keys", maxKeys)
		}
		k, err := readStoredKey(v)
		if err != nil {
			return fmt.Errorf("key %d: %w", len(set.keys)+1, err)
		}
		if set.named(k.key.id) >= 0 {
			return errors.New("two keys with one kid")
		}
		set.keys = append(set.keys, k)
		return nil
	})
	active := 0
	for _, k := range set.keys {
		if k.state == KeyActive {
			active++
		}
	}
	switch {
	case err != nil:
		return nil, corrupt("%v", err)
	case !isArray:
		return nil, corrupt("no keys")
	case set.gen < 1:
		return nil, corrupt("no gen")
	case active != 1:
		return nil, corrupt("%d active keys, not one", active)
	}
	return set, nil
}

func readStoredKey(v strictjson.Value) (k storedKey, err error) {
	if v.Kind() != '{' {
		return k, errors.New("not an object")
	}
	var kid, alg, pkcs8 string
	err = strictjson.Object(v.Raw(), func(name string, v strictjson.Value) error {
		ok := false
		switch name {
		case "kid":
			kid, ok = v.Text()
		case "alg":
			alg, ok = v.Text()
		case "state":
			var state string
			state, ok = v.Text()
			k.state = KeyState(state)
		case "since":
			k.since, ok = v.Int()
		case "hurry":
			k.hurry, ok = v.Bool()
		case "pkcs8":
			pkcs8, ok = v.Text()
		default:
			return errors.New("a member that we do not know")
		}
		if !ok {
			return fmt.Errorf("%s is of the wrong type", name)
		}
		return nil
	})
	switch {
	case err != nil:
		return k, err
	case k.state != KeyAnnounced && k.state != KeyActive && k.state != KeyRetired:
		return k, errors.New("unknown state")
	case k.since < 0 || k.since > maxSince:
		return k, errors.New("since is before 1970 or after 9999")
	case kid == "":
		return k, errors.New("no kid")
	case !Algorithm(alg).one().known() || Algorithm(alg).symmetric():
		return k, errors.New("no algorithm of public keys")
	case len(pkcs8) > base64.RawURLEncoding.EncodedLen(maxPKCS8Bytes):
		return k, errors.New("private key too long")
	}
	der, err := base64.RawURLEncoding.Strict().DecodeString(pkcs8)
	if err != nil {
		return k, errors.New("private key is not base64url")
	}
	defer clear(der)
	private, err := jose.ParsePKCS8(der)
	if err != nil {
		return k, err
	}
	k.SigningKey, err = NewSigningKey(kid, Algorithm(alg), private)
	return k, err
}
