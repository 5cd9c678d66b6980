package publish

import (
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
)

// However long an event is needed, it counts in digests until 5 minutes before it would
// have expired without what digests take, at whatever time of the day it is published:
// until then a mirror that lacks it is found out.
func TestEventsCountAsLongAsTheyAreNeeded(t *testing.T) {
	midnight := time.Unix(1_800_000_000, 0).Truncate(24 * time.Hour)
	var needs []time.Duration
	for _, border := range []time.Duration{3 * time.Hour, 3*24*time.Hour - time.Hour, 3 * 24 * time.Hour, 4 * 24 * time.Hour} {
		for d := -2 * time.Hour; d <= 2*time.Hour; d += 10 * time.Minute {
			needs = append(needs, border+d-time.Second, border+d-time.Millisecond, border+d, border+d+time.Millisecond, border+d+time.Minute)
		}
	}
	needs = append(needs, 20*time.Minute, time.Hour, 30*24*time.Hour, 90*24*time.Hour, 3650*24*time.Hour)
	for _, need := range needs {
		for hour := range 48 {
			at := midnight.Add(time.Duration(hour)*30*time.Minute + 29*time.Second)
			event := replica.Record{Sequence: 7, Time: at, Subject: "event", Data: []byte("x"), Life: ttl(need)}
			beat := replica.Record{Sequence: 9, Time: at.Add(need - 5*time.Minute), Subject: wire.HeartbeatSubject, Life: 15 * time.Minute}
			var whole, lacking replica.LogDigest
			whole.Add(&event)
			whole.Add(&beat)
			lacking.Add(&beat)
			if whole.At(&beat) == lacking.At(&beat) {
				t.Fatalf("an event needed for %s, published at %s to live %s, no longer counts 5 minutes before", need, at.UTC().Format(time.TimeOnly), event.Life)
			}
		}
	}
}
