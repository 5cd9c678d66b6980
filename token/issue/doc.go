// Package issue issues the access tokens (RFC 9068) that package token verifies.
//
// # Which door
//
// A service that issues tokens makes a [Keyring] and an [Issuer], and serves the Keyring
// as its JWK Set: [OpenKeyring] shares one between its instances and rotates it,
// [NewKeyring] takes keys that are managed elsewhere, from PEM, JWK or a KMS.
// [NewEphemeralKeyring] is for demos and tests. A service that only verifies needs
// nothing of this package, and links none of it.
//
// # What it promises
//
// Every verifier accepts what [Issuer.Issue] returns: before it is signed, it is read in the
// way that a verifier reads it. An [Issuer] writes whole seconds into iat, exp and nbf,
// none of them in the future, so that every verifier reads its tokens, and beside them
// the instant that cutoffs compare with, hyt_at, in milliseconds: a login right after a
// cutoff passes ([Request].After). Verifiers of such tokens set
// [token.VerifierConfig].OwnIssuer.
//
// A ring that loses its store goes on signing while that is safe, and then says so: its
// errors match [token.ErrKeysUnavailable]. What is half done is not used.
//
// # What it refuses to do
//
//   - To issue a token that could not be revoked: without jti, with a sub, sid, client_id
//     or tenant that no event could name, or one that lives longer than the denylist
//     remembers.
//   - To keep a ring unsealed anywhere but in a private file.
//   - To sign with a weak key, or with one whose halves do not belong together.
//   - To show a private key, a secret or a token in a log line or an error.
package issue
