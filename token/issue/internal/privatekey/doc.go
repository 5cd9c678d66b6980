// Package privatekey reads private keys: PKCS #8, PEM and JWK. It is apart from package
// jose so that a program that only verifies does not link it.
//
// No error wraps one of a parser: those may quote what they read.
package privatekey
