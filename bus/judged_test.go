package bus

import (
	"sync/atomic"
	"testing"
	"time"
	_ "unsafe" // for the link to revoke's counter

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

//go:linkname judged github.com/hybridtoken/hybridtoken/revoke.judged
var judged atomic.Pointer[atomic.Int64]

// An event is judged once by its publisher, before anything is waited for, and once by each
// replica, where it comes from outside; and not by each function on its way.
func TestEventIsJudgedOnceAtEachBorder(t *testing.T) {
	var count atomic.Int64
	judged.Store(&count)
	t.Cleanup(func() { judged.Store(nil) })
	for name, e := range map[string]revoke.Event{
		"plain":         {Kind: revoke.KindSession, Value: "sid"},
		"not plain":     {Kind: revoke.KindSession, Value: "sïd"},
		"with keep":     {Kind: revoke.KindSubject, Value: "user", Keep: []string{"a", "b"}},
		"with all else": {Kind: revoke.KindSubject, Value: "user", Before: time.Now(), Until: time.Now().Add(time.Hour), ID: "1", Reason: "r", Actor: "a"},
	} {
		p := newTestPublisher()
		p.issuers = []string{testIssuer}
		g := &p.gauge
		g.known, g.era, g.at, g.state = true, 1, time.Now(), streamState{largest: revoke.DefaultRetention(), maxBytes: 1 << 30}
		count.Store(0)
		valid, err := p.own(e)
		if err != nil {
			t.Fatal(err)
		}
		done, rec, err := p.prepare(t.Context(), valid, limitSingle)
		if err != nil {
			t.Fatal(err)
		}
		p.keep(rec)
		if n := count.Load(); n != 1 {
			t.Errorf("%s: judged %d times by its publisher", name, n)
		}
		r := newReplica(t)
		r.ts, r.now = time.Now(), revoke.Now()
		count.Store(0)
		if _, fault := r.take(t, rec.subject, rec.payload); fault != 0 {
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
		if _, err := encodeEvent(&bad); err == nil {
			t.Error("an event without a value is written")
		}
	}
	// The zero values are no events.
	if _, err := (replica.Valid{}).Complete(time.Now(), revoke.DefaultRetention()); err == nil {
		t.Error("nothing is completed")
	}
	r := newReplica(t)
	if err := r.feed.Received(r.now, replica.Record{Generation: r.gen, Delivery: 1, Sequence: 1, Time: r.ts}, &replica.Received{}); err != nil || r.list.Stats(r.now).Faults[revoke.FaultMalformed] != 1 {
		t.Errorf("nothing is applied: %v", err)
	}
}
