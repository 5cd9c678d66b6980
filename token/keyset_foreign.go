package token

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// parseForeignKeySet is ParseKeySet for a set that others publish while services
// run: each key is judged alone, and a bad one costs that key alone. Refusing the whole
// set would be no safer: the last good one would stay in use, the very key that has
// just been compromised included, until every token of the issuer is refused because
// of a key that nothing was ever signed with.
//
// Of no use, and counted by Skipped, are beside those that ParseKeySet skips: keys
// that are malformed, weak, or do not match their own alg; secrets; keys that are
// published with their private half, under whatever kid; all keys of a kid that
// names several for one algorithm; those beyond the hundredth; and, if issuer is known,
// keys that name another one.
//
// The error matches errNoUsableKey if the set is one but leaves nothing. It then comes
// with a set of no keys, which says why.
func parseForeignKeySet(data []byte, algorithms []Algorithm, issuer string) (*StaticKeySet, error) {
	type numbered struct {
		n   int
		key *Key
	}
	var keys []numbered
	var skipped []skippedKey
	leaked := make(map[string]bool) // thumbprints
	err := readKeySet(data, algorithms, true, func(n int, f *foreignKey, key *Key, why string, err error) error {
		if f.private != "" {
			if public, err := f.public(); err == nil {
				if thumbprint, err := jose.Thumbprint(public); err == nil {
					leaked[thumbprint] = true
				}
			}
		}
		switch {
		case err != nil:
			skipped = append(skipped, skippedKey{n, f.kid, reason(err), f.private == ""})
		case why != "":
			skipped = append(skipped, skippedKey{n, f.kid, why, !f.hasKty && f.private == ""}) // a mistake, not a kty to come
		case issuer != "" && f.hasIssuer && !namesIssuer(f.issuer, issuer):
			skipped = append(skipped, skippedKey{n, f.kid, "it is another issuer's", false})
		default:
			keys = append(keys, numbered{n, key})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	type name struct {
		kid string
		alg Algorithm
	}
	named := make(map[name]*Key, len(keys))
	several := make(map[name]bool)
	for _, k := range keys {
		name := name{k.key.id, k.key.alg}
		if first := named[name]; first != nil {
			several[name] = several[name] || first.thumbprint != k.key.thumbprint
			continue
		}
		named[name] = k.key
	}
	var usable []*Key
	for _, k := range keys {
		switch {
		case leaked[k.key.thumbprint]:
			skipped = append(skipped, skippedKey{k.n, k.key.id, "its private half is published", false})
		case several[name{k.key.id, k.key.alg}]:
			skipped = append(skipped, skippedKey{k.n, k.key.id, "another key has its kid and alg", true})
		default:
			usable = append(usable, k.key) // the same key twice is one
		}
	}
	slices.SortStableFunc(skipped, func(a, b skippedKey) int { return a.n - b.n })
	if len(leaked) > 0 { // anyone who publishes private keys is not believed to have made some other mistake
		for i := range skipped {
			skipped[i].bad = false
		}
	}
	set := &StaticKeySet{skipped: skipped}
	if len(usable) == 0 {
		return set, noUsableKey(set)
	}
	if set, err = NewStaticKeySet(usable...); err != nil {
		return nil, err
	}
	set.skipped = skipped
	return set, nil
}

// reason returns what err, of one key, says, without the package and the family, which
// the error for the whole set names.
func reason(err error) string {
	text := strings.TrimPrefix(err.Error(), "token: ")
	return strings.TrimPrefix(text, ErrKey.Error()+": ")
}

// maxReasons bounds what an error says of the keys of one set; the status has them all.
const maxReasons = 4

// noUsableKey returns the error for a set of which nothing is left.
func noUsableKey(s *StaticKeySet) error {
	reasons := s.reasons()
	switch n := len(reasons); {
	case n == 0:
		return fmt.Errorf("token: %w: %w: it is empty", ErrKey, errNoUsableKey)
	case n > maxReasons:
		reasons = append(reasons[:maxReasons:maxReasons], fmt.Sprintf("and %d more", n-maxReasons))
	}
	return fmt.Errorf("token: %w: %w: %s", ErrKey, errNoUsableKey, strings.Join(reasons, "; "))
}

// mistaken returns what is left of s when next is published in its place, of which
// nothing is of use: the keys that next names and spoils by a mistake. What it does not
// name is withdrawn.
func (s *StaticKeySet) mistaken(next *StaticKeySet) *StaticKeySet {
	var left []*Key
	for k := range s.all {
		if slices.ContainsFunc(next.skipped, func(x skippedKey) bool { return x.bad && (x.kid == "" || x.kid == k.id) }) {
			left = append(left, k)
		}
	}
	if len(left) == 0 {
		return next
	}
	set, err := NewStaticKeySet(left...)
	if err != nil {
		return next
	}
	set.skipped = next.skipped
	return set
}

// namesIssuer reports whether the issuer that a key names is ours. Entra writes
// {tenantid} for any tenant.
func namesIssuer(named, issuer string) bool {
	before, after, any := strings.Cut(named, "{tenantid}")
	if !any {
		return named == issuer
	}
	rest, ok := strings.CutPrefix(issuer, before)
	if !ok {
		return false
	}
	tenant, ok := strings.CutSuffix(rest, after)
	return ok && tenant != "" && !strings.Contains(tenant, "/")
}
