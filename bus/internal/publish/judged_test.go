package publish

import (
	"sync/atomic"
	"testing"
	"time"
	_ "unsafe" // for the link to revoke's counter

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

//go:linkname judged github.com/hybridtoken/hybridtoken/revoke.judged
var judged atomic.Pointer[atomic.Int64]

// An event is judged once by its publisher, before anything is waited for, and not by each
// function on its way.
func TestEventIsJudgedOnceByItsPublisher(t *testing.T) {
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
		g.known, g.era, g.at, g.state = true, 1, time.Now(), stream.State{Largest: revoke.DefaultRetention(), MaxBytes: 1 << 30}
		count.Store(0)
		valid, err := p.own(e)
		if err != nil {
			t.Fatal(err)
		}
		_, rec, err := p.prepare(t.Context(), valid, limitSingle)
		if err != nil {
			t.Fatal(err)
		}
		p.keep(rec)
		if n := count.Load(); n != 1 {
			t.Errorf("%s: judged %d times by its publisher", name, n)
		}
	}
	// The zero values are no events.
	if _, err := (replica.Valid{}).Complete(time.Now(), revoke.DefaultRetention()); err == nil {
		t.Error("nothing is completed")
	}
}
