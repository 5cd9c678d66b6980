package revoke

import (
	"fmt"
	"time"
)

// A Policy says what a check answers while its replica is not fresh. The zero
// Policy is [Deny]. Known revocations are refused under every policy.
type Policy struct {
	mode policyMode
	d    time.Duration
}

type policyMode uint8

const (
	policyDeny policyMode = iota
	policyMaxStaleness
	policyAllowYounger
	policyInsecureAllow
)

// Deny refuses every token with [ErrStale] while the replica is not fresh.
func Deny() Policy { return Policy{} }

// MaxStaleness accepts a replica proven up to date at most d ago, where d is
// larger than [Config].MaxStaleness and at most [Config].TokenLifetime: a replica that
// may be older than any token refuses none, which [InsecureAllow] says aloud. It has no
// effect on a replica that has never been fresh.
func MaxStaleness(d time.Duration) Policy { return Policy{policyMaxStaleness, d} }

// AllowYounger accepts tokens issued within the last d while the replica is not
// fresh, so that a revocation it has not seen is survived by at most d. It is
// meant for d well below the token lifetime.
func AllowYounger(d time.Duration) Policy { return Policy{policyAllowYounger, d} }

// InsecureAllow accepts every token that is not known to be revoked, however old
// the replica's knowledge. Users who are logged out, banned or robbed during an
// outage of the bus stay exposed until their tokens expire.
func InsecureAllow() Policy { return Policy{mode: policyInsecureAllow} }

// Validate returns an error if p can never take effect as written.
func (p Policy) Validate() error {
	switch p.mode {
	case policyMaxStaleness, policyAllowYounger:
		if p.d <= 0 {
			return fmt.Errorf("revoke: policy %s: the duration must be positive", p)
		}
	}
	return nil
}

// IsDeny reports whether p is the zero Policy.
func (p Policy) IsDeny() bool { return p.mode == policyDeny }

// String returns p as it is written in code, such as "AllowYounger(1m0s)".
func (p Policy) String() string {
	switch p.mode {
	case policyMaxStaleness:
		return fmt.Sprintf("MaxStaleness(%s)", p.d)
	case policyAllowYounger:
		return fmt.Sprintf("AllowYounger(%s)", p.d)
	case policyInsecureAllow:
		return "InsecureAllow"
	}
	return "Deny"
}
