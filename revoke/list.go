package revoke

import (
	"log/slog"
	"time"
)

// Config configures a [List]. The zero Config is usable and secure.
type Config struct {
	// MaxStaleness is the guaranteed bound: a replica not proven up to date within
	// it answers [ErrStale]. Zero means 15 s. It must be at least
	// 3 × HeartbeatInterval + MaxSkew.
	MaxStaleness time.Duration

	// HeartbeatInterval is how often some member of the system beats. Zero means 1 s.
	HeartbeatInterval time.Duration

	// MaxSkew is how far two members' clocks may differ. Zero means 2 s.
	MaxSkew time.Duration

	// TokenLifetime is the longest exp − iat of any access token; verifiers refuse
	// longer ones, which would outlive their revocation. Zero means one hour.
	TokenLifetime time.Duration

	// SessionLifetime is the longest life of a session. It matters to a Local List
	// only, others use the stream's. Zero means 90 days.
	SessionLifetime time.Duration

	// FalsePositiveRate is the Bloom filter's, between 1e-9 and 0.1. A false positive
	// costs one exact look-up and never refuses a token. Zero means 1e-4.
	FalsePositiveRate float64

	// Local says that this List is the only replica there is: no bus will follow,
	// Apply in this process is the only source, and the List is always fresh. False
	// means that it is not fresh until a bus feeds it.
	Local bool

	// Logger receives changes of state. Nil means silent.
	Logger *slog.Logger
}
