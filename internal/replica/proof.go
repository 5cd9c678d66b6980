package replica

import (
	"context"
	"log/slog"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Judge takes what is to be read of the log now, while a subscription lives: a log
// whose retention can no longer be read, or is too short, is not fresh from here on, and
// one that was mended is again, as soon as heartbeats prove it. A mirror may have been
// made the log itself.
func (f *Feed) Judge(now revoke.Instant, info LogInfo) {
	if !f.closed {
		f.fork.mirror = info.Mirror
		f.store(now, f.judged(f.proof(), info.Retention))
	}
}

// judged returns p with the verdict on h. What was known of a longer retention holds for
// what is kept, and for how long: metadata that shrinks or is lost un-revokes nothing.
func (f *Feed) judged(p proof, h revoke.Retention) proof {
	h.MaxSkew = h.Slack() / 2 // also where h says none
	in.Extend(f.list, h)
	before := p.block
	switch {
	case h.TokenLifetime <= 0 || h.SessionLifetime <= 0:
		p.block = revoke.ReasonBadStream
	case f.cfg.TokenLifetime > h.TokenLifetime:
		p.block = revoke.ReasonRetention
	case f.cfg.MaxSkew != h.MaxSkew:
		p.block = revoke.ReasonMaxSkew
	default:
		p.block = revoke.ReasonNone
	}
	if p.block != revoke.ReasonBadStream {
		f.retention = revoke.Retention{
			TokenLifetime:   max(f.retention.TokenLifetime, h.TokenLifetime),
			SessionLifetime: max(f.retention.SessionLifetime, h.SessionLifetime),
			MaxSkew:         max(f.retention.MaxSkew, h.MaxSkew),
		}
	}
	if p.block == revoke.ReasonRetention && before != revoke.ReasonRetention {
		f.cfg.Logger.Warn("revocation replica: the stream keeps revocations for a shorter time than tokens may live; lower Config.TokenLifetime",
			"stream", h.TokenLifetime, "list", f.cfg.TokenLifetime)
	}
	if p.block == revoke.ReasonMaxSkew && before != revoke.ReasonMaxSkew {
		f.cfg.Logger.Warn("revocation replica: the stream was made for another MaxSkew: cutoffs would not reach as far as verifiers let tokens be ahead",
			"stream", h.MaxSkew, "list", f.cfg.MaxSkew)
	}
	return p
}

// bounds returns the retention by which an event's life is cut.
func (f *Feed) bounds() revoke.Retention {
	if f.retention == (revoke.Retention{}) {
		return revoke.DefaultRetention()
	}
	return f.retention
}

// hint tells why nothing is proven, where nothing better is known.
func (f *Feed) hint(now revoke.Instant, at Record, r revoke.Reason) {
	// What was in the log when the replay began is old by nature.
	p := f.proof()
	if p.reason == revoke.ReasonNoHeartbeat || p.reason == revoke.ReasonReplaying && at.Sequence > f.old {
		p.reason = r
		f.store(now, p)
	}
}

// A proof is what a Feed has established about its replica.
type proof struct {
	proven   revoke.Instant // P: every event acknowledged before it is applied; zero: none
	block    revoke.Reason  // withholds freshness whatever the age; ReasonNone: nothing does
	critical int64          // an event not understood withholds it until then, unix milliseconds of the stream's time
	reason   revoke.Reason  // what a replica that is not fresh suffers from
}

// proof returns what was established last, by this Feed or one before.
func (f *Feed) proof() (p proof) {
	p.proven, p.block, p.reason, p.critical = in.Proof(f.list)
	return p
}

// store publishes p and logs a change of state.
func (f *Feed) store(now revoke.Instant, p proof) {
	s, r, age := in.Prove(f.list, now, p.proven, p.block, p.reason, p.critical)
	if s == f.was {
		return
	}
	level := slog.LevelInfo
	if s == revoke.StateStale {
		level = slog.LevelWarn
	}
	f.cfg.Logger.Log(context.Background(), level, "revocation replica: state changed", "from", f.was.String(), "to", s.String(), "reason", r.String(), "age", age)
	f.was = s
}
