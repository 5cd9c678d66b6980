package revoke_test

import (
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Each fault that a transport tells of is counted by its kind; one that there is not, as malformed.
func TestFaultsAreCounted(t *testing.T) {
	r, log := tape.NewReader(t, revoke.Config{}), &tape.Log{}
	r.Begin(log)
	if r.List.Status(r.Now).Degraded {
		t.Error("degraded without a fault")
	}
	want := map[revoke.Fault]uint64{}
	for f := revoke.FaultMalformed; f <= revoke.FaultUnsigned; f++ {
		log.Append(r.Now.Time(), tape.Message{Fault: f})
		want[f]++
	}
	for _, f := range []revoke.Fault{0, revoke.FaultUnsigned + 1, 255} {
		log.Append(r.Now.Time(), tape.Message{Fault: f})
		want[revoke.FaultMalformed]++
	}
	r.Must(r.Read(log))
	got := r.List.Stats(r.Now).Faults
	for f, n := range want {
		if got[f] != n {
			t.Errorf("%s: %d counted, want %d", f, got[f], n)
		}
	}
	if len(got) != len(want) || !r.List.Status(r.Now).Degraded {
		t.Errorf("counted %v; degraded: %t", got, r.List.Status(r.Now).Degraded)
	}
}
