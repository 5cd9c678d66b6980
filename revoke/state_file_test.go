package revoke

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// encodeState returns the state file of those entries.
func encodeState(t testing.TB, now time.Time, entries ...entry) []byte {
	var buf bytes.Buffer
	v := &view{base: emptyBase, memtables: []*memtable{newMemtable(0)}}
	if err := writeState(&buf, hasher{1, 2}, now, DefaultRetention(), 0, v, entries); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// An entry that no event could have made makes the file useless; one that would
// live longer than any event's is shortened, by the later of the two clocks.
func TestStateEntryBounds(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	h := hasher{1, 2}
	end := ceilSeconds(now.Add(time.Hour))
	sid := func(n int) digest { return h.digest(KindSession, "i", fmt.Sprint(n)) }
	good := entry{id: h.digest(KindSubject, "i", "u"), kind: KindSubject, before: now.UnixMilli(), until: end,
		keep: &exceptions{list: []exception{{digest{1, 1 << 50}, never}, {digest{2, 0}, 5}}}}
	for name, change := range map[string]func(*entry){
		"":                  func(e *entry) {},
		"unknown kind 0":    func(e *entry) { e.kind = 0 },
		"no end":            func(e *entry) { e.until = 0; e.keep = nil },
		"impossible cutoff": func(e *entry) { e.before = forever },
		"cutoff for kind":   func(e *entry) { e.kind, e.keep = KindSession, nil },
		"exceptions of":     func(e *entry) { e.kind = KindClient },
		"in the future":     func(e *entry) { e.before = now.Add(25 * time.Hour).UnixMilli() },
		"exceptions":        func(e *entry) { e.keep = &exceptions{list: []exception{{sid(1), e.before}}} },
		"impossible exc":    func(e *entry) { e.keep = &exceptions{list: []exception{{digest{2, 0}, 1}, {digest{1, 0}, 1}}} },
		"65 exceptions":     func(e *entry) { e.keep = &exceptions{list: make([]exception, 65)} },
		"0 exceptions":      func(e *entry) { e.keep = &exceptions{} },
	} {
		e := good
		change(&e)
		s, err := readState(bytes.NewReader(encodeState(t, now, e)), now)
		switch {
		case name == "" && (err != nil || len(s.entries) != 1 || s.entries[0].id != e.id || len(s.entries[0].keep.list) != 2):
			t.Errorf("the good twin: %+v, %v", s, err)
		case name != "" && (!errors.Is(err, ErrStateFile) || !strings.Contains(err.Error(), name)):
			t.Errorf("%s: %v", name, err)
		}
	}

	long := entry{id: good.id, kind: KindSession, before: forever, until: math.MaxUint32}
	for _, local := range []time.Time{now.Add(-10 * 365 * 24 * time.Hour), now, now.Add(time.Hour)} {
		s, err := readState(bytes.NewReader(encodeState(t, now, long)), local)
		if err != nil {
			t.Fatal(err)
		}
		from := now
		if local.After(now) {
			from = local
		}
		if got, want := s.entries[0].until, ceilSeconds(from.Add(91*24*time.Hour)); got != want {
			t.Errorf("read at %s: until %d, want %d", local, got, want)
		}
	}
}

// A state file may hold anything. What is accepted is written again as it was read.
func FuzzReadState(f *testing.F) {
	now := time.UnixMilli(1_800_000_000_000)
	h := hasher{1, 2}
	end := ceilSeconds(now.Add(time.Hour))
	seeds := 0
	add := func(data []byte) { seeds++; f.Add(data[:len(data)-sha256.Size]) }
	add(encodeState(f, now))
	add(encodeState(f, now, entry{id: h.digest(KindSession, "i", "s"), kind: KindSession, before: forever, until: end}))
	add(encodeState(f, now,
		entry{id: h.digest(KindSubject, "i", "u"), kind: KindSubject, before: now.UnixMilli(), until: end, keep: &exceptions{list: []exception{{digest{1, 1}, never}, {digest{2, 1}, 7}}}},
		entry{id: h.digest(KindKey, "i", "k"), kind: KindKey, before: forever, until: math.MaxUint32}))
	add(append([]byte(stateMagic), make([]byte, 100)...))
	if seeds != 4 {
		f.Fatal("seeds are missing")
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := readState(bytes.NewReader(body), now); err == nil {
			sum := sha256.Sum256(body[:max(len(body)-sha256.Size, 0)])
			if !bytes.HasSuffix(body, sum[:]) {
				t.Fatal("accepted without its checksum")
			}
		}
		// No checksum keeps the fuzzer out.
		sum := sha256.Sum256(body)
		s, err := readState(bytes.NewReader(append(bytes.Clone(body), sum[:]...)), now)
		if err != nil {
			if !errors.Is(err, ErrStateFile) || s != nil {
				t.Fatalf("%v, %v", s, err)
			}
			return
		}
		var again bytes.Buffer
		v := &view{base: emptyBase, memtables: []*memtable{newMemtable(0)}}
		if err := writeState(&again, s.key, s.written, s.retention, 0, v, s.entries); err != nil {
			t.Fatal(err)
		}
		twice, err := readState(bytes.NewReader(again.Bytes()), now)
		if err != nil || len(twice.entries) != len(s.entries) {
			t.Fatalf("%v, %v", twice, err)
		}
		for i, e := range twice.entries {
			if a, b := pack(&e), pack(&s.entries[i]); a != b {
				t.Fatalf("entry %d: %+v, %+v", i, a, b)
			}
		}
		l, err := NewList(Config{})
		if err != nil {
			t.Fatal(err)
		}
		l.restore(s)
		l.Status(Now())
		id := Identity{Issuer: "i", Session: "s", Subject: "u", Key: "k"}
		_ = l.Check(Now(), &id, Deny())
	})
}

// An entry keeps from 1 to MaxKeep exceptions, as events do: a List whose subject has kept as many
// sessions as an event may reads its own file again.
func TestStateEntryWithAsManyExceptionsAsAnEvent(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	for n, want := range map[int]bool{0: false, 1: true, MaxKeep: true, MaxKeep + 1: false} {
		e := entry{id: hasher{1, 2}.digest(KindSubject, "i", "u"), kind: KindSubject, before: now.UnixMilli(), until: ceilSeconds(now.Add(time.Hour)), keep: new(exceptions)}
		for i := range n {
			e.keep.list = append(e.keep.list, exception{digest{uint64(i) + 1, 0}, never})
		}
		s, err := readState(bytes.NewReader(encodeState(t, now, e)), now)
		if (err == nil) != want || want && len(s.entries[0].keep.list) != n {
			t.Errorf("%d exceptions: %v", n, err)
		}
	}
}

// A pieces writer notes how large the pieces are that it is given.
type pieces struct{ total, largest int }

func (p *pieces) Write(b []byte) (int, error) {
	p.total, p.largest = p.total+len(b), max(p.largest, len(b))
	return len(b), nil
}

// However large a List is, its state is written piece by piece and not held in memory twice.
func TestStateIsWrittenInPieces(t *testing.T) {
	var p pieces
	entries := make([]entry, 20_000)
	for i := range entries {
		entries[i] = entry{id: digest{uint64(i) + 1, 0}, kind: KindToken, before: forever, until: 1}
	}
	v := &view{base: emptyBase, memtables: []*memtable{newMemtable(0)}}
	if err := writeState(&p, hasher{1, 2}, time.Now(), DefaultRetention(), 0, v, entries); err != nil {
		t.Fatal(err)
	}
	if p.total < 20_000*24 || p.largest > 128<<10 {
		t.Errorf("%d bytes, the largest piece has %d", p.total, p.largest)
	}
}
