// Package token issues and verifies JWT access tokens (RFC 9068).
package token
