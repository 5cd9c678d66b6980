package token

import (
	"context"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// RecheckIdentity is [Verifier.Recheck] for work that waits outside this process, such as a
// job in a queue. id is what [Claims.Identity] returned when the work was accepted, and is kept
// with it, as JSON for example; the token need not be. It checks that the issuer is one of v's,
// that id lacks nothing by which an event could revoke the token, its times, and the denylist.
// The zero Identity is refused. The error is as Verify's.
//
// After ExpiresAt, widened by Leeway, the answer is [ErrExpired], since the denylist then no longer
// remembers. Work that waits longer is judged by what keeps the sessions. Whether the key is still
// in its set is not checked; a revoked one is refused. An Identity holds no scope, auth_time or
// acr: options that ask for them refuse it.
//
// An Identity is not signed: who can write where it is kept can have work done in anybody's name.
func (v *Verifier) RecheckIdentity(ctx context.Context, id revoke.Identity, opts ...VerifyOption) error {
	err := v.recheckIdentity(ctx, &id, together(opts, new(demands)))
	if err != nil {
		v.refusals[causeOf(err)].Add(1)
	}
	return err
}

func (v *Verifier) recheckIdentity(ctx context.Context, id *revoke.Identity, d *demands) error {
	a := v.of(id.Issuer)
	if a == nil {
		return fmt.Errorf("token: %w: iss is none of those configured", errIssuer)
	}
	if err := a.takes(ctx, d); err != nil {
		return err
	}
	c := &Claims{
		issuer: id.Issuer, id: id.Token, session: id.Session, subject: id.Subject, client: id.Client, tenant: id.Tenant, key: id.Key,
		issued: dateOf(id.IssuedAt), expires: dateOf(id.ExpiresAt),
	}
	if a.cfg.OwnIssuer {
		c.minted = dateOf(id.MintedAt)
	}
	if err := a.issued(c); err != nil {
		return err
	}
	if err := a.profile.complete(c); err != nil {
		return err
	}
	now := revoke.Now()
	ms := now.Wall / int64(time.Millisecond)
	if err := a.inForce(c, ms); err != nil {
		return err
	}
	if err := a.revoked(c, nil, now, a.policy(d)); err != nil {
		return err
	}
	return a.sufficient(c, d, ms)
}

func dateOf(t time.Time) date {
	if t.IsZero() {
		return date{}
	}
	return date{ms: t.UnixMilli(), set: true}
}

// complete refuses claims that lack what a verified token has, so that no event could revoke what
// they stand for, or hold what no event can name.
func (p *Profile) complete(c *Claims) error {
	if c.key == "" {
		return claim("the key's thumbprint", "is missing")
	}
	for _, f := range []struct{ name, value string }{{"jti", c.id}, {"sid", c.session}, {"sub", c.subject}, {"client_id", c.client}, {"tenant", c.tenant}} {
		if f.value == "" {
			continue
		}
		if len(f.value) > revoke.MaxValueBytes || replica.CheckIdentifier(f.name, f.value) != nil {
			return claim(f.name, "is nothing that a revocation names")
		}
	}
	return p.required(c)
}
