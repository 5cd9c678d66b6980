package token

import (
	"crypto"
	"errors"
	"fmt"
	"slices"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// maxKeySetBytes bounds one key set.
const maxKeySetBytes = 256 << 10

// errNoUsableKey: the key set is in order but holds nothing to verify with.
var errNoUsableKey = errors.New("no usable key in the set")

// ParseKeySet reads a JWK Set (RFC 7517 section 5) of public keys: one strict JSON
// object of at most 256 KiB, no duplicate members, at most 100 keys. Of a key it takes
// what cannot be misunderstood: padding, the other alphabet of base64, leading zeros
// of numbers, and null for a member that is not there.
//
// algorithms are those that the keys may be used for; none means every public-key
// algorithm. A key without alg takes the one of them that fits its kty and crv.
// [StaticKeySet.Skipped] counts keys that are not for us: of unknown or no kty,
// with another use than "sig", whatever else these hold, of unknown crv or alg, with
// key_ops without "verify", of an algorithm that is not asked for, without alg where
// several fit, as all six RSA algorithms do unless algorithms says which.
//
// The whole set is refused with [ErrKey] for a private or symmetric key in it,
// which is compromised by being there, for two keys with one kid for one algorithm,
// for a key that does not match its own alg, for a weak key, see [NewKey], and if no
// key is left.
func ParseKeySet(data []byte, algorithms ...Algorithm) (*StaticKeySet, error) {
	var keys []*Key
	var skipped []skippedKey
	err := readKeySet(data, algorithms, false, func(n int, f *foreignKey, key *Key, skip string, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("key %d: %w", n, err)
		case skip != "":
			skipped = append(skipped, skippedKey{n: n, kid: f.kid, why: skip})
		default:
			keys = append(keys, key)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(keys) == 0:
		return nil, noUsableKey(&StaticKeySet{skipped: skipped})
	}
	set, err := NewStaticKeySet(keys...)
	if err != nil {
		return nil, err
	}
	set.skipped = skipped
	return set, nil
}

// readKeySet calls each for every key of the set that data holds, with what is
// known of it: the key, or why it is of no use to us, or what is wrong with it. If
// alone is set, what is wrong with the text of one key, or with what is beside the
// keys, says nothing of the others.
func readKeySet(data []byte, algorithms []Algorithm, alone bool, each func(n int, f *foreignKey, key *Key, skip string, err error) error) error {
	if algorithms = ones(algorithms); len(algorithms) == 0 {
		algorithms = publicAlgorithms
	}
	for _, alg := range algorithms {
		if !alg.known() || alg.symmetric() {
			return fmt.Errorf("token: %w: %q is no algorithm of public keys", ErrKey, alg)
		}
	}
	if len(data) > maxKeySetBytes {
		return fmt.Errorf("token: %w: set of %d bytes, more than %d", ErrKey, len(data), maxKeySetBytes)
	}
	n, found := 0, false
	member := func(name string, v strictjson.Value) error {
		switch {
		case name != "keys":
			return nil
		case found:
			return errors.New("keys is there twice")
		}
		found = true
		isArray, err := v.Elements(func(v strictjson.Value) error {
			if n++; n > shape.MaxKeys {
				if !alone {
					return fmt.Errorf("more than %d keys", shape.MaxKeys)
				}
				if n == shape.MaxKeys+1 {
					return each(n, new(foreignKey), nil, "it and what follows is beyond the hundredth", nil)
				}
				return nil
			}
			f, err := readKey(v)
			if err != nil {
				return each(n, f, nil, "", err)
			}
			key, skip, err := f.key(algorithms)
			return each(n, f, key, skip, err)
		})
		if !isArray {
			return errors.New("keys is not an array")
		}
		return err
	}
	var err error
	if alone {
		salvage := strictjson.Salvage(data, func(name string, v strictjson.Value, _ bool) {
			if err == nil {
				err = member(name, v)
			}
		})
		if err == nil {
			err = salvage
		}
	} else {
		err = strictjson.Object(data, member)
	}
	switch {
	case err == nil && !found:
		return fmt.Errorf("token: %w: no member keys", ErrKey)
	case err != nil && !errors.Is(err, ErrKey):
		return fmt.Errorf("token: %w: key set: %w", ErrKey, err)
	case err != nil:
		return fmt.Errorf("token: key set: %w", err)
	}
	return nil
}

// A foreignKey is a JWK as published by somebody else.
type foreignKey struct {
	jose.JWK
	kid, alg, use string
	issuer        string // whose key it is, where sets of several issuers are published as one
	malformed     []malformedMember
	hasKty        bool
	hasAlg        bool
	hasUse        bool
	hasIssuer     bool
	hasOps        bool
	verifies      bool // key_ops holds "verify"
	private       string
}

type malformedMember struct {
	name string
	err  error
}

// readKey reads the members of a JWK, all of them: whether a malformed one matters,
// kty and use decide, which may come after it.
func readKey(v strictjson.Value) (*foreignKey, error) {
	f := new(foreignKey)
	if v.Kind() != '{' {
		return f, errors.New("not an object")
	}
	err := strictjson.Object(v.Raw(), func(name string, v strictjson.Value) error {
		if err := f.member(name, v); err != nil {
			f.malformed = append(f.malformed, malformedMember{name, err})
		}
		return nil
	})
	return f, err
}

// key returns the key that f describes, or why it is of no use to us.
func (f *foreignKey) key(algorithms []Algorithm) (key *Key, skip string, err error) {
	switch f.Kty {
	case "RSA", "EC", "OKP":
	case "oct":
		return nil, "", fmt.Errorf("%w: a secret in a public set", ErrKey)
	case "":
		return nil, "no kty", nil
	default:
		return nil, "unknown kty", nil
	}
	switch {
	case f.private != "":
		return nil, "", fmt.Errorf("%w: private member %s in a public set", ErrKey, f.private)
	case f.hasUse && f.use != "sig":
		return nil, "use is not sig", nil
	case f.spoiled() != nil:
		return nil, "", f.spoiled()
	case f.hasOps && !f.verifies:
		return nil, "key_ops lacks verify", nil
	}
	alg, skip, err := f.algorithm(algorithms)
	if skip != "" || err != nil {
		return nil, skip, err
	}
	public, err := f.public()
	if err != nil {
		return nil, "", keyError(err)
	}
	if key, err = NewKey(f.kid, alg, public); err == nil {
		key.issuer = f.issuer
	}
	return key, "", err
}

// public returns the key, however its numbers are spelled: no answer depends on that.
func (f *foreignKey) public() (crypto.PublicKey, error) { return f.Canonical().Public() }

// spoiled returns what is wrong with a member that keys of this kty have.
func (f *foreignKey) spoiled() error {
	for _, m := range f.malformed {
		switch m.name {
		case "n", "e":
			if f.Kty != "RSA" {
				continue
			}
		case "crv", "x":
			if f.Kty == "RSA" {
				continue
			}
		case "y":
			if f.Kty != "EC" {
				continue
			}
		}
		return m.err
	}
	return nil
}

// algorithm returns the one algorithm that the key is for: its own or, if it names
// none, the only fitting one of those allowed (never that of a token's header).
func (f *foreignKey) algorithm(allowed []Algorithm) (alg Algorithm, skip string, err error) {
	fits := func(a Algorithm) bool { return a.fits(f.Kty, f.Crv) }
	if !slices.ContainsFunc(publicAlgorithms, fits) {
		return "", "unknown crv", nil
	}
	if alg = Algorithm(f.alg).one(); f.hasAlg {
		switch {
		case !alg.known():
			return "", "unknown alg", nil
		case !fits(alg):
			return "", "", fmt.Errorf("%w: alg %s does not fit the key", ErrKey, alg)
		case !slices.Contains(allowed, alg):
			return "", "alg is not asked for", nil
		}
		return alg, "", nil
	}
	for _, a := range allowed {
		if fits(a) && a != alg {
			if alg != "" {
				return "", "no alg, and several fit: name the one in the configuration", nil
			}
			alg = a
		}
	}
	if alg == "" {
		return "", "no alg, and none of those asked for fits", nil
	}
	return alg, "", nil
}

// member reads one member. Null is a member that is not there: many serialisers write it so.
func (f *foreignKey) member(name string, v strictjson.Value) error {
	if v.Kind() == 'n' {
		return nil
	}
	var dst *string
	switch name {
	case "kty":
		if f.Kty, f.hasKty = v.Text(); f.hasKty {
			return nil
		}
		return errors.New("kty is not a string")
	case "crv":
		dst = &f.Crv
	case "x":
		dst = &f.X
	case "y":
		dst = &f.Y
	case "n":
		dst = &f.N
	case "e":
		dst = &f.E
	case "kid":
		dst = &f.kid
	case "alg":
		dst = &f.alg
	case "use":
		dst = &f.use
	case "issuer": // not registered; Entra's sets have it
		f.issuer, _ = v.Text()
		f.hasIssuer = true
		return nil
	case "key_ops":
		f.hasOps = true
		if op, ok := v.Text(); ok { // one, for an array of one
			f.verifies = op == "verify"
			return nil
		}
		isArray, err := v.Elements(func(v strictjson.Value) error {
			op, ok := v.Text()
			if !ok {
				return errors.New("key_ops holds something else than strings")
			}
			f.verifies = f.verifies || op == "verify"
			return nil
		})
		if !isArray {
			return errors.New("key_ops is not an array")
		}
		return err
	case "d", "p", "q", "dp", "dq", "qi", "oth", "k":
		f.private = name
		return nil
	default:
		return nil
	}
	text, ok := v.Text()
	if !ok {
		return fmt.Errorf("%s is not a string", name)
	}
	*dst = text
	f.hasAlg, f.hasUse = f.alg != "", f.use != "" // as good as not there
	return nil
}
