package revoke_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// What a page or a log in JSON shows of a List is words.
func TestStatusAsJSON(t *testing.T) {
	at := revoke.At(time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC))
	for _, c := range []struct {
		value any
		want  string
	}{
		{
			revoke.Status{State: revoke.StateStale, Reason: revoke.ReasonNoHeartbeat, Proven: at, Age: time.Second},
			`{"State":"stale","Reason":"no heartbeat","Proven":"2026-01-02T03:04:05.006Z","Age":1000000000,"Degraded":false}`,
		},
		{revoke.Status{}, `{"State":"syncing","Reason":"none","Proven":"","Age":0,"Degraded":false}`},
		{map[revoke.Kind]int{revoke.KindSession: 1, 0: 2}, `{"Kind(0)":2,"session":1}`},
		{map[revoke.Fault]uint64{revoke.FaultUnsigned: 3}, `{"unsigned":3}`},
	} {
		got, err := json.Marshal(c.value)
		if err != nil || string(got) != c.want {
			t.Errorf("%s (%v), want %s", got, err, c.want)
		}
	}
	for k := revoke.KindToken; k <= revoke.KindIssuer; k++ {
		text, _ := json.Marshal(k)
		var back revoke.Kind
		if err := json.Unmarshal(text, &back); err != nil || back != k {
			t.Errorf("%s came back as %s: %v", text, back, err)
		}
	}
	for _, bad := range []string{`""`, `"Kind(1)"`, `"Session"`, `"sessions_of_16by"`, `"a session of a subject"`, `2`} {
		k := revoke.KindKey
		if err := json.Unmarshal([]byte(bad), &k); err == nil || k != revoke.KindKey {
			t.Errorf("%s was taken for %s", bad, k)
		}
	}
}
