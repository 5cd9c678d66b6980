package token

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// parseForeignKeySet is ParseKeySet for a set that others publish while services
// run: a bad key costs that key alone. Refusing the whole set would be no safer: the
// last good one would stay in use, the very key that has just been compromised
// included, until every token of the issuer is refused because of a key that
// nothing was ever signed with.
//
// Of no use, and counted by Skipped, are beside those that ParseKeySet skips: keys
// that are malformed, weak, or do not match their own alg; secrets; keys that are
// published with their private half, under whatever kid; all keys of a kid that
// names several; and, if issuer is known, keys that name another one.
//
// The error matches errNoUsableKey if the set is in order but leaves nothing.
func parseForeignKeySet(data []byte, algorithms []Algorithm, issuer string) (*StaticKeySet, error) {
	type numbered struct {
		n   int
		key *Key
	}
	var keys []numbered
	var skipped []string
	skip := func(n int, why string) { skipped = append(skipped, fmt.Sprintf("key %d: %s", n, why)) }
	leaked := make(map[string]bool) // thumbprints
	broken := false
	err := readKeySet(data, algorithms, func(n int, f *foreignKey, key *Key, why string, err error) error {
		if f.private != "" {
			if public, err := f.Public(); err == nil {
				if thumbprint, err := jose.Thumbprint(public); err == nil {
					leaked[thumbprint] = true
				}
			}
		}
		switch {
		case err != nil:
			broken = broken || f.private == ""
			skip(n, err.Error())
		case why != "":
			broken = broken || !f.hasKty && f.private == "" // a mistake, not a kty to come
			skip(n, why)
		case issuer != "" && f.hasIssuer && !namesIssuer(f.issuer, issuer):
			skip(n, "it is another issuer's")
		default:
			keys = append(keys, numbered{n, key})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*Key, len(keys))
	several := make(map[string]bool)
	for _, k := range keys {
		if first := byID[k.key.id]; first != nil {
			several[k.key.id] = several[k.key.id] || first.thumbprint != k.key.thumbprint || first.alg != k.key.alg
			continue
		}
		byID[k.key.id] = k.key
	}
	var usable []*Key
	for _, k := range keys {
		switch {
		case leaked[k.key.thumbprint]:
			skip(k.n, "its private half is published")
		case several[k.key.id]:
			broken = true
			skip(k.n, "another key has its kid")
		case byID[k.key.id] == k.key: // the same key twice is one
			usable = append(usable, k.key)
		}
	}
	switch {
	case len(usable) == 0 && broken && len(leaked) == 0:
		return nil, fmt.Errorf("token: %w: nothing but bad keys: %s", ErrKey, skipped[0])
	case len(usable) == 0:
		return nil, fmt.Errorf("token: %w: %w: %d skipped", ErrKey, errNoUsableKey, len(skipped))
	}
	set, err := NewStaticKeySet(usable...)
	if err != nil {
		return nil, err
	}
	slices.Sort(skipped)
	set.skipped = skipped
	return set, nil
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
