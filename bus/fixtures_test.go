package bus

import (
	"crypto/ed25519"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const testIssuer = "https://auth.example.com"

func decode(subject string, data []byte) (wire.Message, revoke.Fault) {
	return new(wire.Decoder).Decode(subject, data)
}

func vectorKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
}
