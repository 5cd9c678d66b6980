package publish

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
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
	add := func(op, id string, line []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, damagedLine{len(data), len(data) + len(line) - 1, op, id})
		data = append(data, line...)
	}
	head, err := outboxHead([]string{testIssuer})
	add("head", "", outboxLine(head), err)
	entry := func(op, id string, seq uint64) {
		e := &outboxEntry{op: op, id: id, seq: seq}
		if op == "put" {
			rec := outboxRecord(t, "value "+id)
			rec.id = id
			e = entryOf(rec)
		}
		line, err := encodeOutboxEntry(e)
		add(op, id, line, err)
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
	lost, err := encodeOutboxEntry(&outboxEntry{op: "lost", id: "-"})
	if err != nil {
		t.Fatal(err)
	}
	ack, err := encodeOutboxEntry(&outboxEntry{op: "ack", id: "d", seq: 9})
	if err != nil {
		t.Fatal(err)
	}
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

// unpackInto opens the outbox for a publisher whose Bus is closed, so that nothing is
// sent, and returns what it logs.
func unpackInto(t *testing.T, path string) (p *Publisher, logged *bytes.Buffer) {
	t.Helper()
	p = newTestPublisher()
	logged = new(bytes.Buffer)
	p.t.Log = slog.New(slog.NewTextHandler(logged, nil))
	p.issuers = []string{testIssuer}
	if err := p.unpack(path); err != nil {
		t.Fatalf("the service does not start: %v", err)
	}
	t.Cleanup(p.outbox.close)
	return p, logged
}

// A service starts whatever has become of its outbox; the damaged file is kept as it was,
// under a name that is told, and the new one is whole.
func TestOutboxDamagedIsSetAside(t *testing.T) {
	sample, _ := sampleOutbox(t)
	for name, damage := range map[string]func(b []byte) []byte{
		"a bit in the head":   func(b []byte) []byte { b[12] ^= 1; return b },
		"zeros over the head": func(b []byte) []byte { clear(b[:64]); return b },
		"a run of zeros": func(b []byte) []byte {
			i := bytes.IndexByte(b, '\n') + 1
			return concat(b[:i], make([]byte, 300<<10), b[i:])
		},
		"all zeros": func(b []byte) []byte { clear(b); return b },
		"all ones":  func(b []byte) []byte { return bytes.Repeat([]byte{0xff}, len(b)) },
		"head only": func(b []byte) []byte { return append([]byte{b[0] ^ 1}, b[1:bytes.IndexByte(b, '\n')+1]...) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "outbox")
			damaged := damage(bytes.Clone(sample))
			for round := range 2 { // a second accident does not write over the first
				write(t, path, damaged)
				p, logged := unpackInto(t, path)
				s := p.Status()
				if s.OutboxDamaged == 0 || s.OutboxErr != nil || s.OutboxSetAside != fmt.Sprintf("%s.damaged.%d", path, round+1) {
					t.Fatalf("stats %+v", s)
				}
				if !strings.Contains(logged.String(), "level=ERROR") || !strings.Contains(logged.String(), s.OutboxSetAside) {
					t.Errorf("logged %q", logged)
				}
				kept, err := os.ReadFile(s.OutboxSetAside)
				if err != nil || !bytes.Equal(kept, damaged) {
					t.Errorf("not kept as it was: %v", err)
				}
				pending, _, _ := p.ledger.pending(time.Now())
				found, _, _, _ := readOutbox(bytes.NewReader(damaged), []string{testIssuer}, time.Now())
				want := 0
				for _, rec := range found {
					if rec.seq == 0 {
						want++
					}
				}
				if len(pending) != want || len(p.ledger.alive) != len(found) {
					t.Errorf("%d to be published again, want %d; %d known, want %d", len(pending), want, len(p.ledger.alive), len(found))
				}
				if err := p.outbox.put(time.Now(), outboxRecord(t, "new")); err != nil {
					t.Error(err)
				}
				p.outbox.close()
			}
			again, logged := unpackInto(t, path)
			if s := again.Status(); s.OutboxDamaged != 0 || s.OutboxSetAside != "" || strings.Contains(logged.String(), "ERROR") {
				t.Errorf("the new file: %+v, %s", s, logged)
			}
		})
	}
}

// An empty file was an outbox once, or never: there is nothing to keep, and it is told.
func TestOutboxEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	write(t, path, nil)
	p, logged := unpackInto(t, path)
	if s := p.Status(); s.OutboxDamaged != 1 || s.OutboxSetAside != "" || s.OutboxErr != nil || !strings.Contains(logged.String(), "empty") {
		t.Errorf("%+v, %s", s, logged)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); len(entries) != 2 || err != nil { // the lock
		t.Errorf("%v, %v", entries, err)
	}
	// The good twin: none yet.
	p, logged = unpackInto(t, path+"2")
	if s := p.Status(); s.OutboxDamaged != 0 || s.OutboxErr != nil || logged.Len() > 0 {
		t.Errorf("%+v, %s", s, logged)
	}
}

// A directory that is not there, a disk that takes nothing or cannot keep the damaged
// file: the service starts, says so, forgets nothing of what is there, and goes on as
// soon as that is mended.
func TestOutboxOpensWhenTheDiskDoes(t *testing.T) {
	sample, _ := sampleOutbox(t)
	damaged := bytes.Clone(sample)
	damaged[12] ^= 1
	for name, c := range map[string]struct {
		harm, mend func(t *testing.T, path string)
		waiting    int // events that are known although the disk fails
	}{
		"no directory": {
			func(t *testing.T, path string) { rename(t, filepath.Dir(path), filepath.Dir(path)+".away") },
			func(t *testing.T, path string) { rename(t, filepath.Dir(path)+".away", filepath.Dir(path)) }, 0,
		},
		"no directory but a file": {
			func(t *testing.T, path string) {
				rename(t, filepath.Dir(path), filepath.Dir(path)+".away")
				write(t, filepath.Dir(path), nil)
			},
			func(t *testing.T, path string) {
				if err := os.Remove(filepath.Dir(path)); err != nil {
					t.Fatal(err)
				}
				rename(t, filepath.Dir(path)+".away", filepath.Dir(path))
			}, 0,
		},
		"a lock that is a directory": {
			func(t *testing.T, path string) { mkdir(t, path+".lock") },
			func(t *testing.T, path string) { rename(t, path+".lock", path+".lock2") }, 0,
		},
		"nothing can be written": {
			func(t *testing.T, path string) { mkdir(t, filepath.Join(path+".tmp", "in the way")) },
			func(t *testing.T, path string) { rename(t, path+".tmp", path+".tmp2") }, 4,
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dir", "outbox")
			mkdir(t, filepath.Dir(path))
			write(t, path, damaged)
			c.harm(t, path)
			p, logged := unpackInto(t, path)
			s := p.Status()
			if s.OutboxErr == nil || s.OutboxFailures == 0 || !strings.Contains(logged.String(), "level=ERROR") {
				t.Errorf("stats %+v, logged %q", s, logged)
			}
			count := func() int { return len(p.ledger.alive) }
			if n := count(); n != c.waiting {
				t.Errorf("%d events known, want %d", n, c.waiting)
			}
			during := outboxRecord(t, "during")
			if kept := p.keep(during); kept != (c.waiting > 0) {
				t.Errorf("kept: %t", kept)
			}
			c.mend(t, path)
			if c.waiting == 0 {
				p.outbox.tried = p.outbox.tried.Add(-reopenPause)
			}
			if !p.keep(outboxRecord(t, "after")) {
				t.Fatalf("not kept: %v", p.Status().OutboxErr)
			}
			if s := p.Status(); s.OutboxErr != nil || s.OutboxDamaged == 0 {
				t.Errorf("stats %+v", s)
			}
			if n := count(); n != 4 {
				t.Errorf("%d events known, want 4", n)
			}
			p.outbox.close()
			again, _ := unpackInto(t, path)
			want := 5
			if c.waiting > 0 {
				want = 6
			}
			if n := len(again.ledger.alive); n != want {
				t.Errorf("%d events after a restart, want %d", n, want)
			}
		})
	}
}

// A file that cannot be opened is not tried again for each event.
func TestOutboxIsReopenedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "none", "outbox")
		o, _, _, err := openOutbox(path, testIssuer)
		if err != nil {
			t.Fatal(err)
		}
		tried := o.tried
		put := func() error { // as a publisher does
			o.mend()
			return o.put(time.Now(), outboxRecord(t, "a"))
		}
		for range 100 {
			if put() == nil {
				t.Fatal("no error")
			}
		}
		if o.tried != tried {
			t.Error("tried for each event")
		}
		time.Sleep(reopenPause)
		if put() == nil || o.tried == tried {
			t.Error("not tried again")
		}
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		o.mend()
		if o.file != nil {
			t.Error("too soon")
		}
		time.Sleep(reopenPause)
		o.mend() // as the watch does, without an event
		if s := o.status(); s.err != nil {
			t.Error(s.err)
		}
		o.close()
		time.Sleep(reopenPause)
		if o.mend(); o.file != nil || o.lock != nil {
			t.Error("opened after Close")
		}
	})
}

// Where the damaged file cannot be kept it stays where it is, and what comes is written
// behind it: nothing is written over it.
func TestOutboxCannotSetAside(t *testing.T) {
	sample, _ := sampleOutbox(t)
	damaged := bytes.Clone(sample)
	damaged[12] ^= 1
	path := filepath.Join(t.TempDir(), "outbox")
	write(t, path, damaged)
	for i := range maxAside {
		write(t, fmt.Sprintf("%s.damaged.%d", path, i+1), []byte("of an earlier accident"))
	}
	p, _ := unpackInto(t, path)
	if s := p.Status(); s.OutboxErr == nil || s.OutboxDamaged == 0 || s.OutboxSetAside != "" {
		t.Fatalf("%+v", s)
	}
	if !p.keep(outboxRecord(t, "new")) {
		t.Error("nothing can be put any more")
	}
	now, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(now, damaged) {
		t.Errorf("written over: %v", err)
	}
	p.outbox.close()
	p, _ = unpackInto(t, path)
	if n := len(p.ledger.alive); n != 5 {
		t.Errorf("%d alive", n)
	}
}

// copyFile leaves nothing behind that is not whole, and takes nothing's place.
func TestCopyFile(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	write(t, from, []byte("content"))
	if err := copyFile(from, to); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(to); err != nil || string(data) != "content" {
		t.Fatalf("%q, %v", data, err)
	}
	if err := copyFile(from, to); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	if err := copyFile(dir, to+"2"); err == nil {
		t.Error("a directory was copied")
	}
	if _, err := os.Stat(to + "2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(name, 0o700); err != nil {
		t.Fatal(err)
	}
}
