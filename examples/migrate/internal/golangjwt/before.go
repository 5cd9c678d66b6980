// Package golangjwt moves an API from github.com/golang-jwt/jwt to this library.
package golangjwt

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

type userKey struct{}

// Before verifies with golang-jwt: a token is good until it expires.
func Before(keys jwt.Keyfunc, next http.Handler) http.Handler {
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"EdDSA"}),
		jwt.WithIssuer("https://auth.example.com"),
		jwt.WithAudience("orders"),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(30*time.Second),
	)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		var claims jwt.RegisteredClaims
		if _, err := parser.ParseWithClaims(raw, &claims, keys); err != nil {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, claims.Subject)))
	})
}

// User is who sent the request, for what runs behind Before.
func User(ctx context.Context) string {
	user, _ := ctx.Value(userKey{}).(string)
	return user
}
