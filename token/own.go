package token

import "github.com/hybridtoken/hybridtoken/token/internal/own"

func init() {
	own.Claims = func(payload []byte, tenantClaim string) (any, func(string), error) {
		c, err := decodeClaims(payload, tenantClaim)
		if err != nil {
			return nil, nil, err
		}
		return c, func(thumbprint string) { c.key = thumbprint }, nil
	}
	own.JWK = func(key any) []byte { return key.(*Key).jwk }
}

// ringKeys returns the keys of a ring of package issue, nil if no constructor made it;
// false if set is no such ring.
func ringKeys(set KeySet) (*StaticKeySet, bool) {
	keys, ok := own.RingKeys(set)
	if !ok {
		return nil, false
	}
	return keys.(*StaticKeySet), true
}
