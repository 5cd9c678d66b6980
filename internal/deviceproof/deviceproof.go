// Package deviceproof carries the check of the proofs that a browser makes with the key of its
// device from package token, which has the gate for JOSE from outside, to package refresh,
// and shows it nobody else.
package deviceproof

// A Proof is the JWT by which a browser proves possession of the key of a device-bound
// session (Device Bound Session Credentials, W3C, the text of 2026-02-17), its signature
// verified. Only what it holds here may be used; whether it is the proof that was asked for,
// is the caller's to find out.
type Proof struct {
	Key           []byte // the public key that signed it, in the PKIX form of package x509
	Challenge     string // jti
	Authorization string // of a registration
}

// Verify is set by package token. It verifies the proof of a registration, which brings its
// key, if key is nil; and otherwise one by that key, which brings none. An aud, if there is
// any, must hold url, the URL that the proof was sent to. The error repeats nothing of it.
var Verify func(raw string, key []byte, url string) (Proof, error)
