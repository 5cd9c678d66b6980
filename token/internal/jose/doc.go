// Package jose holds the primitives of signing: JWK in and out, thumbprints,
// signatures. It is the only importer of jwx, which is no longer maintained
// upstream, and no type of jwx crosses its border; moving to another library is an
// edit of this package.
//
// jwx is given only what was checked before: members of a JWK that are known to be
// canonical base64url, and bytes of ours to sign. It never sees a token. Signatures
// are verified with the standard library, because jwx accepts what RFC 7518 forbids
// (PS256 with any salt length) and costs allocations.
package jose
