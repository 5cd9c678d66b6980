// Package inside carries what package revoke does for package replica, and shows nobody
// else, from the one to the other.
package inside

import "sync/atomic"

// Revoke is set by package revoke. Package replica, which imports it, says in an interface
// what it must be able to do; this package can not, since that speaks of revoke's types.
var Revoke any

// Counters are those of a List that its feed raises.
type Counters struct {
	FutureHeartbeats, SkewedHeartbeats, Gaps, AnchorsLost, Replays, Agreed, Disputed atomic.Uint64
}
