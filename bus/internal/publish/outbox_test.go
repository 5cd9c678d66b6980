package publish

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func outboxRecord(t testing.TB, value string) *record {
	t.Helper()
	e := revoke.Event{Issuer: testIssuer, Kind: revoke.KindSession, Value: value, Until: time.Now().Add(time.Hour), At: time.Now()}
	payload, err := wire.EncodeEvent(&e)
	if err != nil {
		t.Fatal(err)
	}
	return &record{subject: wire.Subject(e.Issuer, e.Kind), payload: payload, gone: e.Until.Add(revoke.StreamMargin), signature: "x"}
}

// An othersFunc is what an outbox is to keep beside what waits.
type othersFunc func() []*record

func (f othersFunc) acknowledgedAlive() []*record { return f() }

// crash ends an outbox as the process's end does: nothing is written any more.
func (o *outbox) crash() { o.lock.Unlock() }

// What was put is there after a crash, whatever was written of the next line; what was
// acknowledged is there with its place; what was dropped, or has expired after it was
// acknowledged, is not. Whether what was never acknowledged has expired is not for one
// clock to say.
func TestOutboxSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	o, alive, damaged, err := openOutbox(path, testIssuer)
	if err != nil || len(alive) != 0 || damaged != 0 {
		t.Fatal(alive, damaged, err)
	}
	open, acked, dropped, expired := outboxRecord(t, "open"), outboxRecord(t, "acked"), outboxRecord(t, "dropped"), outboxRecord(t, "expired")
	over := outboxRecord(t, "over")
	expired.gone, over.gone = time.Now().Add(-time.Second), time.Now().Add(-time.Second)
	if err := o.put(time.Now(), open, acked, dropped, expired, over); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.settled(over, 4710, 1), o.settled(acked, 4711, 1), o.settled(dropped, 0, 1)); err != nil {
		t.Fatal(err)
	}
	o.crash()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %s, %v", info.Mode(), err)
	}
	last := len(whole) - 1 - bytes.LastIndexByte(whole[:len(whole)-1], '\n')
	for cut := range last { // the last line, byte by byte
		if err := os.WriteFile(path, whole[:len(whole)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		o, alive, damaged, err := openOutbox(path, testIssuer)
		if err != nil || damaged != 0 {
			t.Fatalf("cut by %d: %d damaged, %v", cut, damaged, err)
		}
		seqs := map[string]uint64{}
		for _, rec := range alive {
			msg, fault := decode(rec.subject, rec.payload)
			if fault != 0 || rec.signature != "x" {
				t.Fatalf("cut by %d: %v", cut, rec)
			}
			seqs[msg.Event.Value] = rec.seq
		}
		seq, isOpen := seqs["open"]
		n, isExpired := seqs["expired"]
		if !isOpen || seq != 0 || !isExpired || n != 0 || seqs["acked"] != 4711 || seqs["over"] != 0 || len(seqs) > 4 || cut == 0 && len(seqs) != 3 {
			t.Fatalf("cut by %d: %v", cut, seqs)
		}
		o.close()
		o.close()
	}
}

func TestOutboxRefuses(t *testing.T) {
	dir := t.TempDir()
	head := string(outboxLine([]byte(`{"iss":"` + testIssuer + `","v":1}`)))
	for name, text := range map[string]string{
		"no outbox": "hello\n", "another text": strings.Repeat("key = value\n", 1000), "state file": "\x89HTstate\x01\x00\x00", "another issuer": string(outboxLine([]byte(`{"iss":"https://other.example.com","v":1}`))),
		"version to come": string(outboxLine([]byte(`{"iss":"` + testIssuer + `","v":2}`))),
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", ""))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := openOutbox(path, testIssuer); !errors.Is(err, ErrOutbox) {
			t.Errorf("%s: %v", name, err)
		}
	}
	path := filepath.Join(dir, "good")
	if err := os.WriteFile(path, []byte(head), 0o600); err != nil {
		t.Fatal(err)
	}
	o, _, _, err := openOutbox(path, testIssuer)
	if err != nil {
		t.Fatalf("the good twin: %v", err)
	}
	if runtime.GOOS != "windows" {
		if _, _, _, err := openOutbox(path, testIssuer); !errors.Is(err, ErrOutbox) {
			t.Errorf("two have it open: %v", err)
		}
		o.close()
		if err := os.Chmod(path, 0o622); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := openOutbox(path, testIssuer); !errors.Is(err, ErrOutbox) {
			t.Errorf("others can write it: %v", err)
		}
	}
	o.close()
}

// A line that is damaged costs itself and no other.
func TestOutboxDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	o, _, _, err := openOutbox(path, testIssuer)
	if err != nil {
		t.Fatal(err)
	}
	foreign := outboxRecord(t, "b")
	foreign.payload = bytes.Replace(foreign.payload, []byte("auth."), []byte("evil."), 1)
	if err := o.put(time.Now(), outboxRecord(t, "a"), foreign, outboxRecord(t, "c"), outboxRecord(t, "d")); err != nil {
		t.Fatal(err)
	}
	o.crash()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(data), "\n")
	lines[3] = strings.Replace(lines[3], "session", "sessions", 1)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	o, alive, damaged, err := openOutbox(path, testIssuer)
	if err != nil || len(alive) != 2 || damaged != 2 {
		t.Errorf("%d alive, %d damaged, %v", len(alive), damaged, err)
	}
	o.close()
}

// Many put at once, all are there; the file is written anew when most of it is past, and
// loses nothing by it.
func TestOutboxConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	o, _, _, err := openOutbox(path, testIssuer)
	if err != nil {
		t.Fatal(err)
	}
	o.written = compactAfter // as if it had grown
	var mu sync.Mutex
	kept := map[string]*record{}
	o.others = othersFunc(func() (list []*record) {
		mu.Lock()
		defer mu.Unlock()
		for _, rec := range kept {
			list = append(list, rec)
		}
		return list
	})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				rec := outboxRecord(t, fmt.Sprintf("%d-%d", i, j))
				if err := o.put(time.Now(), rec); err != nil {
					t.Error(err)
					return
				}
				if j%2 == 0 {
					continue
				}
				seq := uint64(1 + i*100 + j)
				mu.Lock()
				rec.seq = seq
				kept[rec.id] = rec.stored()
				mu.Unlock()
				if err := o.settled(rec, seq, 1); err != nil {
					t.Error(err)
				}
				if j == 25 {
					o.mu.Lock()
					o.written = compactAfter
					o.mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	o.crash()
	o, alive, damaged, err := openOutbox(path, testIssuer)
	if err != nil || damaged != 0 || len(alive) != 400 {
		t.Fatalf("%d alive, %d damaged, %v", len(alive), damaged, err)
	}
	acked := 0
	for _, rec := range alive {
		if rec.seq != 0 {
			acked++
		}
	}
	if acked != 200 {
		t.Errorf("%d acknowledged", acked)
	}
	o.close()
}

// What waits is bounded, as what is remembered is: beyond that it is heard, what was there
// stays, and there is room again when something is acknowledged.
func TestOutboxFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	o, _, _, err := openOutbox(path, testIssuer)
	if err != nil {
		t.Fatal(err)
	}
	first := outboxRecord(t, "first")
	if err := o.put(time.Now(), first); err != nil {
		t.Fatal(err)
	}
	held := o.held
	o.held = maxRememberedBytes // as if more waited
	over := outboxRecord(t, "over")
	if err := o.put(time.Now(), over); !errors.Is(err, errOutboxFull) || over.id != "" {
		t.Errorf("%v, id %q", err, over.id)
	}
	if s := o.status(); s.failed != 1 || s.err == nil {
		t.Errorf("status %+v", s)
	}
	if err := o.settled(first, 7, 1); err != nil || o.held != maxRememberedBytes-held || len(o.open) != 0 {
		t.Fatalf("%v, %d held, %d open", err, o.held, len(o.open))
	}
	o.held = 0
	if err := o.put(time.Now(), outboxRecord(t, "next")); err != nil {
		t.Error(err)
	}
	// The last that there is room for, by bytes and by number, and one more.
	next := outboxRecord(t, "byte")
	next.id = rand.Text()
	line := int64(len(encodeOutboxEntry(entryOf(next))))
	small := outboxRecord(t, "small")
	for _, fill := range []func(over int){
		func(over int) { o.held = maxRememberedBytes - line + int64(over) },
		func(over int) {
			o.held = 0
			for i := len(o.open); i < maxRemembered-1+over; i++ {
				o.open[strconv.Itoa(i)] = small
			}
		},
	} {
		for over := range 2 {
			fill(over)
			if err := o.put(time.Now(), outboxRecord(t, "byte")); errors.Is(err, errOutboxFull) != (over == 1) {
				t.Errorf("%d too many: %v; %d open, %d bytes", over, err, len(o.open), o.held)
			}
		}
	}
	o.crash()
	o, alive, damaged, err := openOutbox(path, testIssuer)
	if err != nil || damaged != 0 || len(alive) != 4 {
		t.Errorf("%d alive, %d damaged, %v", len(alive), damaged, err)
	}
	o.close()
}

// A disk that fails is heard, and the next line is whole again.
func TestOutboxWriteFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	o, _, _, err := openOutbox(path, testIssuer)
	if err != nil {
		t.Fatal(err)
	}
	good := o.file
	if o.file, err = os.Open(path); err != nil { // to read only
		t.Fatal(err)
	}
	if err := o.put(time.Now(), outboxRecord(t, "a")); err == nil {
		t.Error("no error")
	}
	if s := o.status(); s.err == nil || s.failed != 1 {
		t.Errorf("status %+v", s)
	}
	o.file.Close()
	o.file = good
	if err := o.put(time.Now(), outboxRecord(t, "b")); err != nil {
		t.Error(err)
	}
	if s := o.status(); s.err != nil {
		t.Error(s.err)
	}
	o.close()
	if err := o.put(time.Now(), outboxRecord(t, "c")); err == nil {
		t.Error("written after Close")
	}
}

// FuzzReadOutbox: whatever the file holds, what is read can be published or is an error.
func FuzzReadOutbox(f *testing.F) {
	head := outboxLine([]byte(`{"iss":"` + testIssuer + `","v":1}`))
	rec := outboxRecord(f, "a")
	rec.id = "one"
	put := encodeOutboxEntry(entryOf(rec))
	ack := encodeOutboxEntry(&outboxEntry{op: "ack", id: "one", seq: 5})
	good := concat(head, put, ack)
	if alive, damaged, _, err := readOutbox(bytes.NewReader(good), []string{testIssuer}, time.Now()); err != nil || damaged != 0 || len(alive) != 1 || alive["one"].seq != 5 {
		f.Fatal(alive, damaged, err)
	}
	for _, seed := range [][]byte{good, nil, head, put, good[:len(good)-3], concat(head, ack, put), bytes.Replace(good, []byte("ack"), []byte("put"), 1), outboxLine([]byte(`{"op":"put","id":"o","open":true}`)), []byte("00000000 {}\n")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		alive, _, _, err := readOutbox(bytes.NewReader(data), []string{testIssuer}, time.Now())
		if err != nil {
			if !errors.Is(err, ErrOutbox) || alive != nil {
				t.Fatal(alive, err)
			}
			return
		}
		for _, rec := range alive {
			if msg, fault := decode(rec.subject, rec.payload); fault != 0 || msg.Event.Issuer != testIssuer {
				t.Fatalf("read %+v", rec)
			}
		}
	})
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
