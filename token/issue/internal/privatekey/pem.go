package privatekey

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// PKCS8 reads what [jose.Signer.PKCS8] wrote, and any other PKCS #8 key.
func PKCS8(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: not a PKCS #8 private key of a known kind", jose.ErrKey)
	}
	return asSigner(key)
}

func asSigner(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return k, nil
	case *ecdsa.PrivateKey:
		return k, nil
	case *rsa.PrivateKey:
		return k, nil
	}
	return nil, fmt.Errorf("%w: a %T cannot sign", jose.ErrKey, key)
}

// PEM reads the one private key in a PEM file: PKCS #8, PKCS #1 or SEC 1, not
// encrypted. Certificates, public keys and parameters beside it are passed over.
func PEM(data []byte) (crypto.Signer, error) {
	var key crypto.Signer
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		var parsed any
		var err error
		switch {
		case block.Headers["DEK-Info"] != "" || block.Type == "ENCRYPTED PRIVATE KEY":
			return nil, fmt.Errorf("%w: the PEM is encrypted: decrypt it first", jose.ErrKey)
		case block.Type == "PRIVATE KEY":
			parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY":
			parsed, err = x509.ParseECPrivateKey(block.Bytes)
		case block.Type == "CERTIFICATE", block.Type == "PUBLIC KEY", block.Type == "EC PARAMETERS":
			continue
		default:
			return nil, fmt.Errorf("%w: the PEM holds a block that is no private key", jose.ErrKey)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: the private key in the PEM cannot be read", jose.ErrKey)
		}
		if key != nil {
			return nil, fmt.Errorf("%w: the PEM holds several private keys", jose.ErrKey)
		}
		if key, err = asSigner(parsed); err != nil {
			return nil, err
		}
	}
	switch {
	case key == nil:
		return nil, fmt.Errorf("%w: no private key in the PEM", jose.ErrKey)
	case bytes.Contains(data, []byte("-----BEGIN")):
		return nil, fmt.Errorf("%w: the PEM is cut short", jose.ErrKey)
	}
	return key, nil
}
