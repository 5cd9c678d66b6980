package bus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func openTestOutbox(t *testing.T) (o *outbox, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "outbox")
	o, _, _, err := openOutbox(path, testIssuer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.close)
	return o, path
}

// reopen returns what the next process finds.
func reopen(t *testing.T, o *outbox, path string) (values map[string]*record, damaged int) {
	t.Helper()
	o.crash()
	next, alive, damaged, err := openOutbox(path, testIssuer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.close)
	values = map[string]*record{}
	for _, rec := range alive {
		msg, fault := decode(rec.subject, rec.payload)
		if fault != 0 {
			t.Fatal(fault)
		}
		values[msg.event.Value] = rec
	}
	return values, damaged
}

// A disk that is full may take a part of a line and not even a line's end after it. What
// is put when there is room again is whole.
func TestOutboxTornLine(t *testing.T) {
	o, path := openTestOutbox(t)
	if err := o.put(outboxRecord(t, "before")); err != nil {
		t.Fatal(err)
	}
	if _, err := o.file.WriteString(`01234567 {"op":"put","id":"half`); err != nil { // what the disk took of it
		t.Fatal(err)
	}
	good := o.file
	full, err := os.Open(path) // takes nothing
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, value := range []string{"half", "none"} {
		o.file = full
		if err := o.put(outboxRecord(t, value)); err == nil {
			t.Fatal("no error")
		}
		o.file = good
		if err := o.put(outboxRecord(t, "after "+value)); err != nil {
			t.Fatal(err)
		}
	}
	if values, damaged := reopen(t, o, path); len(values) != 3 || values["after half"] == nil || damaged != 1 {
		t.Errorf("%d alive, %d damaged", len(values), damaged)
	}
}

// When the disk says that it could not write, what waited for that is not there, whatever
// it says the next time (fsync tells of a failure once).
func TestOutboxNotSynced(t *testing.T) {
	o, _ := openTestOutbox(t)
	r, w, err := os.Pipe() // which can be written and not synced
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	good := o.file
	o.file = w
	if err := o.put(outboxRecord(t, "a")); err == nil {
		t.Fatal("no error")
	}
	w.Close()
	o.file = good
	if failed, err := o.status(); failed != 1 || err == nil {
		t.Errorf("status %d, %v", failed, err)
	}
	// Two that were written together: the second asks after the first was told.
	o.mu.Lock()
	turn := o.turn
	o.mu.Unlock()
	if err := o.sync(turn); err == nil {
		t.Error("the second is told that it is on the disk")
	}
	if err := o.put(outboxRecord(t, "b")); err != nil {
		t.Errorf("the good twin: %v", err)
	}
}

// The folder may refuse to be synced, for want of file descriptors for one. The file that
// has its name is the one that is written from then on.
func TestOutboxFolderNotSynced(t *testing.T) {
	o, path := openTestOutbox(t)
	if err := o.put(outboxRecord(t, "before")); err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	o.syncFolder = func(string) error { return errors.New("too many open files") }
	alive := nothing()
	for _, rec := range o.open {
		alive = append(alive, rec)
	}
	if err := o.rewrite(alive); err == nil {
		t.Error("no error")
	}
	o.mu.Unlock()
	if err := o.put(outboxRecord(t, "after")); err != nil {
		t.Fatal(err)
	}
	if values, damaged := reopen(t, o, path); values["after"] == nil || values["before"] == nil || damaged != 0 {
		t.Errorf("%d alive, %d damaged", len(values), damaged)
	}
}

// What was never acknowledged and has expired makes room: an outage must not fill the
// outbox for the rest of the process's life.
func TestOutboxExpiredMakesRoom(t *testing.T) {
	o, path := openTestOutbox(t)
	var old []*record
	for i := range maxRemembered {
		rec := living1h(i)
		rec.gone = time.Now().Add(-time.Second) // by now
		old = append(old, rec)
	}
	if err := o.put(old...); err != nil {
		t.Fatal(err)
	}
	if err := o.put(outboxRecord(t, "next")); err != nil {
		t.Fatal(err)
	}
	if len(o.open) != 1 || o.held <= 0 || o.held > 2000 {
		t.Errorf("%d open, %d held", len(o.open), o.held)
	}
	if values, _ := reopen(t, o, path); len(values) != 1 || values["next"] == nil {
		t.Errorf("%d alive", len(values))
	}
}

// After an outage everything is acknowledged within a short time. The file is not written
// anew, nor all that is alive looked through, for each.
func TestOutboxIsNotRewrittenForEach(t *testing.T) {
	o, path := openTestOutbox(t)
	const n = 4000
	recs := make([]*record, n)
	for i := range recs {
		recs[i] = outboxRecord(t, fmt.Sprint("session-", i))
		recs[i].signature = strings.Repeat("x", 5000)
	}
	if err := o.put(recs...); err != nil {
		t.Fatal(err)
	}
	if o.written < compactAfter {
		t.Fatalf("%d bytes", o.written)
	}
	var acked []*record
	looks := 0
	keep := func() []*record { looks++; return acked[:len(acked):len(acked)] }
	for i, rec := range recs {
		rec.seq = uint64(i + 1)
		acked = append(acked, rec.stored())
		if err := o.settled(rec, rec.seq, keep); err != nil {
			t.Fatal(err)
		}
		if looks > 5 {
			t.Fatalf("looked %d times for %d acknowledgements", looks, i+1)
		}
	}
	if looks == 0 {
		t.Error("never written anew")
	}
	if values, damaged := reopen(t, o, path); len(values) != n || damaged != 0 {
		t.Errorf("%d alive, %d damaged", len(values), damaged)
	}
}

// A file that cannot be written anew is not tried again for each event, and never grows
// beyond what the next process would read.
func TestOutboxCannotBeRewritten(t *testing.T) {
	o, path := openTestOutbox(t)
	recs := []*record{outboxRecord(t, "a"), outboxRecord(t, "b"), outboxRecord(t, "c")}
	if err := o.put(recs...); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path+".tmp", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	o.written = compactAfter
	looks := 0
	keep := func() []*record { looks++; return nil }
	if err := o.settled(recs[0], 1, keep); err == nil || looks != 1 {
		t.Errorf("%v, looked %d times", err, looks)
	}
	if failed, err := o.status(); failed != 1 || err == nil {
		t.Errorf("status %d, %v", failed, err)
	}
	if err := o.settled(recs[1], 2, keep); err != nil || looks != 1 {
		t.Errorf("at once again: %v, looked %d times", err, looks)
	}
	o.written = maxOutboxBytes - 10
	o.compactAt = maxOutboxBytes
	if err := o.put(outboxRecord(t, "d")); !errors.Is(err, errOutboxFull) {
		t.Errorf("beyond what is read: %v", err)
	}
}

// After a loss no acknowledgement from before it counts, in the file as it stands and as
// it is written anew, until there is another.
func TestOutboxLost(t *testing.T) {
	for _, compact := range []bool{false, true} {
		o, path := openTestOutbox(t)
		p := newTestPublisher()
		p.outbox = o
		l := &p.ledger
		o.stands = func(rec *record) bool { return rec.era == l.current() }
		recs := map[string]*record{}
		acknowledge := func(value string, seq uint64) {
			rec := recs[value]
			rec.era, rec.seq = l.current(), seq
			if !rec.kept {
				l.remember(rec, time.Now())
			}
			if err := o.settled(rec, seq, p.acknowledgedAlive); err != nil {
				t.Fatal(err)
			}
		}
		for i, value := range []string{"first", "again", "late"} {
			recs[value] = outboxRecord(t, value)
			if err := o.put(recs[value]); err != nil {
				t.Fatal(err)
			}
			if value != "late" {
				acknowledge(value, uint64(i+1))
			}
		}
		recs["late"].era, recs["late"].seq = l.current(), 3
		l.remember(recs["late"], time.Now())
		l.lost(0)
		if err := o.lost(); err != nil {
			t.Fatal(err)
		}
		if err := o.settled(recs["late"], 3, nothing); err != nil { // acknowledged before the loss
			t.Fatal(err)
		}
		if compact {
			o.compactAt = 0
		}
		acknowledge("again", 7)
		values, damaged := reopen(t, o, path)
		if len(values) != 3 || damaged != 0 {
			t.Fatalf("compact %t: %d alive, %d damaged", compact, len(values), damaged)
		}
		for value, seq := range map[string]uint64{"first": 0, "again": 7, "late": 0} {
			if got := values[value].seq; got != seq {
				t.Errorf("compact %t: %s has sequence %d, want %d", compact, value, got, seq)
			}
		}
	}
}
