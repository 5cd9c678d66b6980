package token

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// decodeClaims reads the claims of a payload that an issue.Issuer signed: their form, and
// that those which RFC 9068 section 2.2 requires are there. What they say is judged by
// [Verifier.judge].
func decodeClaims(payload []byte, tenantClaim string) (*Claims, error) {
	return decodeProfile(payload, tenantClaim, nil, true)
}

// decodeProfile is decodeClaims for an issuer that p describes, nil being RFC 9068, and
// that is ours or another's.
func decodeProfile(payload []byte, tenantClaim string, p *Profile, ours bool) (*Claims, error) {
	return (&reading{tenantClaim: tenantClaim, profile: p, ours: ours, asked: askedAll}).decode(payload)
}

// A reading says how the claims of an issuer are read.
type reading struct {
	tenantClaim string
	profile     *Profile // nil is RFC 9068
	ours        bool     // an Issuer of this library wrote them
	asked       asked
}

// asked are the claims of no required form that something asks for. A claim that
// nothing asks for refuses no token: what cannot be used of it counts as absent.
// Required claims, and those that restrict a token (nbf, cnf), are always asked for.
type asked uint8

const (
	askedSession        asked = 1 << iota // a denylist, or Profile.SessionClaim
	askedTenant                           // VerifierConfig.TenantClaim, or our own Issuer
	askedScope                            // Profile.ScopeClaim, where it is scope
	askedAuthentication                   // auth_time, acr and amr

	askedAll = askedSession | askedTenant | askedScope | askedAuthentication
)

// unusable are the claims of a token that are there in a form that cannot be used, which
// matters where [RequireScope], [RequireFresh], [RequireACR] or a denylist asks for them.
type unusable uint8

const (
	unusableScope unusable = 1 << iota
	unusableAuthTime
	unusableACR
	unusableTenant
)

// passOver returns nil, and notes what, if err is of a claim that nothing asks for.
func (r *reading) passOver(err error, asked asked, c *Claims, what unusable) error {
	if err == nil || r.asked&asked != 0 {
		return err
	}
	c.unusable |= what
	return nil
}

func (r *reading) decode(payload []byte) (*Claims, error) {
	p := r.profile
	var buf [16]strictjson.Member // more than that take memory
	payloadText, members, err := strictjson.Members(buf[:0], payload)
	if err != nil {
		return nil, fmt.Errorf("token: %w: claims: %w", errMalformed, err)
	}
	c := &Claims{payload: payloadText}
	hasIssuer, hasAudience := false, false
	in := newStandIns(p)
	for _, m := range members {
		name, v := m.Name, m.Value
		var err error
		switch name {
		case "iss":
			hasIssuer = true
			c.issuer, _ = v.Text() // whatever is no string is no issuer of ours
		case "aud":
			hasAudience = true
			err = c.setAudience(v)
		case "sub":
			c.subject, err = p.revocable(name, v)
		case "jti":
			c.id, err = p.revocable(name, v)
		case "client_id":
			c.client, err = p.revocable(name, v)
		case "sid":
			if v.Kind() != 'n' { // which is how some write that there is none
				c.session, err = p.revocable(name, v)
				err = r.passOver(err, askedSession, c, 0)
			}
		case "exp":
			c.expires, err = numericDate(name, v)
		case "iat":
			c.issued, err = numericDate(name, v)
		case shape.Minted:
			// Others may have it too, and let whom they like write it.
			if c.unheeded = !r.ours; r.ours {
				c.minted, err = milliseconds(name, v)
			}
		case "nbf":
			c.notBefore, err = numericDate(name, v)
		case "auth_time":
			c.authTime, err = numericDate(name, v)
			err = r.passOver(err, askedAuthentication, c, unusableAuthTime)
		case "scope":
			if v.Kind() != 'n' || r.asked&askedScope != 0 {
				c.scopes, err = scopes(name, v, p != nil && p.ScopeClaim == name)
				if err != nil {
					c.scopes = nil
				}
				err = r.passOver(err, askedScope, c, unusableScope)
			}
		case "acr":
			c.acr, err = text(name, v)
			err = r.passOver(err, askedAuthentication, c, unusableACR)
		case "amr":
			if c.amr, err = texts(name, v); err != nil {
				c.amr = nil
			}
			err = r.passOver(err, askedAuthentication, c, 0)
		case "cnf":
			c.binding, err = binding(v)
		case r.tenantClaim:
			if v.Kind() != 'n' {
				c.tenant, err = p.revocable(name, v)
				err = r.passOver(err, askedTenant, c, unusableTenant)
			}
		}
		if err == nil && in != nil {
			err = in.member(name, v)
		}
		if err != nil {
			return nil, err
		}
	}
	if in != nil {
		if err := in.fill(c, &hasAudience); err != nil {
			return nil, err
		}
	}
	switch {
	case !hasIssuer:
		return nil, missing("iss")
	case !hasAudience:
		return nil, missing("aud")
	}
	if err := p.required(c); err != nil {
		return nil, err
	}
	return c, nil
}

// required refuses claims that lack what is needed to end a token, by time or by an event.
func (p *Profile) required(c *Claims) error {
	switch {
	case !c.expires.set:
		return missing("exp")
	case !c.issued.set && !p.optional("iat"):
		return missing("iat")
	case c.subject == "" && !p.optional("sub"):
		return missing("sub")
	case c.client == "" && !p.optional("client_id"):
		return missing("client_id")
	case c.id == "" && !p.optional("jti"):
		return missing("jti")
	case c.id == "" && c.session == "" && c.subject == "":
		return claim("jti, sid and sub", "are all missing: nothing that names the token could be revoked")
	}
	return nil
}

func text(name string, v strictjson.Value) (string, error) {
	s, ok := v.Text()
	if !ok {
		return "", claim(name, "is not a string")
	}
	return s, nil
}

// revocable reads a claim that the denylist knows tokens by. One that no
// revocation could name is refused.
func (p *Profile) revocable(name string, v strictjson.Value) (string, error) {
	if v.Kind() == '0' && p.numeric(name) {
		const most = 1 << 53 // beyond it readers that have doubles see another number
		if n, ok := v.Int(); ok && n >= -most && n <= most && v.JSON() == strconv.FormatInt(n, 10) {
			return v.JSON(), nil
		}
		return "", claim(name, "is no integer that all readers agree on")
	}
	s, err := text(name, v)
	switch {
	case err != nil:
		return "", err
	case s == "":
		return "", claim(name, "is empty")
	case len(s) > revoke.MaxValueBytes:
		return "", claim(name, "is too long to be revoked")
	}
	if err := replica.CheckIdentifier(name, s); errors.Is(err, revoke.ErrCredential) {
		return "", claim(name, "has the form of a credential, which no revocation names")
	} else if err != nil {
		return "", claim(name, "begins or ends with white space or holds a control character, and no revocation names that")
	}
	return s, nil
}

// scopes reads the values of a scope, also from an array of them if that is allowed.
func scopes(name string, v strictjson.Value, array bool) ([]string, error) {
	if array && v.Kind() == '[' {
		all, err := texts(name, v)
		if err == nil && slices.ContainsFunc(all, func(s string) bool { return s == "" || strings.Contains(s, " ") }) {
			return nil, claim(name, "holds what is no scope-token")
		}
		return all, err
	}
	scope, err := text(name, v)
	n := 0 // of blanks alone a sender can write as many as of bytes
	for s := range strings.SplitSeq(scope, " ") {
		if s != "" {
			n++
		}
	}
	all := make([]string, 0, n)
	for s := range strings.SplitSeq(scope, " ") {
		if s != "" {
			all = append(all, s)
		}
	}
	return all, err
}

func texts(name string, v strictjson.Value) ([]string, error) {
	var all []string
	isArray, err := v.Elements(func(v strictjson.Value) error {
		s, err := text(name, v)
		all = append(all, s)
		return err
	})
	if !isArray {
		return nil, claim(name, "is not an array of strings")
	}
	return all, err
}

// setAudience reads aud. One name, which is usual, needs no memory of its own.
func (c *Claims) setAudience(v strictjson.Value) (err error) {
	if s, ok := v.Text(); ok {
		c.soleAudience[0] = s
		c.audience = c.soleAudience[:]
		return nil
	}
	c.audience, err = texts("aud", v)
	return err
}

// share replaces what c says by what cfg says where that is the same, before c is shared
// with others: strings at one address compare without being read, and many tokens say
// the same.
func (c *Claims) share(cfg *VerifierConfig) {
	if c.issuer == cfg.Issuer {
		c.issuer = cfg.Issuer
	}
	for i, a := range c.audience {
		if k := slices.Index(cfg.Audiences, a); k >= 0 {
			c.audience[i] = cfg.Audiences[k]
		}
	}
}

func textOrTexts(name string, v strictjson.Value) ([]string, error) {
	if s, ok := v.Text(); ok {
		return []string{s}, nil
	}
	return texts(name, v)
}

// numericDate reads a NumericDate. Zero and negative ones are dates long past,
// never absent ones.
func numericDate(name string, v strictjson.Value) (date, error) {
	if v.Kind() != '0' {
		return date{}, claim(name, "is not a number")
	}
	ms, ok := floorMilli(v.JSON())
	if !ok {
		return date{}, claim(name, "is out of range")
	}
	return date{ms: ms, set: true}, nil
}

// milliseconds reads an instant in unix milliseconds. It is an integer: of a fraction or
// an exponent two readers could make two numbers.
func milliseconds(name string, v strictjson.Value) (date, error) {
	ms, ok := v.Int()
	if !ok || ms < revoke.MinMillis || ms > shape.MaxSeconds*1000 {
		return date{}, claim(name, "is no integer of milliseconds since 1970")
	}
	return date{ms: ms, set: true}, nil
}

func missing(name string) error { return claim(name, "is missing") }

// claim names the claim and what is wrong with it, never its value.
func claim(name, wrong string) error {
	return fmt.Errorf("token: %w: %s %s", errClaims, name, wrong)
}
