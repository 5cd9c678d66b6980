package revoke

import (
	"testing"
	"time"
)

// These numbers are of the protocol: replicas of different versions, and the stream, must agree
// on them.
func TestNumbersOfTheProtocol(t *testing.T) {
	for name, c := range map[string][2]time.Duration{
		"MaxLifetime": {MaxLifetime, 10*365*24*time.Hour + 3*24*time.Hour}, "MaxSkewLimit": {MaxSkewLimit, 120 * time.Second},
		"StreamMargin": {StreamMargin, graceAfterUntil + 180*time.Second}, "graceAfterUntil": {graceAfterUntil, 720 * time.Second}, "MaxLeeway": {MaxLeeway, 300 * time.Second},
		"DefaultMaxStaleness": {DefaultMaxStaleness, 15 * time.Second}, "defaultSkew": {defaultSkew, 2000 * time.Millisecond},
		"MaxKeep": {MaxKeep, 64}, "MaxReasonBytes": {MaxReasonBytes, 256}, "MinMillis": {MinMillis, 100_000_000_000},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %d, want %d", name, c[0], c[1])
		}
	}
}
