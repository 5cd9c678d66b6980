package token

import (
	"slices"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

// standIns collects, member by member, what a Profile looks for beside the
// registered claims. What stands in is read where the registered claim is missing, and
// nowhere else: beside one it is not asked for.
type standIns struct {
	p                                     *Profile
	audience, scopes, client, id, session strictjson.Value // as they stand in the token
	required                              int              // of p.Require, met so far
}

func newStandIns(p *Profile) *standIns {
	if p == nil {
		return nil
	}
	return &standIns{p: p}
}

func (s *standIns) member(name string, v strictjson.Value) error {
	p := s.p
	if slices.Contains(p.Refuse, name) {
		return claim(name, "marks another kind of token")
	}
	if values, ok := p.Require[name]; ok {
		if got, isText := v.Text(); !isText || !slices.Contains(values, got) {
			return claim(name, "is not what is required")
		}
		s.required++
	}
	if name == "" || v.Kind() == 'n' {
		return nil // an empty field of p means none, as does null to some issuers
	}
	if name == p.AudienceClaim { // which may be another's of those below
		s.audience = v
	}
	switch name {
	case p.ClientClaim:
		s.client = v
	case p.IDClaim:
		s.id = v
	case p.SessionClaim:
		s.session = v
	case p.ScopeClaim:
		s.scopes = v
	}
	return nil
}

// fill puts what was found where the token has no registered claim for it.
func (s *standIns) fill(c *Claims, hasAudience *bool) (err error) {
	if s.required < len(s.p.Require) {
		for name := range s.p.Require {
			if _, ok := c.Claim(name); !ok {
				return missing(name)
			}
		}
	}
	if !*hasAudience && s.audience.Kind() != 0 {
		*hasAudience = true
		if c.audience, err = textOrTexts(s.p.AudienceClaim, s.audience); err != nil {
			return err
		}
	}
	if c.scopes == nil && c.unusable&unusableScope == 0 && s.scopes.Kind() != 0 {
		if c.scopes, err = scopes(s.p.ScopeClaim, s.scopes, true); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		dst     *string
		name    string
		standIn strictjson.Value
	}{{&c.client, s.p.ClientClaim, s.client}, {&c.id, s.p.IDClaim, s.id}, {&c.session, s.p.SessionClaim, s.session}} {
		if *f.dst == "" && f.standIn.Kind() != 0 {
			if *f.dst, err = s.p.revocable(f.name, f.standIn); err != nil {
				return err
			}
		}
	}
	return nil
}
