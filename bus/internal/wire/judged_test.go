package wire

import (
	"sync/atomic"
	"testing"
	"time"
	_ "unsafe" // for the link to revoke's counter

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

//go:linkname counted github.com/hybridtoken/hybridtoken/revoke.judged
var counted atomic.Pointer[atomic.Int64]

// An event that comes from outside is judged once by a replica, and not by each function on
// its way.
func TestEventIsJudgedOnceByItsReplica(t *testing.T) {
	var count atomic.Int64
	counted.Store(&count)
	t.Cleanup(func() { counted.Store(nil) })
	for name, e := range map[string]revoke.Event{
		"plain":         {Kind: revoke.KindSession, Value: "sid"},
		"not plain":     {Kind: revoke.KindSession, Value: "sïd"},
		"with keep":     {Kind: revoke.KindSubject, Value: "user", Keep: []string{"a", "b"}},
		"with all else": {Kind: revoke.KindSubject, Value: "user", Before: time.Now(), Until: time.Now().Add(time.Hour), ID: "1", Reason: "r", Actor: "a"},
	} {
		e.Issuer, e.At = testIssuer, time.Now()
		done, err := e.Complete(time.Now(), revoke.DefaultRetention())
		if err != nil {
			t.Fatal(err)
		}
		count.Store(0)
		payload, err := EncodeUsable(&done)
		if err != nil || count.Load() != 0 {
			t.Fatalf("%s: judged %d times where it is written, %v", name, count.Load(), err)
		}
		r := newReplica(t)
		r.ts, r.now = time.Now(), revoke.Now()
		count.Store(0)
		if _, fault := r.take(t, Subject(testIssuer, e.Kind), payload); fault != 0 {
			t.Fatal(fault)
		}
		if n := count.Load(); n != 1 {
			t.Errorf("%s: judged %d times by a replica", name, n)
		}
		if !r.revoked(token(&done, r.ts.Add(-time.Minute), "other"), 0) {
			t.Errorf("%s: not revoked", name)
		}
		// The doors that others use judge for themselves.
		count.Store(0)
		if _, err := done.Complete(time.Now(), revoke.DefaultRetention()); err != nil || count.Load() != 1 {
			t.Errorf("Complete judges %d times: %v", count.Load(), err)
		}
		bad := done
		bad.Value = ""
		if err := r.feed.Event(r.now, replica.Record{Generation: r.gen, Delivery: 2, Sequence: 2, Time: r.ts, Data: []byte("x")}, bad); err != nil || r.list.Stats(r.now).Faults[revoke.FaultMalformed] != 1 {
			t.Errorf("an event without a value is taken: %v", err)
		}
		if _, err := EncodeEvent(&bad); err == nil {
			t.Error("an event without a value is written")
		}
	}
	// The zero values are no events.
	r := newReplica(t)
	if err := r.feed.Received(r.now, replica.Record{Generation: r.gen, Delivery: 1, Sequence: 1, Time: r.ts}, &replica.Received{}); err != nil || r.list.Stats(r.now).Faults[revoke.FaultMalformed] != 1 {
		t.Errorf("nothing is applied: %v", err)
	}
}
