package token

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// VerifierConfig configures a [Verifier].
type VerifierConfig struct {
	// Issuer is the one issuer whose tokens are accepted; iss must equal it byte for
	// byte. Required; at most [revoke.MaxValueBytes].
	Issuer string

	// OwnIssuer says that an issue.Issuer of this library issues the tokens. Then their claim
	// hyt_at counts: the instant, in milliseconds, that cutoffs compare with, so that a
	// login passes at once that was made after one. For any other issuer it must be false:
	// anybody who can have a claim of that name written into a token outruns every cutoff by it.
	// False means that it is ignored and cutoffs compare with iat, a whole second as a
	// rule: a token is then refused that was issued less than three times MaxSkew, and a
	// second, after a cutoff. Revocations then needs a MaxSkew of at least a second. An
	// issue.Keyring as Keys, as in the auth service itself, has the effect of true.
	OwnIssuer bool

	// Audiences are the names that this service goes by; aud must hold one of them,
	// byte for byte. Required.
	Audiences []string

	// Algorithms are those that a token's header may name. Required: there is no
	// default, because the keys decide. HMAC algorithms stand alone or not at all:
	// beside others, a public key could be taken for an HMAC secret.
	Algorithms []Algorithm

	// Keys finds the issuer's keys. Required. Give each issuer its own.
	Keys KeySet

	// Revocations is the denylist that every token is checked against. Nil is
	// refused unless InsecureNoRevocations is set.
	Revocations *revoke.List

	// InsecureNoRevocations does without a denylist. Users who are logged out, banned
	// or robbed stay exposed until their tokens expire.
	InsecureNoRevocations bool

	// WhenStale is what happens while the denylist cannot prove itself up to date.
	// The zero value is [revoke.Deny]. [WithStalePolicy] overrides it for one call.
	WhenStale revoke.Policy

	// Leeway is how far the issuer's clock may differ from ours; exp, nbf and iat are
	// widened by it, iat by no more than the MaxSkew of Revocations: a token from
	// further ahead would outrun the cutoffs of the meantime. Zero means 30 s; at most
	// [revoke.MaxLeeway]. For practically none set a millisecond, the unit of every comparison.
	Leeway time.Duration

	// MaxLifetime is the largest exp − iat of a token. Zero means the TokenLifetime
	// of Revocations, which it cannot exceed: beyond it revocations are forgotten.
	// Without Revocations zero means no limit.
	MaxLifetime time.Duration

	// DPoP checks the proofs of tokens that are bound to a DPoP key (RFC 9449). Nil
	// means that such tokens are refused. Verifiers of one service share one DPoP.
	DPoP *DPoP

	// ClientCertificate returns the TLS client certificate of a request, nil if there is
	// none, for tokens that are bound to one (RFC 8705). Nil means that of the
	// connection, r.TLS. Behind a proxy that ends TLS it must take the certificate from
	// where only the proxy can write: a header that clients can send proves nothing.
	// [Verifier.Middleware] asks it for tokens that are bound to a certificate.
	ClientCertificate func(r *http.Request) *x509.Certificate

	// RequireBinding refuses tokens that are bound to no key, see [Binding]: those are
	// good in the hands of a thief.
	RequireBinding bool

	// TenantClaim names the claim that events of kind [revoke.KindTenant] speak of. Empty
	// means "tenant".
	TenantClaim string

	// Profile says where the issuer's tokens differ from RFC 9068. The zero value is
	// RFC 9068 to the letter: leave it for issuers that follow it, ours among them.
	Profile Profile

	// MaxTokenBytes is the largest token that is looked at. Zero means 8 KiB; at most
	// 64 KiB.
	MaxTokenBytes int

	// CacheBytes bounds the memory that remembers accepted tokens, in bytes. A token that
	// comes again is spared the check of its signature, and nothing else: times,
	// key, possession, denylist and its freshness are judged each time. A token takes
	// some 1.7 KiB, its signature is not kept, and what is used least makes room. Zero means
	// 16 MiB, taken as tokens come.
	CacheBytes int

	// NoCache remembers no token: each signature is checked each time.
	NoCache bool

	// Logger hears of weakened settings, once, from [NewVerifier], and from
	// [Verifier.Middleware] why requests are refused: each cause once a minute, at info or
	// warn level, with what may be configured wrongly, and every refusal at debug level.
	// What happens every day, such as an expired token, is told only while nothing is
	// accepted. That tokens cannot be verified is told at most once a second. Nil means silent.
	Logger *slog.Logger
}

func (c VerifierConfig) withDefaults() (VerifierConfig, error) {
	if c.Leeway == 0 {
		c.Leeway = 30 * time.Second
	}
	if _, ring := ringKeys(c.Keys); ring {
		c.OwnIssuer = true
	}
	if c.TenantClaim == "" {
		c.TenantClaim = "tenant"
	}
	if c.MaxTokenBytes == 0 {
		c.MaxTokenBytes = shape.DefaultTokenBytes
	}
	if c.MaxLifetime == 0 && c.Revocations != nil {
		c.MaxLifetime = c.Revocations.Config().TokenLifetime
	}
	if c.CacheBytes == 0 && !c.NoCache {
		c.CacheBytes = defaultCacheBytes
	}
	if c.ClientCertificate == nil {
		c.ClientCertificate = clientCertificate
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Audiences = slices.Clone(c.Audiences)
	c.Algorithms = ones(c.Algorithms)
	c.Profile = c.Profile.clone()
	return c, c.validate()
}

func (c *VerifierConfig) validate() error {
	refuse := func(field, why string) error {
		return &ConfigError{Config: "token.VerifierConfig", Field: field, Reason: why}
	}
	if err := shape.CheckValue(c.Issuer); err != nil {
		return refuse("Issuer", err.Error())
	}
	switch {
	case len(c.Audiences) == 0:
		return refuse("Audiences", "is empty: a token for any service would be accepted")
	case slices.Contains(c.Audiences, ""):
		return refuse("Audiences", "holds an empty name")
	case slices.ContainsFunc(c.Audiences, func(a string) bool { return strings.TrimSpace(a) != a || a == "*" }):
		return refuse("Audiences", "holds a name that begins or ends with white space, or an asterisk, which stands for itself alone")
	case len(c.Algorithms) == 0:
		return refuse("Algorithms", "is empty: the token would choose")
	case noKeys(c.Keys):
		return refuse("Keys", "is nil, or was made by no constructor")
	case c.Revocations == nil && !c.InsecureNoRevocations:
		return refuse("Revocations", "is nil: revoked tokens would be accepted (set InsecureNoRevocations to mean that)")
	case c.Revocations != nil && c.Revocations.Config().TokenLifetime == 0:
		return refuse("Revocations", "was not made by revoke.NewList")
	case c.Revocations != nil && c.InsecureNoRevocations:
		return refuse("InsecureNoRevocations", "contradicts Revocations")
	case c.Revocations != nil && !c.OwnIssuer && c.Revocations.Config().MaxSkew < time.Second:
		return refuse("Revocations", fmt.Sprintf("has a MaxSkew of %s, below the second that other people's iat is rounded to (OwnIssuer is not set)", c.Revocations.Config().MaxSkew))
	case c.Leeway < 0:
		return refuse("Leeway", "is negative")
	case c.Leeway < time.Millisecond:
		return refuse("Leeway", fmt.Sprintf("%s is below a millisecond (a number without its unit?)", c.Leeway))
	case c.Leeway > revoke.MaxLeeway:
		return refuse("Leeway", fmt.Sprintf("is %s, more than %s: a revocation would be forgotten before its token", c.Leeway, revoke.MaxLeeway))
	case c.MaxLifetime != 0 && c.MaxLifetime < time.Second:
		return refuse("MaxLifetime", fmt.Sprintf("%s is below a second (a number without its unit?)", c.MaxLifetime))
	case c.MaxLifetime > revoke.MaxLifetime:
		return refuse("MaxLifetime", fmt.Sprintf("%s is more than ten years", c.MaxLifetime))
	case c.Revocations != nil && c.MaxLifetime > c.Revocations.Config().TokenLifetime:
		return refuse("MaxLifetime", "exceeds the TokenLifetime of Revocations: a token would outlive its revocation")
	case c.MaxTokenBytes > 0 && c.MaxTokenBytes < 256:
		return refuse("MaxTokenBytes", fmt.Sprintf("is %d: no signed token is as small (a number of kilobytes?)", c.MaxTokenBytes))
	case c.MaxTokenBytes < 0 || c.MaxTokenBytes > shape.MaxTokenBytes:
		return refuse("MaxTokenBytes", fmt.Sprintf("is not between 0 and %d", shape.MaxTokenBytes))
	case c.CacheBytes < 0:
		return refuse("CacheBytes", "is negative")
	case c.CacheBytes != 0 && c.NoCache:
		return refuse("NoCache", "contradicts CacheBytes")
	case c.CacheBytes != 0 && c.CacheBytes < minCacheBytes:
		return refuse("CacheBytes", fmt.Sprintf("is below %d, room for some twenty tokens", minCacheBytes))
	case c.DPoP != nil && c.DPoP.s == nil:
		return refuse("DPoP", "was not made by NewDPoP")
	}
	if err := shape.CheckName(c.TenantClaim); err != nil {
		return refuse("TenantClaim", err.Error())
	}
	if field, why := c.Profile.validate(c); field != "" {
		return refuse("Profile."+field, why)
	}
	hmac := 0
	for _, alg := range c.Algorithms {
		if !alg.known() {
			return refuse("Algorithms", fmt.Sprintf("holds %q, which is not supported", alg))
		}
		if alg.symmetric() {
			hmac++
		}
	}
	if hmac > 0 && hmac < len(c.Algorithms) {
		return refuse("Algorithms", "mixes HMAC with signatures: a public key could be taken for a secret")
	}
	if err := c.validatePolicy(c.WhenStale); err != nil {
		return refuse("WhenStale", fmt.Sprintf("cannot take effect: %v", err))
	}
	return nil
}

// warn tells of what weakens.
func (c *VerifierConfig) warn() {
	log := c.Logger.With("issuer", c.Issuer)
	p := &c.Profile
	if c.Revocations == nil {
		log.Warn("token: verifying without a denylist: revoked tokens are accepted until they expire")
		if c.MaxLifetime == 0 {
			log.Warn("token: neither Revocations nor MaxLifetime bounds the life of a token")
		}
	}
	if !c.WhenStale.IsDeny() {
		log.Warn("token: a stale denylist does not refuse", "policy", c.WhenStale.String())
	}
	if c.Leeway > time.Minute {
		log.Warn("token: Leeway is above a minute: tokens are accepted for that long after they expired", "leeway", c.Leeway)
	}
	if c.MaxLifetime > 24*time.Hour {
		log.Warn("token: tokens may live for more than a day", "max_lifetime", c.MaxLifetime)
	}
	if len(p.Types) > 0 && len(p.Require) == 0 && len(p.Refuse) == 0 && !slices.ContainsFunc(p.Types, isAccessToken) {
		log.Warn("token: Profile.Types takes tokens that do not say that they are access tokens, and neither Require nor Refuse tells them from others", "types", p.Types)
	}
	if len(p.Optional) > 0 {
		log.Warn("token: Profile.Optional takes tokens that lack what events name them by", "optional", p.Optional)
	}
	if p.AudienceClaim != "" {
		log.Warn("token: Profile.AudienceClaim takes tokens that do not say for whom they are", "claim", p.AudienceClaim)
	}
}

// noKeys reports whether k is nil, or a nil pointer of ours: what is left of a
// constructor whose error was not looked at.
func noKeys(k KeySet) bool {
	switch k := k.(type) {
	case nil:
		return true
	case *StaticKeySet:
		return k == nil || k.Len() == 0
	case *RemoteKeySet:
		return k == nil || k.cancel == nil
	}
	keys, ring := ringKeys(k)
	return ring && keys == nil
}

func (c *VerifierConfig) validatePolicy(p revoke.Policy) error {
	if c.Revocations != nil {
		return c.Revocations.ValidatePolicy(p)
	}
	return p.Validate()
}
