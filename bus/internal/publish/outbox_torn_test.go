package publish

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A disk that is full takes what it has room for: nothing, a part of a line, all but its
// end. What is put when there is room again is whole, and nothing counts as damaged, with
// all acknowledgements taken back, but what is.
func TestOutboxTornLine(t *testing.T) {
	half := outboxRecord(t, "half")
	half.id = "half"
	line := encodeOutboxEntry(entryOf(half))
	for _, took := range []int{0, 5, 60, len(line) - 2, len(line) - 1} {
		t.Run(fmt.Sprintf("%d of %d bytes", took, len(line)), func(t *testing.T) {
			o, path := openTestOutbox(t)
			before := outboxRecord(t, "before")
			if err := o.put(time.Now(), before); err != nil {
				t.Fatal(err)
			}
			if err := o.settled(before, 7, 1); err != nil {
				t.Fatal(err)
			}
			good := o.file
			if _, err := good.Write(line[:took]); err != nil {
				t.Fatal(err)
			}
			full, err := os.Open(path) // takes nothing
			if err != nil {
				t.Fatal(err)
			}
			defer full.Close()
			o.file = full
			for range 2 {
				if err := o.put(time.Now(), outboxRecord(t, "not there")); err == nil {
					t.Fatal("no error")
				}
			}
			o.file = good
			for _, value := range []string{"after", "at last"} {
				if err := o.put(time.Now(), outboxRecord(t, value)); err != nil {
					t.Fatal(err)
				}
			}
			want, torn, seq := 3, 0, uint64(7)
			switch {
			case took == len(line)-1:
				want = 4
			case took > 0:
				torn, seq = 1, 0 // it may have said that the stream has lost it
			}
			values, damaged := reopen(t, o, path)
			if len(values) != want || values["after"] == nil || values["at last"] == nil || damaged != torn {
				t.Errorf("%d alive, %d damaged", len(values), damaged)
			}
			if rec := values["before"]; rec == nil || rec.seq != seq {
				t.Errorf("what was acknowledged at 7 is now %+v", rec)
			}
		})
	}
}

// A crash cuts the last line, of which nobody was told that it is kept, so that nothing is
// damaged. What no line of ours begins with is not such an end, and may have been more.
func TestOutboxEndsWithinALine(t *testing.T) {
	sample, _ := sampleOutbox(t)
	for end, cut := range map[string]bool{
		"": true, "0": true, "9abcdef0"[:7]: true, "9abcdef0": true, "9abcdef0 ": true, "9abcdef0 {": true, `9abcdef0 {"`: true, `9abcdef0 {"op":"put","id":"a`: true,
		`9abcdef0 {"a":"}`: true, `9abcdef0 {"a":"\"}`: true,
		"/": false, ":": false, "`": false, "g": false, "A": false, " ": false, "\x00": false, "0123456g": false, "0123456 {": false,
		"9abcdef0x": false, "9abcdef0{": false, "9abcdef0 x": false, "9abcdef0  ": false, "9abcdef0 {\x1f": false, "9abcdef0 {\x00\x00": false,
		`9abcdef0 {}`: false, `9abcdef0 {"op":"ack"}`: false, // whole, but for its checksum
	} {
		alive, damaged, why, err := readOutbox(strings.NewReader(string(sample)+end), []string{testIssuer}, time.Now())
		if err != nil || len(alive) != 4 || (damaged == 0) != cut || (why == nil) != cut {
			t.Errorf("%q: %d damaged, because %v, %v", end, damaged, why, err)
		}
		if seq := alive["a"].seq; cut != (seq == 5) {
			t.Errorf("%q: what was acknowledged at 5 is at %d", end, seq)
		}
	}
}

// However long a stretch without a line's end is, it is one damage, what stands before and
// behind it is found, and a bounded part of it is held.
func TestOutboxReadingIsBounded(t *testing.T) {
	const size = 16 << 20
	sample, _ := sampleOutbox(t)
	for _, fill := range []string{"x", "\x00", `00000000 {"`, `00000000 {"a":"\`} {
		file := io.MultiReader(bytes.NewReader(sample), io.LimitReader(&repeated{line: []byte(strings.Repeat(fill, 1000))}, size), bytes.NewReader(sample))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		alive, damaged, _, err := readOutbox(file, []string{testIssuer}, time.Now())
		runtime.ReadMemStats(&after)
		if err != nil || len(alive) != 4 || damaged != 1 || alive["a"].seq != 5 {
			t.Errorf("%q: %d alive, %d damaged, %v", fill, len(alive), damaged, err)
		}
		if n := (after.TotalAlloc - before.TotalAlloc) / size; n > 6 {
			t.Errorf("%q: each byte is copied %d times", fill, n)
		}
	}
}
