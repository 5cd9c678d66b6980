// Package pause says how long to wait before trying again, and waits for it.
package pause

import (
	"context"
	"math/rand/v2"
	"time"
)

// Growing returns first, doubled as often as that, and at most limit.
func Growing(first, limit time.Duration, doublings int) time.Duration {
	if first > limit>>doublings { // first << doublings could overflow
		return limit
	}
	return first << doublings
}

// Between returns a random duration from least to most, both included, so that many
// processes that began to wait together do not go on together.
func Between(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + rand.N(most-least+1)
}

// Backoff returns the pause before the attempt that follows so many failures in a row: at
// most first if there was none, then between half of what [Growing] returns and all of it.
func Backoff(first, limit time.Duration, failures int) time.Duration {
	if failures == 0 {
		return Between(0, first)
	}
	d := Growing(first, limit, failures)
	return Between(d/2, d)
}

// Wait waits for d. If ctx ends before, or has ended when d is over, it returns ctx's
// cause.
func Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}
