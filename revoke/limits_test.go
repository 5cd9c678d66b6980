package revoke_test

import (
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// The slack of a cutoff is twice what clocks may differ by, at home in one place.
func TestSlack(t *testing.T) {
	for skew, want := range map[time.Duration]time.Duration{0: 4 * time.Second, -1: 4 * time.Second, 500 * time.Millisecond: time.Second, 10 * time.Second: 20 * time.Second} {
		h := revoke.Retention{TokenLifetime: time.Hour, SessionLifetime: time.Hour, MaxSkew: skew}
		if got := h.Slack(); got != want {
			t.Errorf("MaxSkew %s: slack %s, want %s", skew, got, want)
		}
		now := time.UnixMilli(1_900_000_000_000)
		e, err := revoke.Event{Issuer: iss, Kind: revoke.KindClient, Value: "x"}.Complete(now, h)
		if err != nil || !e.Before.Equal(now.Add(want)) {
			t.Errorf("MaxSkew %s: before %s, %v", skew, e.Before.Sub(now), err)
		}
		for d, good := range map[time.Duration]bool{want: true, want + 2*time.Millisecond: false} {
			if _, err := (revoke.Event{Issuer: iss, Kind: revoke.KindClient, Value: "x", Before: now.Add(d)}).Complete(now, h); (err == nil) != good {
				t.Errorf("MaxSkew %s: a cutoff %s ahead: %v", skew, d, err)
			}
		}
	}
}

// Invariant 3: an entry outlives the last token that it can concern, by whatever two
// clocks and leeways, and its message outlives the entry.
func TestMarginsCoverWhatTheyMust(t *testing.T) {
	const kept = grace // past Until
	if least := 2*revoke.MaxLeeway + revoke.MaxSkewLimit; kept < least {
		t.Errorf("entries are kept for %s past their Until, less than %s", kept, least)
	}
	if revoke.StreamMargin <= kept {
		t.Errorf("messages are kept for %s past their event's Until, entries for %s", revoke.StreamMargin, kept)
	}
}
