package revoke

import "time"

// Numbers of the protocol that more than one package needs. Each has its home here,
// because two copies of one number drift apart.
const (
	// MaxLeeway is the largest clock leeway that a verifier may use. What a replica
	// forgets, and when, depends on it.
	MaxLeeway = 5 * time.Minute

	// MaxLifetime bounds every lifetime: those of [Retention], and that of an event of
	// kind [KindKey]. It is ten years.
	MaxLifetime = 3653 * 24 * time.Hour

	// MaxSkewLimit is the largest MaxSkew of [Retention].
	MaxSkewLimit = 2 * time.Minute

	// MinMillis separates milliseconds from seconds: a time in unix milliseconds
	// is later than it, in 1973, or a mistake.
	MinMillis = 100_000_000_000

	// StreamMargin is how long a message stays in the stream past its event's Until:
	// longer than any replica keeps the entry, whatever the servers' clocks do.
	StreamMargin = graceAfterUntil + 3*time.Minute

	// graceAfterUntil keeps an entry past its Until: the largest leeway a verifier
	// may have on iat and again on exp, and what the clocks of publisher and verifier
	// may differ by (invariant 3).
	graceAfterUntil = 2*MaxLeeway + MaxSkewLimit

	// DefaultMaxStaleness is that of [Config] where it says none.
	DefaultMaxStaleness = 15 * time.Second

	defaultSkew = 2 * time.Second

	// MaxKeep and those that follow bound one event. They are constants of the protocol:
	// replicas of different versions must agree on them.
	MaxKeep        = 64  // sids in Keep
	MaxReasonBytes = 256 // Reason and Actor, each

	// MaxValueBytes is the largest issuer, jti, sid, sub, client_id or tenant that an
	// event can name, in bytes. A verifier refuses tokens with a longer one, which
	// could never be revoked.
	MaxValueBytes = 512

	maxAhead   = 24 * time.Hour // how far before a publisher's clock may lead the stream's
	defaultKey = 365 * 24 * time.Hour
)

var minTime = time.UnixMilli(MinMillis)

// Retention is what every party must agree on. It is fixed when the stream is made.
type Retention struct {
	TokenLifetime   time.Duration // the longest exp − iat of any access token
	SessionLifetime time.Duration // the longest a session can go on minting tokens

	// MaxSkew is how far the clocks of any two of publishers, issuers and verifiers may
	// differ, in whole milliseconds. Zero means 2 s, as in streams that do not say.
	MaxSkew time.Duration
}

// DefaultRetention is used where nothing else is configured: an hour, 90 days and 2 s.
func DefaultRetention() Retention {
	return Retention{TokenLifetime: time.Hour, SessionLifetime: 90 * 24 * time.Hour, MaxSkew: defaultSkew}
}

// Slack is how far a cutoff reaches beyond its publisher's clock: twice MaxSkew. An
// issuer's clock may be ahead of the publisher's by MaxSkew, and no token is issued for
// later than MaxSkew after its issuer's clock. Nor does any verifier let in a token
// whose iat is further ahead than that.
func (h Retention) Slack() time.Duration { return 2 * h.skew() }

func (h Retention) skew() time.Duration {
	if h.MaxSkew <= 0 {
		return defaultSkew
	}
	return h.MaxSkew
}

// or returns the larger of each.
func (h Retention) or(o Retention) Retention {
	return Retention{max(h.TokenLifetime, o.TokenLifetime), max(h.SessionLifetime, o.SessionLifetime), max(h.MaxSkew, o.MaxSkew)}
}

// Longest is how far ahead the Until of an event of kind k may lie.
func (h Retention) Longest(k Kind) time.Duration {
	if k == KindKey {
		return MaxLifetime
	}
	return max(h.TokenLifetime, h.SessionLifetime) + 24*time.Hour
}

// ceilMilli rounds t up to whole milliseconds, the unit of the protocol: an event
// revokes no less for having been written down.
func ceilMilli(t time.Time) time.Time {
	if f := t.Truncate(time.Millisecond); !f.Equal(t) {
		return f.Add(time.Millisecond)
	}
	return t
}
