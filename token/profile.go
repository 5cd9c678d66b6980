package token

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// A Profile says how the access tokens of an issuer differ from RFC 9068. The zero
// value is RFC 9068 to the letter. idp.Keycloak, idp.Auth0, idp.Cognito, idp.Entra and
// idp.Google fill one in; what no field loosens cannot be loosened.
//
// Whatever loosens Types gives up what tells an access token from the issuer's other
// tokens, such as ID tokens, which the same keys sign. Something else must tell
// them apart (RFC 8725 section 3.12): Audiences that only access tokens are issued
// for, Require, or Refuse.
//
// The fields that end in Claim name the claim that stands in for a registered one
// in tokens that do not have it. A registered claim that is there always wins.
type Profile struct {
	// Types are the values of the header's typ. An empty one stands for tokens without
	// typ. Nil means at+jwt. Types of other kinds of tokens,
	// such as logout+jwt, are refused.
	Types []string

	// Optional names claims that RFC 9068 requires and that may be missing: client_id,
	// iat, jti, sub. A token can then not be revoked by the kind of event that names the
	// claim; one of jti, sid and sub must be there all the same. A token without iat
	// counts as issued in 1970, so that every cutoff revokes it, and cannot be told from
	// one that outlives its revocation, so that Optional holds iat only where there is
	// no denylist and no MaxLifetime.
	Optional []string

	// Numeric names claims that the issuer writes as JSON integers: any of sub, client_id,
	// jti, sid, and those that stand in for them or hold the tenant. They are read as their digits: 17 as
	// "17", which is what an event then names. From −2⁵³ to 2⁵³, so that all readers agree.
	Numeric []string

	// Tenants is for services whose tenants have issuers of their own, which differ in a
	// GUID: [VerifierConfig].Issuer then holds {tenantid} in its place, and TenantClaim
	// names the claim that repeats it. Tenants is asked, each time a token comes, whether
	// those of that tenant are accepted; it must be quick, and may be called concurrently. iss
	// must be the issuer of the very tenant that the token names, and the key one that its
	// set (its member issuer) publishes for that tenant or for all; others match [ErrUnknownKey].
	// Claims.Issuer and events name the tenant's own issuer. Nil means one issuer.
	Tenants func(tenant string) bool

	// AudienceClaim stands in for aud.
	AudienceClaim string
	// ClientClaim stands in for client_id: azp, appid, cid.
	ClientClaim string
	// IDClaim stands in for jti.
	IDClaim string
	// SessionClaim stands in for sid. It must hold the same value in all tokens of a
	// session, refreshed ones included, and in no others.
	SessionClaim string
	// ScopeClaim stands in for scope, and may be an array of strings too. Say "scope"
	// if that is itself an array.
	ScopeClaim string

	// Require names claims that must be there and be one of these strings.
	Require map[string][]string

	// Refuse names claims that must not be there.
	Refuse []string
}

// otherTypes are those of JWTs that are no access tokens, whatever their issuer
// thinks of typ (RFC 8417, RFC 9449, RFC 9701, OpenID Connect Back-Channel Logout).
var otherTypes = []string{"secevent+jwt", "logout+jwt", "dpop+jwt", "statuslist+jwt", "token-introspection+jwt", "oauth-authz-req+jwt", "client-authentication+jwt"}

func (p *Profile) isZero() bool {
	return p.Types == nil && len(p.Optional) == 0 && p.AudienceClaim == "" && p.ClientClaim == "" && p.IDClaim == "" &&
		p.SessionClaim == "" && p.ScopeClaim == "" && len(p.Require) == 0 && len(p.Refuse) == 0 && len(p.Numeric) == 0 && p.Tenants == nil
}

func (p Profile) clone() Profile {
	p.Types, p.Optional, p.Refuse, p.Numeric = slices.Clone(p.Types), slices.Clone(p.Optional), slices.Clone(p.Refuse), slices.Clone(p.Numeric)
	p.Require = maps.Clone(p.Require)
	for name, values := range p.Require {
		p.Require[name] = slices.Clone(values)
	}
	return p
}

// validate returns the field that is wrong and why, or "".
func (p *Profile) validate(c *VerifierConfig) (field, why string) {
	if p.Types != nil && len(p.Types) == 0 {
		return "Types", "is empty, not nil: nothing would be accepted"
	}
	for _, typ := range p.Types {
		if slices.ContainsFunc(otherTypes, func(other string) bool {
			return asciiEqualFold(subtype(typ), other)
		}) {
			return "Types", fmt.Sprintf("holds %q, which is another kind of token", typ)
		}
	}
	for _, name := range p.Optional {
		switch {
		case name != "client_id" && name != "iat" && name != "jti" && name != "sub":
			return "Optional", fmt.Sprintf("holds %q, which cannot be done without, or is not required", name)
		case name == "iat" && (c.Revocations != nil || c.MaxLifetime != 0):
			return "Optional", "holds iat: a token that does not say when it was issued could outlive its revocation"
		}
	}
	for _, s := range []struct{ field, name, own string }{
		{"AudienceClaim", p.AudienceClaim, "client_id"},
		{"ClientClaim", p.ClientClaim, ""},
		{"IDClaim", p.IDClaim, ""},
		{"SessionClaim", p.SessionClaim, ""},
		{"ScopeClaim", p.ScopeClaim, "scope"},
	} {
		if shape.Registered[s.name] && s.name != s.own {
			return s.field, "is a claim with another meaning"
		}
	}
	for _, name := range p.Numeric {
		if name == "" || !slices.Contains([]string{"sub", "client_id", "jti", "sid", p.ClientClaim, p.IDClaim, p.SessionClaim, c.TenantClaim}, name) {
			return "Numeric", fmt.Sprintf("holds %q, which is none of the claims that events name", name)
		}
	}
	for name, values := range p.Require {
		if len(values) == 0 {
			return "Require", fmt.Sprintf("wants %q without saying what it may be", name)
		}
		if slices.Contains(p.Refuse, name) {
			return "Refuse", fmt.Sprintf("holds %q, which Require wants", name)
		}
	}
	return "", ""
}

// types returns the typ of the access tokens that p describes.
func (p *Profile) types() []string {
	if p == nil || p.Types == nil {
		return []string{"at+jwt"}
	}
	return p.Types
}

// hasType reports whether h is the header of an access token. A nil Profile is RFC
// 9068.
func (p *Profile) hasType(h header) bool {
	if p == nil || p.Types == nil {
		return isAccessToken(h.typ)
	}
	return slices.ContainsFunc(p.Types, func(typ string) bool {
		if typ == "" {
			return !h.hasTyp
		}
		return asciiEqualFold(subtype(h.typ), subtype(typ))
	})
}

// subtype returns typ without the "application/" that may be left out (RFC 7515
// section 4.1.9).
func subtype(typ string) string {
	const prefix = "application/"
	if len(typ) > len(prefix) && asciiEqualFold(typ[:len(prefix)], prefix) {
		return typ[len(prefix):]
	}
	return typ
}

func (p *Profile) numeric(name string) bool { return p != nil && slices.Contains(p.Numeric, name) }

func (p *Profile) optional(name string) bool { return p != nil && slices.Contains(p.Optional, name) }
