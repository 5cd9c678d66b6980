package publish

import (
	"testing"
	"time"
)

// The numbers that documentation and runbooks rely on, or that were weighed against each
// other.
func TestNumbers(t *testing.T) {
	for name, c := range map[string]struct{ got, want any }{
		// publishing
		"inFlight": {inFlight, 64}, "batchesInFlight": {batchesInFlight, 2}, "maxBatch": {maxBatch, 1000}, "minBatch": {minBatch, 16}, "maxBatchBytes": {maxBatchBytes, 1 << 20}, "limitSingle": {limitSingle, 90}, "limitMass": {limitMass, 97}, "limitBatch": {limitBatch, 80},
		"firstBackoff": {firstBackoff, 50 * time.Millisecond}, "maxBackoff": {maxBackoff, time.Second}, "recordOverhead": {recordOverhead, 256},
		"fillInterval": {fillInterval, 30 * time.Second}, "refusalInterval": {refusalInterval, time.Second}, "settingsAge": {settingsAge, 2 * time.Second}, "recountInterval": {recountInterval, 20 * time.Millisecond},
		"maxRemembered": {maxRemembered, 100_000}, "maxRememberedBytes": {maxRememberedBytes, 64 << 20}, "republishWorkers": {republishWorkers, 16}, "maxRepublishWait": {maxRepublishWait, 30 * time.Second},
		"firstDoubtPause": {firstDoubtPause, time.Minute}, "maxDoubtPause": {maxDoubtPause, 8 * time.Hour}, "maxWitnesses": {maxWitnesses, 32}, "maxEnds": {maxEnds, 2}, "asideFor": {asideFor, 10 * time.Minute}, "tolerance": {tolerance, 10 * time.Second},
		"formerSlack": {formerSlack, 2 * time.Second},
		// the outbox
		"outboxVersion": {outboxVersion, 1}, "maxOutboxBytes": {maxOutboxBytes, 512 << 20}, "maxOutboxLine": {maxOutboxLine, 256 << 10}, "compactAfter": {compactAfter, 16 << 20}, "reopenPause": {reopenPause, time.Second}, "maxAside": {maxAside, 99},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, and %v is told", name, c.got, c.want)
		}
	}
}
