package publish

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/gate"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
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
		values[msg.Event.Value] = rec
	}
	return values, damaged
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
	if err := o.put(time.Now(), outboxRecord(t, "a")); err == nil {
		t.Fatal("no error")
	}
	w.Close()
	o.file = good
	if s := o.status(); s.failed != 1 || s.err == nil {
		t.Errorf("status %+v", s)
	}
	// Two that were written together: the second asks after the first was told.
	o.mu.Lock()
	turn := o.turn
	o.mu.Unlock()
	if err := o.sync(turn); err == nil {
		t.Error("the second is told that it is on the disk")
	}
	if err := o.put(time.Now(), outboxRecord(t, "b")); err != nil {
		t.Errorf("the good twin: %v", err)
	}
}

// The folder may refuse to be synced, for want of file descriptors for one. The file that
// has its name is the one that is written from then on.
func TestOutboxFolderNotSynced(t *testing.T) {
	o, path := openTestOutbox(t)
	if err := o.put(time.Now(), outboxRecord(t, "before")); err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	o.syncFile = func(f *os.File) error {
		if info, err := f.Stat(); err != nil || info.IsDir() {
			return errors.New("too many open files")
		}
		return f.Sync()
	}
	var alive []*record
	for _, rec := range o.open {
		alive = append(alive, rec)
	}
	if err := o.rewrite(alive); err == nil {
		t.Error("no error")
	}
	o.mu.Unlock()
	if err := o.put(time.Now(), outboxRecord(t, "after")); err != nil {
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
	for i := range maxRemembered { // as if put long ago
		rec := living1h(i)
		rec.id, rec.gone = fmt.Sprint(i), time.Now().Add(-time.Second)
		o.hold(rec)
	}
	if err := o.put(time.Now(), outboxRecord(t, "next")); err != nil {
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
	if err := o.put(time.Now(), recs...); err != nil {
		t.Fatal(err)
	}
	if o.written < compactAfter {
		t.Fatalf("%d bytes", o.written)
	}
	var acked []*record
	looks := 0
	o.others = othersFunc(func() []*record { looks++; return acked[:len(acked):len(acked)] })
	for i, rec := range recs {
		rec.seq = uint64(i + 1)
		acked = append(acked, rec.stored())
		if err := o.settled(rec, rec.seq, 1); err != nil {
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
	if err := o.put(time.Now(), recs...); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path+".tmp", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	o.written = compactAfter
	looks := 0
	o.others = othersFunc(func() []*record { looks++; return nil })
	if err := o.settled(recs[0], 1, 1); err == nil || looks != 1 {
		t.Errorf("%v, looked %d times", err, looks)
	}
	if s := o.status(); s.failed != 1 || s.err == nil {
		t.Errorf("status %+v", s)
	}
	if err := o.settled(recs[1], 2, 1); err != nil || looks != 1 {
		t.Errorf("at once again: %v, looked %d times", err, looks)
	}
	o.written = maxOutboxBytes - 10
	o.compactAt = maxOutboxBytes
	if err := o.put(time.Now(), outboxRecord(t, "d")); !errors.Is(err, errOutboxFull) {
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
		o.others = p
		recs := map[string]*record{}
		acknowledge := func(value string, seq uint64) {
			rec := recs[value]
			rec.era, rec.seq = l.current(), seq
			if !rec.kept {
				l.remember(rec, time.Now())
			}
			if err := o.settled(rec, seq, rec.era); err != nil {
				t.Fatal(err)
			}
		}
		for i, value := range []string{"first", "again", "late"} {
			recs[value] = outboxRecord(t, value)
			if err := o.put(time.Now(), recs[value]); err != nil {
				t.Fatal(err)
			}
			if value != "late" {
				acknowledge(value, uint64(i+1))
			}
		}
		recs["late"].era, recs["late"].seq = l.current(), 3
		l.remember(recs["late"], time.Now())
		l.lost(0)
		if err := o.lost(2); err != nil {
			t.Fatal(err)
		}
		if err := o.settled(recs["late"], 3, 1); err != nil { // acknowledged before the loss
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

// A process may end at any step of writing the file anew. What is found then is the old
// file or the new one, whole, and what lies about does no harm.
func TestOutboxEndsWhileCompacting(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, leave := range map[string]func(t *testing.T, path string, whole []byte){
		"nothing yet":    func(t *testing.T, path string, whole []byte) {},
		"an empty file":  func(t *testing.T, path string, whole []byte) { write(t, path+".tmp", nil) },
		"half a file":    func(t *testing.T, path string, whole []byte) { write(t, path+".tmp", whole[:len(whole)/2]) },
		"another's file": func(t *testing.T, path string, whole []byte) { write(t, path+".tmp", []byte("hello\n")) },
		"whole, before": func(t *testing.T, path string, whole []byte) {
			write(t, path+".tmp", whole)
		},
		"whole, in place": func(t *testing.T, path string, whole []byte) {
			write(t, path+".tmp", whole)
			if err := os.Rename(path+".tmp", path); err != nil {
				t.Fatal(err)
			}
		},
		"a link": func(t *testing.T, path string, whole []byte) {
			if err := os.Symlink(victim, path+".tmp"); err != nil {
				gate.Skip(t, "this file system has no symbolic links: "+err.Error())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, path := openTestOutbox(t)
			for _, value := range []string{"a", "b", "c"} {
				if err := o.put(time.Now(), outboxRecord(t, value)); err != nil {
					t.Fatal(err)
				}
			}
			o.crash()
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			leave(t, path, whole)
			if values, damaged := reopen(t, o, path); len(values) != 3 || damaged != 0 {
				t.Errorf("%d alive, %d damaged", len(values), damaged)
			}
			if _, err := os.Lstat(path + ".tmp"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("left behind: %v", err)
			}
		})
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "untouched" {
		t.Errorf("written through a link: %q, %v", data, err)
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What the file says is published as this issuer's and within its limits, or not at all.
func TestOutboxOfAnotherIssuer(t *testing.T) {
	o, path := openTestOutbox(t)
	e := revoke.Event{Issuer: "https://other.example.com", Kind: revoke.KindSession, Value: "foreign", Until: time.Now().Add(time.Hour)}
	payload, err := wire.EncodeEvent(&e)
	if err != nil {
		t.Fatal(err)
	}
	foreign := &record{subject: wire.Subject(e.Issuer, e.Kind), payload: payload, gone: e.Until}
	large := outboxRecord(t, "large")
	large.payload = append(large.payload[:len(large.payload)-1], `,"x":"`+strings.Repeat("x", wire.MaxEventBytes)+`"}`...)
	if _, fault := decode(large.subject, large.payload); fault != 0 {
		t.Fatalf("the large one is no event: %s", fault)
	}
	beat, err := wire.EncodeHeartbeat(replica.Heartbeat{Time: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.put(time.Now(), foreign, large, &record{subject: wire.HeartbeatSubject, payload: beat, gone: e.Until}, outboxRecord(t, "good")); err != nil {
		t.Fatal(err)
	}
	if values, damaged := reopen(t, o, path); len(values) != 1 || values["good"] == nil || damaged != 3 {
		t.Errorf("%d alive, %d damaged", len(values), damaged)
	}
}

// Of more than an outbox holds the rest is not read, and that is told.
func TestOutboxTooLarge(t *testing.T) {
	head := outboxLine([]byte(`{"iss":"` + testIssuer + `","v":1}`))
	line := append(bytes.Repeat([]byte("x"), maxOutboxLine-1), '\n')
	endless := io.MultiReader(bytes.NewReader(head), &repeated{line: line})
	if _, damaged, _, err := readOutbox(endless, []string{testIssuer}, time.Now()); err != nil || damaged < 2 {
		t.Errorf("more than %d bytes: %d damaged, %v", maxOutboxBytes, damaged, err)
	}
}

// A repeated says one thing for ever.
type repeated struct{ line, rest []byte }

func (r *repeated) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		r.rest = r.line
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// What the file says was acknowledged is where the stream must be by now.
func TestOutboxKnowsTheHighest(t *testing.T) {
	o, path := openTestOutbox(t)
	for i, value := range []string{"a", "b", "c"} {
		rec := outboxRecord(t, value)
		if err := o.put(time.Now(), rec); err != nil {
			t.Fatal(err)
		}
		if value == "b" { // published again meanwhile, with another time
			rec.payload = bytes.Replace(rec.payload, []byte(`"at":`), []byte(`"at":1`), 1)
		}
		if value != "c" {
			if err := o.settled(rec, uint64(70+i), 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.crash()
	p := newTestPublisher()
	p.issuers = []string{testIssuer}
	if err := p.unpack(path); err != nil {
		t.Fatal(err)
	}
	defer p.outbox.close()
	for _, rec := range p.ledger.alive {
		if bytes.Contains(rec.payload, []byte(`"b"`)) && !bytes.Contains(rec.payload, []byte(`"at":1`+fmt.Sprint(time.Now().Unix()/100_000))) {
			t.Errorf("not what the stream holds: %s", rec.payload)
		}
	}
	if floor, _ := p.ledger.begin(); floor != 71 {
		t.Errorf("the highest is %d", floor)
	}
	if pending, _, _ := p.ledger.pending(time.Now()); len(pending) != 1 || !bytes.Contains(pending[0].payload, []byte(`"c"`)) {
		t.Errorf("%d pending", len(pending))
	}
	// The stream is asked for it, whatever is acknowledged meanwhile.
	if w := p.ledger.witnesses; len(w) != 1 || w[0].seq != 71 {
		t.Errorf("witnesses %+v", w)
	}
	if p.acknowledged(outboxRecord(t, "d"), ack(71, false), false, 71, 1) {
		t.Error("a stream that is back at 71 has lost nothing, it says")
	}
}
