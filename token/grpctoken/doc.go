// Package grpctoken lets gRPC servers accept the access tokens of package token.
//
// # Which door
//
// Make one [Interceptor] with [New] and give its Unary and Stream to the server. The
// token is taken from the metadata authorization, as "Bearer <token>", of which there
// must be exactly one; handlers find its claims by [token.FromContext]. Every method
// needs a token unless [Config].Public names it.
//
// Tokens that are bound to a TLS client certificate (RFC 8705) work over mutual TLS.
// DPoP is defined for HTTP requests only: tokens that are bound to a DPoP key are
// refused here.
//
// # What it promises
//
// A client whose token is refused is told codes.Unauthenticated, with the same message
// whatever is wrong with the token. There are three exceptions. A token that is too large
// is codes.InvalidArgument, since a new one would be as large. One that lacks a scope is
// codes.PermissionDenied. And when nobody can tell, because the denylist is stale or keys
// cannot be had, it is codes.Unavailable: the token may be good, and clients try again.
//
// A stream ends when its token does. Whether it expired, was revoked, or lost its key
// is checked for each message, before the handler sees it or the client is sent it.
// Those that lie idle end as [token.Verifier.Watch] says, a revoked one at once: their context ends, a waiting
// RecvMsg returns, and the client is told Unauthenticated. A stream costs
// a goroutine while it waits for a message, and leaves none behind.
//
// As after any error of RecvMsg, the message that it was to fill must not be used.
package grpctoken
