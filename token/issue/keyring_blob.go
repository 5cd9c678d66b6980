package issue

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
	"github.com/hybridtoken/hybridtoken/token/issue/internal/privatekey"
)

// What a store holds is one strict JSON object, either
//
//	{"v":2,"kind":"keyring","gen":3,"keys":[{"kid":"…","alg":"EdDSA","state":"active","since":1790000000000,"thumbprint":"…","pkcs8":"…"}]}
//
// or that, sealed: {"v":2,"kind":"sealed keyring","seal":"key id","box":"…"}.
// Binary values are base64url. Unknown members are refused: an instance that does
// not understand the ring must not write it. Version 1 has no thumbprints, and its seal
// says nothing of the issuer and the record; it is read and not written any more.

const (
	maxRingBytes  = 1 << 20
	maxPKCS8Bytes = 8 << 10 // of one key; an RSA key of 8192 bits needs 4.8 KB
	maxSince      = shape.MaxSeconds * 1000

	kindPlain  = "keyring"
	kindSealed = "sealed keyring"

	ringVersion = 2
)

// ringKey is the key of the record of an issuer's ring; without an issuer that of the one
// ring that a file holds.
func ringKey(issuer string) string {
	if issuer == "" {
		return "ring"
	}
	sum := sha256.Sum256([]byte(issuer))
	return "ring." + base64.RawURLEncoding.EncodeToString(sum[:])
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrStoreCorrupt, fmt.Sprintf(format, args...))
}

// A ringCodec writes and reads what a store holds of one ring.
type ringCodec struct {
	issuer, record string
	seals          []*SealKey
	openPlain      bool
	// private says that the store is a file of our own: it need not be sealed, and what an
	// earlier version has left there is read.
	private  bool
	firstKey *SigningKey // of the caller's, which may have any kid
}

// A decodedRing is what a store holds.
type decodedRing struct {
	set    *ringSet
	sealer string // the id of the key that sealed it, or empty
	stale  bool   // it is to be written anew: sealed by another key, or not as this store needs it
}

// encode returns what a store shall hold, sealed by the first of the seals.
func (c *ringCodec) encode(set *ringSet) ([]byte, error) {
	plain, err := encodePlain(set)
	if err != nil || len(c.seals) == 0 {
		return plain, err
	}
	defer clear(plain)
	first := c.seals[0]
	id, err := strictjson.AppendText(nil, first.id)
	if err != nil {
		return nil, fmt.Errorf("%w: the id of a seal key: %w", ErrStore, err)
	}
	box := base64.RawURLEncoding.EncodeToString(first.seal(plain, first.bound(c.issuer, c.record)))
	return fmt.Appendf(nil, `{"v":%d,"kind":"%s","seal":%s,"box":"%s"}`, ringVersion, kindSealed, id, box), nil
}

func encodePlain(set *ringSet) ([]byte, error) {
	b := make([]byte, 0, 8<<10)
	b = fmt.Appendf(b, `{"v":%d,"kind":"%s","gen":%d,"keys":[`, ringVersion, kindPlain, set.gen)
	for i, k := range set.keys {
		if i > 0 {
			b = append(b, ',')
		}
		kid, err := strictjson.AppendText(nil, k.key.ID())
		if err != nil {
			return nil, fmt.Errorf("%w: a kid: %w", ErrStore, err)
		}
		der, ok := k.signer.PKCS8()
		if !ok {
			return nil, fmt.Errorf("%w: kid %q is not in memory", ErrStore, k.key.ID())
		}
		b = fmt.Appendf(b, `{"kid":%s,"alg":"%s","state":"%s","since":%d,"thumbprint":"%s"`, kid, k.key.Algorithm(), k.state, k.since, k.key.Thumbprint())
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
		return nil, fmt.Errorf("%w: a ring of %d bytes, more than %d", ErrStore, len(b), maxRingBytes/2)
	}
	return b, nil
}

// decode reads what a store holds: all of it or nothing. No error repeats a part of the
// blob.
func (c *ringCodec) decode(blob []byte) (ring decodedRing, err error) {
	if len(blob) > maxRingBytes {
		return ring, corrupt("%d bytes, more than %d", len(blob), maxRingBytes)
	}
	var o ringObject
	if err := o.read(blob); err != nil {
		return ring, err
	}
	sealed := o.kind == kindSealed
	// A file of the version before stays as it is until there is something to change, so that
	// instances of both versions can run for a while, and the old one can come back.
	ring.stale = o.version != ringVersion && !c.private
	switch {
	case sealed:
		plain, own, err := c.open(&o)
		if err != nil {
			return ring, err
		}
		defer clear(plain)
		ring.sealer = o.seal
		ring.stale = ring.stale || !own || o.seal != c.seals[0].id
		o = ringObject{}
		if err := o.read(plain); err != nil {
			return ring, err
		}
	case len(c.seals) > 0 && !c.openPlain:
		return ring, corrupt("it is not sealed (KeyringConfig.InsecureOpenPlain takes it once)")
	}
	if o.kind != kindPlain {
		return ring, corrupt("unknown kind")
	}
	ring.stale = ring.stale || len(c.seals) > 0 && !sealed
	// Nothing in a ring of version 1 that was not sealed shows that a key is damaged, but
	// its kid, where that is its thumbprint.
	var known func(*SigningKey) error
	if o.version == 1 && !sealed {
		known = c.undamaged
	}
	ring.set, err = o.ring(known)
	return ring, err
}

// undamaged refuses a key whose kid has the form of a thumbprint and is another key's. A
// first key of the caller's may have such a kid.
func (c *ringCodec) undamaged(k *SigningKey) error {
	id := k.key.ID()
	if sum, err := base64.RawURLEncoding.Strict().DecodeString(id); err != nil || len(sum) != sha256.Size || id == k.key.Thumbprint() {
		return nil
	}
	if f := c.firstKey; f != nil && f.key.ID() == id && f.key.Thumbprint() == k.key.Thumbprint() {
		return nil
	}
	return errors.New("its kid is the thumbprint of another key: it was damaged (one of yours with such a kid has to be KeyringConfig.FirstKey)")
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
	case o.version < 1 || o.version > ringVersion:
		return corrupt("version %d, not 1 to %d", o.version, ringVersion)
	case o.kind == kindPlain && (o.seal != "" || o.box != ""), o.kind == kindSealed && (o.gen != 0 || o.keys.Kind() != 0):
		return corrupt("members of both kinds")
	}
	return nil
}

// open returns the plain object in a sealed one. own says that it was sealed for this
// issuer and record, or by an earlier version in a file of our own.
func (c *ringCodec) open(o *ringObject) (plain []byte, own bool, err error) {
	box, err := base64.RawURLEncoding.Strict().DecodeString(o.box)
	if err != nil {
		return nil, false, corrupt("the box is not base64url")
	}
	for _, k := range c.seals {
		if k.id != o.seal {
			continue
		}
		if o.version == 1 {
			if !c.private && !c.openPlain {
				return nil, false, corrupt("it is sealed for no issuer, by an earlier version (KeyringConfig.InsecureOpenPlain takes it once)")
			}
			if plain, err = k.open(box, k.formerBound()); err == nil {
				return plain, c.private, nil
			}
			return nil, false, corrupt("the seal of key %q is broken", k.id)
		}
		if plain, err = k.open(box, k.bound(c.issuer, c.record)); err == nil {
			return plain, true, nil
		}
		if c.private && c.issuer != "" { // which was not configured when the file was made
			if plain, err = k.open(box, k.bound("", c.record)); err == nil {
				return plain, false, nil
			}
		}
		return nil, false, corrupt("the seal of key %q is broken, or made for another issuer or record", k.id)
	}
	if len(c.seals) == 0 {
		return nil, false, corrupt("it is sealed, and there are no SealKeys")
	}
	ids := make([]string, len(c.seals))
	for i, k := range c.seals {
		ids[i] = k.id
	}
	return nil, false, corrupt("sealed with another key than the SealKeys %q", ids)
}

// ring returns the set in a plain object. Further checks of its keys, if not nil, are
// made by known.
func (o *ringObject) ring(known func(*SigningKey) error) (*ringSet, error) {
	set := &ringSet{gen: o.gen}
	isArray, err := o.keys.Elements(func(v strictjson.Value) error {
		if len(set.keys) == shape.MaxKeys {
			return fmt.Errorf("more than %d keys", shape.MaxKeys)
		}
		k, err := readStoredKey(v, o.version)
		if err == nil && known != nil {
			err = known(k.SigningKey)
		}
		if err != nil {
			return fmt.Errorf("key %d: %w", len(set.keys)+1, err)
		}
		if set.named(k.key.ID()) >= 0 {
			return errors.New("two keys with one kid")
		}
		set.keys = append(set.keys, k)
		return nil
	})
	active := 0
	for _, k := range set.keys {
		if k.state == keyActive {
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

func readStoredKey(v strictjson.Value, version int64) (k storedKey, err error) {
	if v.Kind() != '{' {
		return k, errors.New("not an object")
	}
	var kid, alg, thumbprint, pkcs8 string
	err = strictjson.Object(v.Raw(), func(name string, v strictjson.Value) error {
		ok := false
		switch name {
		case "kid":
			kid, ok = v.Text()
		case "alg":
			alg, ok = v.Text()
		case "state":
			k.state, ok = v.Text()
		case "since":
			k.since, ok = v.Int()
		case "hurry":
			k.hurry, ok = v.Bool()
		case "thumbprint":
			thumbprint, ok = v.Text()
			ok = ok && version > 1
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
	case k.state != keyAnnounced && k.state != keyActive && k.state != keyRetired:
		return k, errors.New("unknown state")
	case k.since < 0 || k.since > maxSince:
		return k, errors.New("since is before 1970 or after 9999")
	case kid == "":
		return k, errors.New("no kid")
	case !jose.Known(jose.One(alg)) || jose.Symmetric(alg):
		return k, errors.New("no algorithm of public keys")
	case len(pkcs8) > base64.RawURLEncoding.EncodedLen(maxPKCS8Bytes):
		return k, errors.New("private key too long")
	}
	der, err := base64.RawURLEncoding.Strict().DecodeString(pkcs8)
	if err != nil {
		return k, errors.New("private key is not base64url")
	}
	defer clear(der)
	private, err := privatekey.PKCS8(der)
	if err != nil {
		return k, err
	}
	if k.SigningKey, err = NewSigningKey(kid, token.Algorithm(alg), private); err != nil {
		return k, err
	}
	// What was written is what would be written: the parts of the pair belong together.
	again, _ := k.signer.PKCS8()
	defer clear(again)
	switch {
	case !bytes.Equal(again, der):
		return k, errors.New("the halves of the key pair do not belong together")
	case version > 1 && thumbprint != k.key.Thumbprint():
		return k, errors.New("the private key is not that of the thumbprint")
	}
	return k, nil
}
