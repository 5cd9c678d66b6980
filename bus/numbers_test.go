package bus

import (
	"testing"
	"time"
)

// The numbers that documentation, other languages, other versions and the runbooks rely
// on, or that were weighed against each other. The other tests use their names: who
// changes one changes it here, and looks for where it is told.
func TestNumbers(t *testing.T) {
	for name, c := range map[string]struct{ got, want any }{
		// answers to roll calls
		"maxMarks": {maxMarks, 4096}, "maxKept": {maxKept, 1024}, "maxQuestions": {maxQuestions, 256}, "questionQueue": {questionQueue, 256},
		"maxAskers": {maxAskers, 16}, "answerRate": {answerRate, 500}, "answerBurst": {answerBurst, 500}, "announceAgain": {announceAgain, 10 * time.Minute}, "maxDenied": {maxDenied, 64},
		// heartbeats and followers
		"barrierSpacing": {barrierSpacing, 10 * time.Millisecond}, "lostBeats": {lostBeats, 3}, "signTimeout": {signTimeout, 2 * time.Second}, "deniedPause": {deniedPause, 30 * time.Second}, "maxHold": {maxHold, 30 * time.Second},
		"pullMessages": {pullMessages, 500}, "leastPull": {leastPull, 125}, "pullBytes": {pullBytes, 16 << 20}, "pullExpiry": {pullExpiry, 30}, "createTimeout": {createTimeout, 5 * time.Second}, "abandonedAfter": {abandonedAfter, time.Minute}, "maxLeft": {maxLeft, 16},
		"atOnce": {atOnce, 64}, "firstPause": {firstPause, 100 * time.Millisecond}, "maxPause": {maxPause, 5 * time.Second}, "maxPatience": {maxPatience, 5 * time.Minute}, "rewind": {rewind, 1}, "maxFlights": {maxFlights, 4},
		"lookInterval": {lookInterval, 30 * time.Second}, "minLook": {minLook, time.Second}, "troubledFactor": {troubledFactor, 6}, "savePause": {savePause, 10 * time.Second},
		"secondTimeout": {secondTimeout, 10 * time.Minute}, "secondSpread": {secondSpread, time.Minute}, "secondSpreadMirror": {secondSpreadMirror, 10 * time.Second},
		// publishing
		"defaultTimeout": {defaultTimeout, 15 * time.Second}, "batchWorkers": {batchWorkers, 64}, "limitSingle": {limitSingle, 90}, "limitMass": {limitMass, 97}, "limitBatch": {limitBatch, 80},
		"attemptTimeout": {attemptTimeout, 2 * time.Second}, "firstBackoff": {firstBackoff, 50 * time.Millisecond}, "maxBackoff": {maxBackoff, time.Second}, "recordOverhead": {recordOverhead, 256},
		"infoTimeout": {infoTimeout, 2 * time.Second}, "fillInterval": {fillInterval, 30 * time.Second}, "refusalInterval": {refusalInterval, time.Second}, "settingsAge": {settingsAge, 2 * time.Second}, "recountInterval": {recountInterval, 20 * time.Millisecond},
		"maxRemembered": {maxRemembered, 100_000}, "maxRememberedBytes": {maxRememberedBytes, 64 << 20}, "republishWorkers": {republishWorkers, 16}, "maxRepublishWait": {maxRepublishWait, 30 * time.Second},
		"firstDoubtPause": {firstDoubtPause, time.Minute}, "maxDoubtPause": {maxDoubtPause, 8 * time.Hour}, "maxWitnesses": {maxWitnesses, 32}, "maxEnds": {maxEnds, 2}, "asideFor": {asideFor, 10 * time.Minute}, "tolerance": {tolerance, 10 * time.Second},
		"formerSlack": {formerSlack, 2 * time.Second},
		// the stream
		"warnPercent": {warnPercent, 80}, "streamTimeout": {streamTimeout, 3 * time.Second},
		// the connection
		"steady": {steady, time.Minute}, "firstRedial": {firstRedial, 500 * time.Millisecond}, "maxRedial": {maxRedial, 30 * time.Second}, "maxUnreached": {maxUnreached, 2 * time.Second}, "refusalLook": {refusalLook, 5 * time.Second}, "refusalPatience": {refusalPatience, 30 * time.Second},
		// the outbox
		"outboxVersion": {outboxVersion, 1}, "maxOutboxBytes": {maxOutboxBytes, 512 << 20}, "maxOutboxLine": {maxOutboxLine, 256 << 10}, "compactAfter": {compactAfter, 16 << 20}, "reopenPause": {reopenPause, time.Second}, "maxAside": {maxAside, 99},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, and %v is told", name, c.got, c.want)
		}
	}
}
