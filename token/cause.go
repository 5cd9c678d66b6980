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
	{ErrReplayCacheFull, "proofs_full"},
	{revoke.ErrStale, "stale"},
	{ErrUnavailable, "unavailable"},
	{ErrTooLarge, "too_large"},
	{ErrMalformed, "malformed"},
	{ErrAlgorithm, "algorithm"},
	{ErrType, "type"},
	{ErrUnknownKey, "unknown_key"},
	{ErrSignature, "signature"},
	{ErrClaims, "claims"},
	{ErrIssuer, "issuer"},
	{ErrAudience, "audience"},
	{ErrExpired, "expired"},
	{ErrNotYetValid, "not_yet_valid"},
	{ErrLifetime, "lifetime"},
	{ErrReplayed, "replayed"},
	{ErrNonce, "nonce"},
	{ErrProof, "proof"},
	{ErrBinding, "binding"},
	{revoke.ErrRevoked, "revoked"},
	{ErrInsufficientScope, "scope"},
	{ErrInsufficientAuthentication, "authentication"},
}

// otherCause is the name of an error that none of causes matches.
const otherCause = "other"

// Cause returns one word for an error of [Verifier.Verify] or [Verifier.Recheck]: too_large, malformed, algorithm,
// type, unknown_key, signature, claims, issuer, audience, expired, not_yet_valid, lifetime,
// binding, proof, nonce, replayed, revoked, scope, authentication, keys_unavailable,
// stale, proofs_full, unavailable, or other; of nil it is "". It holds nothing of the token and
// is fit for the label of a metric. There may be more words in later versions.
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
