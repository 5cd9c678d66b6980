package token

import (
	"sync/atomic"
	"time"
)

// unnamed tells which kinds of events cannot revoke the tokens that come, for want of a
// claim. A claim that the configuration names and that no token has is a mistake, or
// the issuer's configuration, and nothing fails for it: it is said once.
type unnamed struct {
	kinds [numNames]struct {
		without atomic.Uint64
		seen    atomic.Bool // a token had it
		said    atomic.Bool
	}
	passedOver limiter // tenants of a form that no event names
}

const numNames = 5

var names = [numNames]string{"token", "session", "subject", "client", "tenant"}

func (u *unnamed) addTo(all map[string]uint64) {
	for i := range u.kinds {
		if n := u.kinds[i].without.Load(); n > 0 {
			all[names[i]] += n
		}
	}
}

// note looks at the claims of a token that is accepted and was not remembered.
func (u *unnamed) note(a *acceptor, c *Claims) {
	for i, value := range [numNames]string{c.id, c.session, c.subject, c.client, c.tenant} {
		n := &u.kinds[i]
		switch {
		case value == "":
			n.without.Add(1)
			if a.named[i] != "" && !n.seen.Load() && !n.said.Swap(true) {
				a.cfg.Logger.Warn("token: no token so far has a claim that the configuration names: no event of that kind revokes them",
					"issuer", a.cfg.Issuer, "kind", names[i], "claim", a.named[i])
			}
		case !n.seen.Load():
			n.seen.Store(true)
		}
	}
	if c.unusable&unusableTenant != 0 && a.cfg.Revocations != nil {
		if _, ok := u.passedOver.allow(time.Now(), time.Hour); ok {
			a.cfg.Logger.Warn("token: tokens have a claim tenant of a form that no event names, which is passed over: TenantClaim names the claim that is meant", "issuer", a.cfg.Issuer)
		}
	}
}

// namedClaims returns what cfg names of its own accord, in the order of names.
func namedClaims(cfg *VerifierConfig, tenant bool) (named [numNames]string) {
	p := &cfg.Profile
	named[0], named[1], named[3] = p.IDClaim, p.SessionClaim, p.ClientClaim
	if tenant {
		named[4] = cfg.TenantClaim
	}
	return named
}
