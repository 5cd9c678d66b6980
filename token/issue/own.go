package issue

import (
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/own"
)

func init() {
	own.RingKeys = func(set any) (any, bool) {
		r, ok := set.(*Keyring)
		if !ok {
			return nil, false
		}
		var keys *token.StaticKeySet
		if r != nil {
			if s := r.state.Load(); s != nil {
				keys = s.keys
			}
		}
		return keys, true
	}
	own.RingReader = func(set any) func() any {
		r, ok := set.(*Keyring)
		if !ok {
			return nil
		}
		return func() any {
			s := r.state.Load()
			if r.usable(s) != nil {
				return nil
			}
			return s.keys
		}
	}
}

// decodeClaims reads what a verifier would find in payload. signedBy completes it.
func decodeClaims(payload []byte, tenantClaim string) (c *token.Claims, signedBy func(thumbprint string), err error) {
	claims, signedBy, err := own.Claims(payload, tenantClaim)
	if err != nil {
		return nil, nil, err
	}
	return claims.(*token.Claims), signedBy, nil
}
