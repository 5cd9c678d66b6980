// Package own is what token and token/issue lend each other and nobody else: a token
// is read by one half and written by the other, and a verifier that only reads does not
// link the other half.
//
// Each variable is set by the package named there when the program starts, and read only.
package own

// Claims reads the claims of a payload that an Issuer is about to sign, as a
// *token.Claims. signedBy, with the thumbprint of the key, completes them. Package token
// sets it.
var Claims func(payload []byte, tenantClaim string) (claims any, signedBy func(thumbprint string), err error)

// JWK returns the public JWK of a *token.Key, nil of a secret. Package token sets it.
var JWK func(key any) []byte

// RingKeys returns the keys of an *issue.Keyring, a *token.StaticKeySet which is nil if
// no constructor made the ring; false for every other key set. Package issue sets it.
var RingKeys = func(set any) (keys any, ok bool) { return nil, false }

// RingReader returns a function that returns the keys of an *issue.Keyring, a *token.StaticKeySet, or nil
// while the ring cannot say which are in use; nil for every other key set. Package issue sets it.
var RingReader = func(set any) func() (keys any) { return nil }
