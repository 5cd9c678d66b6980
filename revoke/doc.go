// Package revoke is a denylist for JWT access tokens that answers locally.
//
// (package documentation to be completed)
package revoke
