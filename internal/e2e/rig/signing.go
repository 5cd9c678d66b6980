package rig

import (
	"bytes"
	"crypto/ed25519"
)

// TrustOf lists keys, as a configuration does.
func TrustOf(keys ...ed25519.PublicKey) []ed25519.PublicKey { return keys }

// SigningKey returns the key pair of that number.
func SigningKey(n byte) (ed25519.PrivateKey, ed25519.PublicKey) {
	k := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	return k, k.Public().(ed25519.PublicKey)
}
