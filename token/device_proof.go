package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"

	"github.com/hybridtoken/hybridtoken/internal/deviceproof"
	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// maxDeviceProofBytes bounds a proof: one with an RSA key of 4,096 bits has 2,500 bytes or so.
const maxDeviceProofBytes = 4 << 10

// maxDeviceProofText bounds each of its claims that is used.
const maxDeviceProofText = 512

// deviceAlgorithms are those that a browser is offered. It takes the first that its device
// can do.
var deviceAlgorithms = []Algorithm{ES256, RS256}

func init() { deviceproof.Verify = verifyDeviceProof }

// verifyDeviceProof is [deviceproof.Verify]: one gate for all JOSE that strangers send.
func verifyDeviceProof(raw string, key []byte, url string) (deviceproof.Proof, error) {
	var none deviceproof.Proof
	p, err := split(raw, maxDeviceProofBytes)
	if err != nil {
		return none, err
	}
	h, err := parseProofHeader(p.header, "dbsc+jwt")
	if err != nil {
		return none, err
	}
	var public crypto.PublicKey
	switch {
	case key == nil && !h.hasKey:
		return none, errors.New("header jwk is missing")
	case key != nil && h.hasKey: // whose key it is, the session says
		return none, errors.New("header jwk, which only a registration has")
	case key == nil:
		public, err = h.key(deviceAlgorithms)
	default:
		public, err = deviceKey(h.alg, key)
	}
	if err != nil {
		return none, err
	}
	verifier, err := jose.NewVerifier(string(h.alg), public)
	if err != nil {
		return none, err
	}
	if !verifier.Verify(p.signed, p.signature) {
		return none, errors.New("bad signature")
	}
	c, err := parseDeviceClaims(p.payload, url)
	if err != nil {
		return none, err
	}
	if c.Key = key; key == nil {
		c.Key, err = x509.MarshalPKIXPublicKey(public)
	}
	return c, err
}

// deviceKey reads the key that a session is bound to, which has one algorithm.
func deviceKey(alg Algorithm, pkix []byte) (crypto.PublicKey, error) {
	public, err := x509.ParsePKIXPublicKey(pkix)
	if err != nil {
		return nil, errors.New("the session's key cannot be read")
	}
	own := RS256
	if _, ok := public.(*ecdsa.PublicKey); ok {
		own = ES256
	}
	if alg != own {
		return nil, errors.New("the algorithm is not that of the session's key")
	}
	return jose.CheckPublic(string(alg), public)
}

// parseDeviceClaims reads the payload of a proof. Chromium 156 writes jti, at a registration
// authorization, and by a feature that is off aud.
func parseDeviceClaims(data []byte, url string) (c deviceproof.Proof, err error) {
	found := false
	err = strictjson.Object(data, func(name string, v strictjson.Value) (err error) {
		switch name {
		case "jti":
			found = true
			c.Challenge, err = deviceText(name, v)
		case "authorization":
			c.Authorization, err = deviceText(name, v)
		case "aud":
			if !holds(v, url) {
				err = errors.New("aud is another URL")
			}
		}
		return err
	})
	if err == nil && !found {
		err = errors.New("claim jti is missing")
	}
	if err != nil {
		return deviceproof.Proof{}, err
	}
	return c, nil
}

func deviceText(name string, v strictjson.Value) (string, error) {
	s, ok := v.Text()
	if !ok || len(s) > maxDeviceProofText {
		return "", errors.New("claim " + name + " is not a string or too long")
	}
	return s, nil
}

// holds reports whether an aud, a string or a list of them (RFC 7519 section 4.1.3), holds want.
func holds(v strictjson.Value, want string) bool {
	if s, ok := v.Text(); ok {
		return s == want
	}
	found, bad := false, false
	list, err := v.Elements(func(v strictjson.Value) error {
		s, ok := v.Text()
		found, bad = found || s == want, bad || !ok
		return nil
	})
	return list && err == nil && found && !bad
}
