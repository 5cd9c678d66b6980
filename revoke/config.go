package revoke

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Config configures a [List]. The zero Config is usable and secure.
type Config struct {
	// MaxStaleness is the guaranteed bound: a replica not proven up to date within
	// it answers [ErrStale]. Zero means 15 s. It must be at least 3 × HeartbeatInterval +
	// MaxSkew and at most TokenLifetime, after which every token has expired anyway, or
	// twice that least and 15 s, where these are more. Above a minute it is logged. Behind
	// a mirror of the stream each heartbeat proves what the one before stood for, so that
	// less than 5 × HeartbeatInterval + MaxSkew makes the replica stale now and then, on a
	// normal day, which is logged when it follows one.
	MaxStaleness time.Duration

	// HeartbeatInterval is how often some member of the system beats. Zero means 1 s.
	HeartbeatInterval time.Duration

	// MaxSkew is how far two members' clocks may differ, in whole milliseconds, at most
	// two minutes. It must be that of the stream, or the List is never fresh
	// ([ReasonMaxSkew]): cutoffs reach twice as far ahead, and verifiers let in no iat
	// that is further ahead than once. Zero means 2 s. The bound holds
	// while clocks do not differ by more: [Stats].FutureHeartbeats tells of one that is ahead,
	// whose heartbeats are not believed, unless they come late by as much as it is ahead.
	MaxSkew time.Duration

	// TokenLifetime is the longest exp − iat of any access token; verifiers refuse
	// longer ones, which would outlive their revocation. It must not exceed that of the
	// stream, or the List is never fresh ([ReasonRetention]). Zero means one hour.
	TokenLifetime time.Duration

	// SessionLifetime is the longest life of a session. It bounds events given to
	// [List.Apply]; events from a bus are bounded by the stream's. Zero means 90 days.
	SessionLifetime time.Duration

	// FalsePositiveRate is the Bloom filter's, between 1e-9 and 0.1. A false positive
	// costs one exact look-up and never refuses a token. The filter takes 3 bytes an
	// entry at 1e-4, 2 at 1e-3, 7 at 1e-6 and 24 at 1e-9. Zero means 1e-4.
	FalsePositiveRate float64

	// Local says that this List is the only replica there is: no bus will follow,
	// Apply in this process is the only source, and the List is always fresh, which is
	// logged. False means that it is not fresh until a bus feeds it.
	Local bool

	// StateFile names a file in which a follower keeps what the List knows, so that
	// after a restart known revocations are refused before the bus answers. NewList
	// reads it; [List.SaveState] writes it, mode 0600, replacing it as a whole. Give each
	// List its own, in a directory where nobody else may write: while one List
	// is followed, no other List writes the file, and says so ([List.StateFile]; on Windows
	// nobody notices), for which a file of that name and ".lock" stays there, empty.
	//
	// It is a hint: it proves nothing fresh, and one that cannot be used is reported
	// ([List.StateFile]) and otherwise ignored. It holds no token, jti, sid or subject,
	// but keyed hashes of them beside the key: its readers can find out whether and
	// until when something that they can guess, a user's name, is revoked. Who can
	// write it can have tokens refused, none accepted. Empty means no file.
	StateFile string

	// Logger receives changes of state and, at once and then at most once a minute each,
	// what is wrong with messages of the log. Nil means silent; what is wrong with
	// messages then goes to the bus's Logger.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	for _, f := range []struct {
		name string
		d    *time.Duration
		def  time.Duration
	}{
		{"MaxStaleness", &c.MaxStaleness, DefaultMaxStaleness},
		{"HeartbeatInterval", &c.HeartbeatInterval, time.Second},
		{"MaxSkew", &c.MaxSkew, DefaultRetention().MaxSkew},
		{"TokenLifetime", &c.TokenLifetime, DefaultRetention().TokenLifetime},
		{"SessionLifetime", &c.SessionLifetime, DefaultRetention().SessionLifetime},
	} {
		if *f.d < 0 {
			return c, fmt.Errorf("revoke: Config.%s is negative", f.name)
		}
		if *f.d == 0 {
			*f.d = f.def
		}
	}
	if c.FalsePositiveRate == 0 {
		c.FalsePositiveRate = 1e-4
	}
	least := 3*c.HeartbeatInterval + c.MaxSkew
	switch {
	case c.HeartbeatInterval <= time.Hour && c.MaxSkew <= time.Hour && c.MaxStaleness < least:
		return c, fmt.Errorf("revoke: Config.MaxStaleness is %s, less than 3 × HeartbeatInterval + MaxSkew = %s: ordinary delays would make the replica stale", c.MaxStaleness, least)
	case c.HeartbeatInterval > time.Hour || c.MaxSkew > time.Hour:
		return c, errors.New("revoke: Config.HeartbeatInterval or MaxSkew exceeds an hour")
	case !(c.FalsePositiveRate >= 1e-9 && c.FalsePositiveRate <= 0.1):
		return c, fmt.Errorf("revoke: Config.FalsePositiveRate %g is not between 1e-9 and 0.1", c.FalsePositiveRate)
	case c.HeartbeatInterval < 10*time.Millisecond:
		return c, fmt.Errorf("revoke: Config.HeartbeatInterval %s is below 10 ms (a number without its unit?): it would flood the stream", c.HeartbeatInterval)
	case c.MaxSkew < time.Millisecond:
		return c, fmt.Errorf("revoke: Config.MaxSkew %s is below a millisecond (a number without its unit?)", c.MaxSkew)
	case c.SessionLifetime < time.Second:
		return c, fmt.Errorf("revoke: Config.SessionLifetime %s is below a second (a number without its unit?)", c.SessionLifetime)
	case c.TokenLifetime < time.Second:
		return c, fmt.Errorf("revoke: Config.TokenLifetime %s is below a second (a number without its unit?)", c.TokenLifetime)
	case c.MaxSkew%time.Millisecond != 0:
		return c, fmt.Errorf("revoke: Config.MaxSkew %s is not in whole milliseconds", c.MaxSkew)
	case c.MaxSkew > MaxSkewLimit:
		return c, fmt.Errorf("revoke: Config.MaxSkew %s exceeds %s: a revocation could be forgotten before its token", c.MaxSkew, MaxSkewLimit)
	case c.TokenLifetime > MaxLifetime || c.SessionLifetime > MaxLifetime:
		return c, errors.New("revoke: Config.TokenLifetime or SessionLifetime exceeds ten years")
	}
	if most := max(c.TokenLifetime, 2*least, DefaultMaxStaleness); c.MaxStaleness > most {
		return c, fmt.Errorf("revoke: Config.MaxStaleness is %s, more than %s: every token would expire before the replica refused to vouch for it", c.MaxStaleness, most)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// warn logs each setting that weakens what a List promises.
func (c *Config) warn() {
	if c.Local {
		c.Logger.Warn("revocation replica: Local: it is always fresh, and hears of no revocation but those applied in this process")
	}
	if c.MaxStaleness > time.Minute {
		c.Logger.Warn("revocation replica: tokens are accepted for long after the last proof that nothing was missed", "MaxStaleness", c.MaxStaleness)
	}
	if c.MaxSkew > time.Minute {
		c.Logger.Warn("revocation replica: clocks may differ by much: so much longer may a revocation go unheard", "MaxSkew", c.MaxSkew)
	}
}
