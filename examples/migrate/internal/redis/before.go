// Package redis moves a service from a denylist in Redis to this library.
package redis

import (
	"context"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"
)

// Revoked asks Redis, once a request.
func Revoked(ctx context.Context, rdb *redis.Client, claims *jwt.RegisteredClaims) (bool, error) {
	n, err := rdb.Exists(ctx, "revoked:"+claims.ID).Result()
	return n > 0, err // and what does the caller do with err: let the request pass, or refuse?
}

// Revoke writes the token's jti for as long as the token lives.
func Revoke(ctx context.Context, rdb *redis.Client, claims *jwt.RegisteredClaims) error {
	left := time.Until(claims.ExpiresAt.Time)
	if left <= 0 {
		return nil
	}
	return rdb.Set(ctx, "revoked:"+claims.ID, "logout", left).Err()
}
