package publish

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
	"time"
)

// A damagedLine is one line of a sample outbox and what it says.
type damagedLine struct {
	begin, end int // without the line's end
	op, id     string
}

// sampleOutbox returns the bytes of an outbox with events that are open, acknowledged and
// given up, as processes leave it.
func sampleOutbox(t testing.TB) (data []byte, lines []damagedLine) {
	t.Helper()
	add := func(op, id string, line []byte) {
		lines = append(lines, damagedLine{len(data), len(data) + len(line) - 1, op, id})
		data = append(data, line...)
	}
	add("head", "", outboxHead([]string{testIssuer}))
	entry := func(op, id string, seq uint64) {
		e := &outboxEntry{op: op, id: id, seq: seq}
		if op == "put" {
			rec := outboxRecord(t, "value "+id)
			rec.id = id
			e = entryOf(rec)
		}
		add(op, id, encodeOutboxEntry(e))
	}
	entry("put", "a", 0)
	entry("put", "b", 0)
	entry("ack", "a", 5)
	entry("put", "gone", 0)
	entry("drop", "gone", 0)
	entry("put", "c", 0)
	entry("ack", "b", 6)
	entry("put", "d", 0)
	return data, lines
}

// checkDamaged holds that of damaged, which is the sample with the bytes from begin on to
// end replaced by others, everything that is whole is found, nothing that is not, and that
// nothing counts as acknowledged that may not be.
func checkDamaged(t *testing.T, what string, sample []byte, lines []damagedLine, begin, end int, damaged []byte) (n int) {
	t.Helper()
	alive, n, why, err := readOutbox(bytes.NewReader(damaged), []string{testIssuer}, time.Now())
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	whole := map[string]bool{}
	for _, l := range lines {
		if l.end <= begin || l.begin >= end {
			whole[l.op+" "+l.id] = true
		}
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		rec := alive[id]
		switch {
		case rec == nil && whole["put "+id]:
			t.Errorf("%s: %s is whole and not found", what, id)
		case rec != nil && !whole["put "+id] && !bytes.Equal(sample, damaged):
			t.Errorf("%s: %s is damaged and found", what, id)
		case rec != nil && rec.seq != 0 && !whole["ack "+id]:
			t.Errorf("%s: %s is acknowledged by nothing", what, id)
		}
	}
	if rec := alive["gone"]; rec != nil && whole["drop gone"] {
		t.Errorf("%s: what was given up is back", what)
	}
	for id, rec := range alive {
		// Nothing is invented: each is as it was put.
		at := bytes.Index(sample, []byte(`"id":"`+id+`"`))
		msg, fault := decode(rec.subject, rec.payload)
		if at < 0 || fault != 0 || msg.Event.Value != "value "+id {
			t.Errorf("%s: %s says %q", what, id, rec.payload)
		}
	}
	if n > 0 != (why != nil) {
		t.Errorf("%s: %d damaged, because %v", what, n, why)
	}
	return n
}

// Every bit of an outbox that is wrong, every stretch of zeros, every byte too many and
// every end too early costs the lines that it meets, and no others.
func TestOutboxDamageTable(t *testing.T) {
	sample, lines := sampleOutbox(t)
	size := len(sample)
	if alive, n, why, err := readOutbox(bytes.NewReader(sample), []string{testIssuer}, time.Now()); len(alive) != 4 || n != 0 || why != nil || err != nil || alive["a"].seq != 5 {
		t.Fatalf("the good twin: %d alive, %d damaged: %v, %v", len(alive), n, why, err)
	}
	for i := range size {
		for _, bit := range []int{i % 5, 5} { // the latter makes small letters great
			damaged := bytes.Clone(sample)
			damaged[i] ^= 1 << bit
			if n := checkDamaged(t, fmt.Sprintf("bit %d of byte %d", bit, i), sample, lines, i, i+1, damaged); n == 0 {
				t.Errorf("bit %d of byte %d: unnoticed", bit, i)
			}
		}
	}
	for _, run := range []int{1, 10, 300, size / 2, size} {
		for i := 0; i+run <= size; i++ {
			damaged := bytes.Clone(sample)
			clear(damaged[i : i+run])
			checkDamaged(t, fmt.Sprintf("%d zeros at %d", run, i), sample, lines, i, i+run, damaged)
		}
	}
	for i := range size + 1 {
		checkDamaged(t, fmt.Sprintf("cut at %d", i), sample, lines, i, size+1, sample[:i])
		for _, more := range []string{"x", "\n", "\x00", " {\"", "00000000 {\"id\":\"a\",\"op\":\"drop\"}\n", "\xff\xff\xff\xff"} {
			damaged := append(append(bytes.Clone(sample[:i]), more...), sample[i:]...)
			// What stands before and behind is whole, a line in its middle is not.
			begin, end := i, i+1
			for _, l := range lines {
				if i == l.begin || i == l.end {
					begin, end = i, i
				}
			}
			checkDamaged(t, fmt.Sprintf("%q at %d", more, i), sample, lines, begin, end, damaged)
		}
	}
	// A line's end may be anywhere in a long run of zeros.
	for _, l := range append(lines, damagedLine{size, size, "end", ""}) {
		for _, run := range []int{maxOutboxLine - 1, maxOutboxLine, 300 << 10, 3*maxOutboxLine + 7, 4 << 20} {
			damaged := append(append(bytes.Clone(sample[:l.begin]), make([]byte, run)...), sample[l.begin:]...)
			checkDamaged(t, fmt.Sprintf("%d zeros before line %d", run, l.begin), sample, lines, l.begin, l.begin, damaged)
		}
	}
}

// What was acknowledged before damage counts as not acknowledged: what is damaged may
// have said that the stream had lost it.
func TestOutboxDamageTakesAcknowledgementsBack(t *testing.T) {
	sample, _ := sampleOutbox(t)
	lost := encodeOutboxEntry(&outboxEntry{op: "lost", id: "-"})
	ack := encodeOutboxEntry(&outboxEntry{op: "ack", id: "d", seq: 9})
	for i := range lost {
		damaged := bytes.Clone(lost)
		damaged[i] ^= 4
		alive, n, _, err := readOutbox(bytes.NewReader(concat(sample, damaged, ack)), []string{testIssuer}, time.Now())
		if err != nil || n == 0 || len(alive) != 4 || alive["a"].seq != 0 || alive["b"].seq != 0 {
			t.Errorf("byte %d: %d damaged, %v", i, n, err)
		}
		if i < len(lost)-1 && alive["d"].seq != 9 {
			t.Errorf("byte %d: an acknowledgement after it does not count", i)
		}
	}
}

// A medium that fails in the middle costs what lies behind.
func TestOutboxReadFails(t *testing.T) {
	sample, lines := sampleOutbox(t)
	broken := errors.New("input/output error")
	for _, l := range lines[1:] {
		r := io.MultiReader(bytes.NewReader(sample[:l.begin]), iotest.ErrReader(broken))
		alive, n, why, err := readOutbox(r, []string{testIssuer}, time.Now())
		if err != nil || n != 1 || !errors.Is(why, broken) {
			t.Errorf("%d damaged, because %v, %v", n, why, err)
		}
		puts := bytes.Count(sample[:l.begin], []byte(`"op":"put"`)) - bytes.Count(sample[:l.begin], []byte(`"op":"drop"`))
		if len(alive) != puts {
			t.Errorf("%d alive, want %d", len(alive), puts)
		}
	}
}

// A crafted file takes no longer than its length deserves.
func TestOutboxSalvageIsBounded(t *testing.T) {
	for _, unit := range []string{`00000000 {"`, `00000000 {"":"`, `00000000 {"id":"x `, `00000000 {"a\`, ` {"`} {
		line := bytes.Repeat([]byte(unit), (4<<20)/len(unit))
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _, _, _ = readOutbox(bytes.NewReader(line), []string{testIssuer}, time.Now())
		}()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatalf("%q takes for ever", unit)
		}
	}
}
