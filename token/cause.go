package token

import (
	"errors"
	"sync/atomic"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// causes are the names of errors, the first that matches counting: what cannot be known
// before what is refused, members before their families.
var causes = [...]struct {
	err  error
	name string
}{
	{ErrKeysUnavailable, "keys_unavailable"},
	{errReplayCacheFull, "proofs_full"},
	{revoke.ErrStale, "stale"},
	{ErrUnavailable, "unavailable"},
	{ErrTooLarge, "too_large"},
	{errMalformed, "malformed"},
	{errAlgorithm, "algorithm"},
	{errType, "type"},
	{ErrUnknownKey, "unknown_key"},
	{errSignature, "signature"},
	{errClaims, "claims"},
	{errIssuer, "issuer"},
	{errAudience, "audience"},
	{ErrExpired, "expired"},
	{ErrNotYetValid, "not_yet_valid"},
	{errLifetime, "lifetime"},
	{errReplayed, "replayed"},
	{ErrNonce, "nonce"},
	{ErrProof, "proof"},
	{errBinding, "binding"},
	{revoke.ErrRevoked, "revoked"},
	{ErrInsufficientScope, "scope"},
	{errInsufficientAuthentication, "authentication"},
}

// otherCause is the name of an error that none of causes matches.
const otherCause = "other"

// Cause returns one word for an error of [Verifier.Verify], [Verifier.Recheck] or
// [DPoP.Thumbprint]; of nil it is "". It holds nothing of the token and is fit for the label
// of a metric. There may be more words in later versions. Those of [ErrInvalidToken], in the
// order of the checks:
//
//   - too_large: [ErrTooLarge]
//   - malformed: not three segments of strict base64url, or a header or claims that are not
//     a strict JSON object, or a header that asks for what is refused (crit, b64, zip, enc)
//   - algorithm: the header's alg is not in the allow-list
//   - type: the header's typ is not that of an access token, or none of [Profile].Types
//   - unknown_key: [ErrUnknownKey]
//   - signature: it is not that key's over these bytes
//   - claims: one is missing or of the wrong form, or not what [Profile].Require and Refuse
//     ask for
//   - issuer, audience: iss is another issuer's, aud names none of ours
//   - expired: [ErrExpired]
//   - not_yet_valid: [ErrNotYetValid]
//   - lifetime: exp − iat exceeds what the denylist remembers
//   - binding: the token is bound to a key of its sender, see [Binding], and possession was
//     not proven, or it is bound to none where one is asked for
//   - proof, nonce: [ErrProof], [ErrNonce]
//   - replayed: the DPoP proof was used before, which is worth an alarm: somebody else may
//     have seen it. It is of the family [ErrProof]
//   - revoked: [revoke.ErrRevoked]
//
// Those of [ErrInsufficient] are scope ([ErrInsufficientScope]) and authentication
// ([RequireFresh], [RequireACR]), and those of [ErrUnavailable] keys_unavailable
// ([ErrKeysUnavailable]), stale ([revoke.ErrStale]), proofs_full ([DPoPConfig].MaxProofs)
// and unavailable. What is none of these is other.
func Cause(err error) string {
	switch i := causeOf(err); i {
	case -1:
		return ""
	case len(causes):
		return otherCause
	default:
		return causes[i].name
	}
}

func causeOf(err error) int {
	if err == nil {
		return -1
	}
	for i := range causes {
		if errors.Is(err, causes[i].err) {
			return i
		}
	}
	return len(causes)
}

// refusalCounts count by cause, otherCause last.
type refusalCounts [len(causes) + 1]atomic.Uint64

// A VerifierStatus is what [Verifier.Status] reports, counted since the Verifier was made.
type VerifierStatus struct {
	// Refused counts the calls of Verify and Recheck that failed, by [Cause].
	Refused map[string]uint64
	// Ahead tells how far the clocks of issuers are ahead, by issuer.
	Ahead map[string]IssuedAhead
	// Unnamed counts tokens that lack what events of a kind name: "token" those without
	// jti, "session" without sid, "subject" without sub, "client" without client_id,
	// "tenant" without the claim that TenantClaim names, by whatever name a Profile has for
	// them. Such events revoke none of those tokens. A remembered token counts once.
	Unnamed map[string]uint64
}

// Status reports how v is doing, for a health page or a metric.
func (v *Verifier) Status() VerifierStatus {
	s := VerifierStatus{Refused: make(map[string]uint64), Ahead: v.IssuedAhead(), Unnamed: make(map[string]uint64)}
	for i := range v.refusals {
		if n := v.refusals[i].Load(); n > 0 {
			name := otherCause
			if i < len(causes) {
				name = causes[i].name
			}
			s.Refused[name] = n
		}
	}
	for _, one := range v.issuers {
		one.unnamed.addTo(s.Unnamed)
	}
	return s
}
