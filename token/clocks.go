package token

import (
	"sync/atomic"
	"time"
)

// IssuedAhead counts the tokens of one issuer whose iat lay ahead of the verifier's
// clock. Some that were accepted tell that two clocks differ a little; some that were
// refused, that they differ by more than MaxSkew, and that cutoffs do not hold this
// issuer's tokens until somebody sets its clock, or ours.
type IssuedAhead struct {
	Accepted uint64        // by MaxSkew at most
	Refused  uint64        // by more; also those whose hyt_at lay too far ahead
	Furthest time.Duration // of all of them
}

// IssuedAhead returns the counts of each issuer whose tokens v accepts, since v was made.
// A token counts each time that it comes.
func (v *Verifier) IssuedAhead() map[string]IssuedAhead {
	all := make(map[string]IssuedAhead, len(v.issuers))
	for iss, one := range v.issuers {
		all[iss] = one.clocks.read()
	}
	return all
}

// clocks tell of what an issuer's clock says beside ours. The zero clocks are ready.
type clocks struct {
	in, out  atomic.Uint64
	furthest atomic.Int64 // milliseconds

	skewed, ignored limiter // logged
}

func (c *clocks) read() IssuedAhead {
	return IssuedAhead{Accepted: c.in.Load(), Refused: c.out.Load(), Furthest: time.Duration(c.furthest.Load()) * time.Millisecond}
}

func (c *clocks) far(ms int64) {
	for {
		old := c.furthest.Load()
		if ms <= old || c.furthest.CompareAndSwap(old, ms) {
			return
		}
	}
}

func (c *clocks) accepted(ms int64) {
	c.in.Add(1)
	c.far(ms)
}

func (c *clocks) refused(a *acceptor, ms int64) {
	c.out.Add(1)
	c.far(ms)
	if n, ok := c.skewed.allow(time.Now(), time.Minute); ok {
		a.cfg.Logger.Warn("token: refused a token from the future: the issuer's clock and ours differ by more than MaxSkew or Leeway",
			"issuer", a.cfg.Issuer, "ahead", time.Duration(ms)*time.Millisecond, "more", n)
	}
}

// unheeded says that hyt_at was passed over.
func (c *clocks) unheeded(a *acceptor) {
	if _, ok := c.ignored.allow(time.Now(), time.Hour); ok {
		a.cfg.Logger.Warn("token: tokens carry hyt_at, and OwnIssuer is not set: if an Issuer of this library issues them, set it, or logins right after a cutoff are refused for a few seconds",
			"issuer", a.cfg.Issuer)
	}
}
