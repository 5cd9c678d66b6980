package token

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// Bounds on one key set.
const (
	maxKeySetBytes = 256 << 10
	maxKeys        = 100
)

// errNoUsableKey: the key set is in order but holds nothing to verify with.
var errNoUsableKey = errors.New("no usable key in the set")

// ParseKeySet reads a JWK Set (RFC 7517 section 5) of public keys, strictly: one
// JSON object of at most 256 KiB, no duplicate members, at most 100 keys.
//
// algorithms are those that the keys may be used for; none means every public-key
// algorithm. A key without alg takes the one of them that fits its kty and crv.
// [StaticKeySet.Skipped] counts keys that are not for us: of unknown or no kty,
// with another use than "sig", whatever else these hold, of unknown crv or alg, with
// key_ops without "verify", of an algorithm that is not asked for, without alg where
// several fit, as all six RSA algorithms do unless algorithms says which.
//
// The whole set is refused with [ErrKey] for a private or symmetric key in it,
// which is compromised by being there, for a duplicate kid, for a key that does
// not match its own alg and, with [ErrWeakKey], for a weak key, see [NewKey]; and
// if no key is left.
func ParseKeySet(data []byte, algorithms ...Algorithm) (*StaticKeySet, error) {
	var keys []*Key
	var skipped []string
	err := readKeySet(data, algorithms, func(n int, f *foreignKey, key *Key, skip string, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("key %d: %w", n, err)
		case skip != "":
			skipped = append(skipped, fmt.Sprintf("key %d: %s", n, skip))
		default:
			keys = append(keys, key)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(keys) == 0:
		return nil, fmt.Errorf("token: %w: %w: %d skipped", ErrKey, errNoUsableKey, len(skipped))
	}
	set, err := NewStaticKeySet(keys...)
	if err != nil {
		return nil, err
	}
	set.skipped = skipped
	return set, nil
}

// readKeySet calls each for every key of the set that data holds, with what is
// known of it: the key, or why it is of no use to us, or what is wrong with it.
func readKeySet(data []byte, algorithms []Algorithm, each func(n int, f *foreignKey, key *Key, skip string, err error) error) error {
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
	err := strictjson.Object(data, func(name string, v strictjson.Value) error {
		if name != "keys" {
			return nil
		}
		found = true
		isArray, err := v.Elements(func(v strictjson.Value) error {
			n++
			if n > maxKeys {
				return fmt.Errorf("more than %d keys", maxKeys)
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
	})
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
	malformed     error  // the first member that is
	hasKty        bool
	hasAlg        bool
	hasUse        bool
	hasIssuer     bool
	hasOps        bool
	verifies      bool // key_ops holds "verify"
	private       string
}

// readKey reads the members of a JWK, all of them: whether a malformed one matters,
// kty and use decide, which may come after it.
func readKey(v strictjson.Value) (*foreignKey, error) {
	f := new(foreignKey)
	if v.Kind() != '{' {
		return f, errors.New("not an object")
	}
	err := strictjson.Object(v.Raw(), func(name string, v strictjson.Value) error {
		if err := f.member(name, v); f.malformed == nil {
			f.malformed = err
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
	case f.malformed != nil:
		return nil, "", f.malformed
	case f.hasOps && !f.verifies:
		return nil, "key_ops lacks verify", nil
	}
	alg, skip, err := f.algorithm(algorithms)
	if skip != "" || err != nil {
		return nil, skip, err
	}
	public, err := f.Public()
	if err != nil {
		return nil, "", keyError(err)
	}
	key, err = NewKey(f.kid, alg, public)
	return key, "", err
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

func (f *foreignKey) member(name string, v strictjson.Value) error {
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
		dst, f.hasAlg = &f.alg, true
	case "use":
		if f.use, f.hasUse = v.Text(); f.hasUse {
			return nil
		}
		return errors.New("use is not a string")
	case "issuer": // not registered; Entra's sets have it
		f.issuer, _ = v.Text()
		f.hasIssuer = true
		return nil
	case "key_ops":
		f.hasOps = true
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
	if name == "kid" && text == "" {
		return errors.New("kid is empty")
	}
	*dst = text
	return nil
}
