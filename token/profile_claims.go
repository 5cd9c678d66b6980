package token

import (
	"slices"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

// standIns collects, member by member, what a Profile looks for beside the
// registered claims.
type standIns struct {
	p                   *Profile
	audience, scopes    []string
	hasAudience         bool
	client, id, session string
	required            int // of p.Require, met so far
}

func newStandIns(p *Profile) *standIns {
	if p == nil {
		return nil
	}
	return &standIns{p: p}
}

func (s *standIns) member(name string, v strictjson.Value) (err error) {
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
	if name == "" {
		return nil // which is what the fields below mean by it: none
	}
	if name == p.AudienceClaim {
		s.hasAudience = true
		if s.audience, err = textOrTexts(name, v); err != nil {
			return err
		}
	}
	switch name {
	case p.ClientClaim:
		s.client, err = revocable(name, v)
	case p.IDClaim:
		s.id, err = revocable(name, v)
	case p.SessionClaim:
		s.session, err = revocable(name, v)
	case p.ScopeClaim:
		s.scopes, err = scopes(name, v, true)
	}
	return err
}

// fill puts what was found where the token has no registered claim for it.
func (s *standIns) fill(c *Claims, hasAudience *bool) error {
	if s.required < len(s.p.Require) {
		for name := range s.p.Require {
			if _, ok := c.Claim(name); !ok {
				return missing(name)
			}
		}
	}
	if !*hasAudience && s.hasAudience {
		c.audience, *hasAudience = s.audience, true
	}
	if c.scopes == nil {
		c.scopes = s.scopes
	}
	for _, f := range []struct {
		dst     *string
		standIn string
	}{{&c.client, s.client}, {&c.id, s.id}, {&c.session, s.session}} {
		if *f.dst == "" {
			*f.dst = f.standIn
		}
	}
	return nil
}
