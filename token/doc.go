// Package token verifies JWT access tokens (RFC 9068) locally, the denylist of package
// revoke included. Package issue issues them.
//
// # Which door
//
// A service that accepts tokens makes one [Verifier] with [NewVerifier] and wraps
// its handlers in the Verifier's Middleware; where there is no HTTP, it calls
// [Verifier.Verify]. [NewRemoteKeySet] fetches the issuer's keys, [NewStaticKeySet] holds keys
// that are known beforehand, and a [KeySet] of one's own may come from anywhere: what it
// returns is checked. A service that issues tokens too gives the Verifier its own ring
// ([github.com/hybridtoken/hybridtoken/token/issue]).
//
// Tokens of somebody else's issuer: [github.com/hybridtoken/hybridtoken/token/idp] starts
// the configuration for the providers that many use, a [Profile] describes others,
// [Discover] finds the keys, and [OneOf] makes one Verifier of several, each with its own
// issuer, keys and rules.
//
// Do not build on less. A token whose signature is good may still be meant for
// somebody else, be of another kind, or be revoked; nothing here verifies a part.
//
// # What Verify promises
//
// The checks come in this order, and the first that fails is the one reported:
// bounded size and exact shape; header; key; signature; claims; the sender's proof,
// if the token is bound to one; denylist. Nothing is decoded before its size is
// known and nothing is believed before the signature is verified, over the very
// bytes that the claims are then read from.
//
// A token may be bound to a key of its sender, see [Binding]: a thief then needs that
// key too. A [DPoP] checks proofs made by clients (RFC 9449), and certificates of TLS
// clients (RFC 8705) need nothing but TLS. Bind what you issue if clients can.
//
// [Claims] are returned with a nil error and never otherwise. Every error belongs to
// one of two families: [ErrInvalidToken] is a refusal (HTTP 401), revoked tokens
// among them; [ErrUnavailable] means that nobody can tell now (HTTP 503 with
// Retry-After, never 401), because keys cannot be fetched or because the denylist
// is not fresh and the policy does not let that pass. What is known to be revoked
// is refused in every state and under every policy. No error repeats a part of a
// token or the value of a claim.
//
// Verify waits for nothing but a KeySet that has to fetch. The service that issued
// the token, and the bus, may be down.
//
// # What it refuses to do
//
//   - The token does not choose: not its algorithm, which an allow-list without a
//     default decides and the key confirms, and not its key, so that the header's
//     jwk, jku, x5u and x5c are never looked at.
//   - One token has one spelling. Padding, other alphabets, white space and stray
//     bits are malformed, as are duplicate names and bad UTF-8 in the JSON. (An
//     ECDSA signature has two forms for all who know the curve's order. That is
//     why revocation goes by claims, and never by the token's bytes.)
//   - No "none", no JWS with detached or unencoded content or in JSON form, no
//     critical extensions, no encrypted or compressed tokens.
//   - No token that could not be revoked: one without jti (a [Profile] may settle for
//     one of jti, sid and sub), or with a jti, sid, sub, client_id or tenant that is
//     empty or longer than [github.com/hybridtoken/hybridtoken/revoke.MaxValueBytes],
//     or one that lives longer than the denylist remembers, no matter who issued it.
//   - To fetch keys from where a token says, or over http, or, because a public server
//     says so, from an address that is not public.
//   - No sender-constrained token (cnf; RFC 9449, RFC 8705) without proof of possession
//     of the key that it is bound to: as a plain bearer token it must not pass.
//   - To verify without a denylist, unless it is asked for by name:
//     InsecureNoRevocations.
//
// Times compare in milliseconds. Beside whole seconds in iat and exp an issuer of this
// library writes the instant that cutoffs compare with, hyt_at, in milliseconds. Verifiers
// of such tokens set [VerifierConfig].OwnIssuer; for others' tokens iat is that instant,
// with its fraction if it has one. None is let in whose iat is further ahead than MaxSkew,
// which [Verifier.IssuedAhead] counts: it would outrun cutoffs.
package token
