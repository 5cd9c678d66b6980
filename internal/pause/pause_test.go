package pause

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// It doubles until it has come to its limit, and does not overflow however often.
func TestGrowing(t *testing.T) {
	for _, c := range []struct {
		first, limit time.Duration
		doublings    int
		want         time.Duration
	}{
		{time.Second, time.Minute, 0, time.Second},
		{time.Second, time.Minute, 1, 2 * time.Second},
		{time.Second, time.Minute, 5, 32 * time.Second},
		{time.Second, time.Minute, 6, time.Minute},
		{time.Second, time.Minute, math.MaxInt, time.Minute},
		{time.Second, 32 * time.Second, 5, 32 * time.Second},
		{time.Minute, time.Second, 0, time.Second},
		{1, math.MaxInt64, 62, 1 << 62},
		{1, math.MaxInt64, 63, math.MaxInt64},
		{3, math.MaxInt64, 62, math.MaxInt64},
	} {
		if got := Growing(c.first, c.limit, c.doublings); got != c.want {
			t.Errorf("%s doubled %d times, at most %s: %s, want %s", c.first, c.doublings, c.limit, got, c.want)
		}
	}
}

// It takes every value from its least to its most, and no other.
func TestBetween(t *testing.T) {
	const least, most = 5, 8
	seen := map[time.Duration]bool{}
	for range 1000 {
		d := Between(least, most)
		if d < least || d > most {
			t.Fatalf("%d, want between %d and %d", d, least, most)
		}
		seen[d] = true
	}
	if len(seen) != 4 {
		t.Errorf("only %v of four values", seen)
	}
	for _, most := range []time.Duration{least, least - 1, -1} { // nothing to choose from
		if d := Between(least, most); d != least {
			t.Errorf("between %d and %d: %d", least, most, d)
		}
	}
}

// Attempts never become a storm, and never stop.
func TestBackoff(t *testing.T) {
	const first, limit = 100 * time.Millisecond, 5 * time.Second
	for failures := range 100 {
		seen := map[time.Duration]bool{}
		least, most := min(first/2<<min(failures, 20), limit/2), min(first<<min(failures, 20), limit)
		if failures == 0 {
			least = 0
		}
		for range 100 {
			d := Backoff(first, limit, failures)
			if d < least || d > most {
				t.Fatalf("after %d failures: %s, want between %s and %s", failures, d, least, most)
			}
			seen[d.Truncate((most-least)/10)] = true
		}
		if len(seen) < 5 {
			t.Errorf("after %d failures all pauses are alike: %v", failures, seen)
		}
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("hung up")
		for _, c := range []struct {
			name      string
			d, ends   time.Duration // ends: when the context does; 0: before; negative: never
			want      error
			wantAfter time.Duration
		}{
			{"all of it", time.Minute, -1, nil, time.Minute},
			{"nothing to wait for", 0, -1, nil, 0},
			{"less than nothing", -time.Second, -1, nil, 0},
			{"ended meanwhile", time.Minute, time.Second, why, time.Second},
			{"ended before", time.Minute, 0, why, 0},
			{"ended before, and nothing to wait for", 0, 0, why, 0},
		} {
			ctx, cancel := context.WithCancelCause(t.Context())
			switch {
			case c.ends == 0:
				cancel(why)
			case c.ends > 0:
				time.AfterFunc(c.ends, func() { cancel(why) })
			}
			began := time.Now()
			err := Wait(ctx, c.d)
			if took := time.Since(began); err != c.want || took != c.wantAfter {
				t.Errorf("%s: error %v after %s, want %v after %s", c.name, err, took, c.want, c.wantAfter)
			}
			cancel(nil)
		}
	})
}
