package publish

import (
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Each process finds of an event what the one before knew, however often the file is written
// anew: also that it was prepared before the stream was seen, and that it still waits.
func TestOutboxRestarts(t *testing.T) {
	o, path := openTestOutbox(t)
	want := map[string]*record{"early": openRecord(t, revoke.Event{Kind: revoke.KindSubject, Value: "early"}, false)}
	for _, value := range []string{"waits", "unsigned", "stored"} {
		want[value] = outboxRecord(t, value)
	}
	want["unsigned"].signature = ""
	for _, rec := range want {
		rec.gone = time.UnixMilli(rec.gone.UnixMilli())
		if err := o.put(time.Now(), rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.settled(want["stored"], 7, 1); err != nil {
		t.Fatal(err)
	}
	o.crash()
	for process := range 3 {
		p, _ := unpackInto(t, path)
		other := outboxRecord(t, "other")
		if !p.keep(other) {
			t.Fatal("not kept")
		}
		p.outbox.compactAt = 0 // it has grown
		p.settle(other, 0, 0)
		p.outbox.crash()
		if n := len(p.ledger.alive); n != len(want) {
			t.Errorf("process %d knows %d events, want %d", process, n, len(want))
		}
		for _, rec := range p.ledger.alive {
			msg, _ := decode(rec.subject, rec.payload)
			got, was := rec.stored(), want[msg.Event.Value].stored()
			if was.limit = got.limit; msg.Event.Value == "stored" {
				was.seq = 7
			}
			if !got.gone.Equal(was.gone) {
				t.Errorf("process %d: %s is gone %s, want %s", process, msg.Event.Value, got.gone, was.gone)
			}
			if got.gone = was.gone; !reflect.DeepEqual(got, was) {
				t.Errorf("process %d: %s is %+v, want %+v", process, msg.Event.Value, got, was)
			}
		}
		if pending, _, _ := p.ledger.pending(time.Now()); len(pending) != 3 {
			t.Errorf("process %d: %d wait, want 3", process, len(pending))
		}
	}
}

// A file that was written anew, and cannot be opened then, is no outbox that works: that is
// told, events are not said to be kept, and it is tried again.
func TestOutboxRewrittenAndGone(t *testing.T) {
	o, path := openTestOutbox(t)
	recs := []*record{outboxRecord(t, "a"), outboxRecord(t, "b")}
	if err := o.put(time.Now(), recs...); err != nil {
		t.Fatal(err)
	}
	o.compactAt = 0
	o.syncFile = func(f *os.File) error {
		info, err := f.Stat()
		if err == nil && info.IsDir() { // it has its name
			err = os.Remove(path)
		}
		return err
	}
	if err := o.settled(recs[0], 0, 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	o.syncFile = (*os.File).Sync
	if s := o.status(); !errors.Is(s.err, os.ErrNotExist) || s.failed != 1 {
		t.Errorf("status %+v", s)
	}
	if err := o.put(time.Now(), outboxRecord(t, "c")); err == nil {
		t.Error("said to be kept")
	}
	o.tried = o.tried.Add(-reopenPause)
	if _, opened := o.mend(); !opened || o.status().err != nil {
		t.Errorf("not opened again: %+v", o.status())
	}
	if values, damaged := reopen(t, o, path); len(values) != 1 || values["b"] == nil || damaged != 0 {
		t.Errorf("%d alive, %d damaged", len(values), damaged)
	}
}
