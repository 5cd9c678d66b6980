package golangjwt

import (
	"crypto/ed25519"
	"crypto/rand"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// IssueBefore issues with golang-jwt: kid, typ and jti are up to you.
func IssueBefore(private ed25519.PrivateKey, user string) (string, error) {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": "https://auth.example.com", "aud": "orders", "sub": user, "client_id": "web",
		"iat": now.Unix(), "exp": now.Add(15 * time.Minute).Unix(), "jti": rand.Text(),
	})
	t.Header["kid"], t.Header["typ"] = "2026-11", "at+jwt"
	return t.SignedString(private)
}
