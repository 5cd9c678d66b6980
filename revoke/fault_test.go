package revoke_test

import (
	"testing"
	"time"

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

// An event whose publisher's clock and the stream's differ by more than MaxSkew is counted, and
// applied.
func TestClocksOfTheBrokerAreCounted(t *testing.T) {
	const skew = 2 * time.Second
	for off, want := range map[time.Duration]uint64{0: 0, skew: 0, -skew: 0, skew + time.Millisecond: 1, -skew - time.Millisecond: 1} {
		r, log := tape.NewReader(t, revoke.Config{MaxSkew: skew}), &tape.Log{}
		r.Begin(log)
		log.Append(r.Now.Time(), tape.Message{Event: &revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "x", At: r.Now.Time().Add(off)}})
		r.Must(r.Read(log))
		if s := r.List.Stats(r.Now); s.BrokerClock != want || s.Applied[revoke.KindToken] != 1 {
			t.Errorf("%s off: %d counted, want %d; applied %v", off, s.BrokerClock, want, s.Applied)
		}
	}
}
