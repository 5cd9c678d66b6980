package follow

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
		"atOnce": {atOnce, 256}, "firstPause": {firstPause, 100 * time.Millisecond}, "maxPause": {maxPause, 5 * time.Second}, "maxPatience": {maxPatience, 5 * time.Minute}, "rewind": {rewind, 1}, "maxFlights": {maxFlights, 4},
		"lookInterval": {lookInterval, 30 * time.Second}, "minLook": {minLook, time.Second}, "troubledFactor": {troubledFactor, 6}, "savePause": {savePause, 10 * time.Second},
		"secondTimeout": {secondTimeout, 10 * time.Minute}, "secondSpread": {secondSpread, time.Minute}, "secondSpreadMirror": {secondSpreadMirror, 10 * time.Second},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, and %v is told", name, c.got, c.want)
		}
	}
}
