package rollcall

import (
	"testing"
	"time"
)

// The numbers that documentation and runbooks rely on, or that were weighed against each
// other.
func TestNumbers(t *testing.T) {
	for name, c := range map[string]struct{ got, want any }{
		"answerQueue":    {answerQueue, 4096},
		"tokenBytes":     {tokenBytes, 26},
		"maxReplicas":    {maxReplicas, 10_000},
		"rosterLife":     {rosterLife, 10 * time.Minute},
		"defaultRoll":    {defaultRoll, 250 * time.Millisecond},
		"firstAskPause":  {firstAskPause, 200 * time.Millisecond},
		"maxAskPause":    {maxAskPause, 2 * time.Second},
		"nobodyPatience": {nobodyPatience, 2 * time.Second},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, and %v is told", name, c.got, c.want)
		}
	}
}
