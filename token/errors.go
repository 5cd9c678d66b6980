package token

import "errors"

// Every error of [Verifier.Verify] is of one of two families: [ErrInvalidToken],
// the token is refused (HTTP 401), or [ErrUnavailable], nobody can tell now and
// the token may be good (HTTP 503). Options that ask for more add a third,
// [ErrInsufficient]. Match with errors.Is.
var (
	// ErrInvalidToken is the family of refusals. Retrying with the same token is
	// useless. A revoked token's error is of this family and matches
	// [github.com/hybridtoken/hybridtoken/revoke.ErrRevoked].
	ErrInvalidToken = errors.New("invalid token")

	// ErrUnavailable is the family of "cannot know". A stale replica's error is of
	// this family and matches [github.com/hybridtoken/hybridtoken/revoke.ErrStale].
	ErrUnavailable = errors.New("verification unavailable")
)

// The members of [ErrInvalidToken] that callers act on. Only the first check that fails is
// reported: a token that is expired and badly signed is badly signed. [Cause] tells all apart.
var (
	// ErrTooLarge: longer than [VerifierConfig].MaxTokenBytes, or with a header of
	// more than 4 KiB. Nothing was decoded. A new token would be as large.
	ErrTooLarge error = &member{ErrInvalidToken, "token too large"}
	// ErrUnknownKey: the issuer's key set holds no such key for that algorithm, as far as
	// it is known here: the key may have been published a moment ago. A new token would
	// have the same key: the answer of [Verifier.Middleware] does not say to get one.
	ErrUnknownKey error = &member{ErrInvalidToken, "unknown key"}
	// ErrExpired: exp has passed.
	ErrExpired error = &member{ErrInvalidToken, "expired"}
	// ErrNotYetValid: nbf or iat lies in the future.
	ErrNotYetValid error = &member{ErrInvalidToken, "not yet valid"}
	// ErrProof: the DPoP proof is missing or fails a check of RFC 9449 section 4.3.
	ErrProof error = &member{errBinding, "unacceptable DPoP proof"}
	// ErrNonce: the proof is good but holds no current nonce of ours; the client tries
	// again with one. It is of the family [ErrProof].
	ErrNonce error = &member{ErrProof, "no current nonce"}
)

// The members of [ErrInvalidToken] that people read, by [Cause].
var (
	// errMalformed: not three segments of strict base64url, or a header or claims
	// that are not a strict JSON object, or a header that asks for what we refuse
	// (crit, b64, zip, enc).
	errMalformed error = &member{ErrInvalidToken, "malformed token"}
	// errAlgorithm: the header's alg is not in the allow-list.
	errAlgorithm error = &member{ErrInvalidToken, "algorithm not allowed"}
	// errType: the header's typ is not that of an access token, or not one of those
	// that [Profile].Types names.
	errType error = &member{ErrInvalidToken, "not an access token"}
	// errSignature: the signature is not that key's over these bytes.
	errSignature error = &member{ErrInvalidToken, "bad signature"}
	// errClaims: a claim is missing or of the wrong form, or not what [Profile].Require
	// and Refuse ask for.
	errClaims error = &member{ErrInvalidToken, "unacceptable claims"}
	// errIssuer: iss is another issuer's.
	errIssuer error = &member{ErrInvalidToken, "wrong issuer"}
	// errAudience: aud names none of ours.
	errAudience error = &member{ErrInvalidToken, "wrong audience"}
	// errLifetime: exp − iat exceeds what the denylist remembers, so that the token
	// could outlive its revocation.
	errLifetime error = &member{ErrInvalidToken, "lives too long"}
	// errBinding: the token is bound to a key of its sender (cnf, see [Binding]) and
	// possession was not proven, or it is bound to none where one is asked for.
	errBinding error = &member{ErrInvalidToken, "possession of the sender's key not proven"}
	// errReplayed: the proof was used before. It is of the family [ErrProof], and worth
	// an alarm: somebody else may have seen it.
	errReplayed error = &member{ErrProof, "used before"}
)

// The family of tokens that are in order but not good enough for this call, as
// [RequireScope], [RequireFresh] and [RequireACR] ask. Another token may be.
var (
	// ErrInsufficient is the family, and all there is to match where the user was
	// authenticated too long ago or not strongly enough (HTTP 401, RFC 9470).
	ErrInsufficient = errors.New("insufficient token")
	// ErrInsufficientScope: scope lacks a value (HTTP 403). It is of the family
	// [ErrInsufficient].
	ErrInsufficientScope error = &member{ErrInsufficient, "insufficient scope"}

	errInsufficientAuthentication error = &member{ErrInsufficient, "insufficient user authentication"}
)

// ErrKeysUnavailable: the issuer's keys cannot be had now, so that nobody can say
// whether the key exists. It is of the family [ErrUnavailable].
var ErrKeysUnavailable error = &member{ErrUnavailable, "keys unavailable"}

// errReplayCacheFull: there is no room to remember a good DPoP proof as used, so it
// is not accepted, see [DPoPConfig].MaxProofs.
var errReplayCacheFull error = &member{ErrUnavailable, "memory of used DPoP proofs is full"}

// ErrKey is the family of keys and key sets refused when they are loaded.
var ErrKey = errors.New("key refused")

// A member is a sentinel that matches itself and its family.
type member struct {
	family error
	text   string
}

func (m *member) Error() string { return m.text }
func (m *member) Unwrap() error { return m.family }
