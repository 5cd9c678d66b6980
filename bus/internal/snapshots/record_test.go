package snapshots

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

var someRecord = Record{
	Newest: Pointer{Digest: [32]byte{1, 2, 0xff}, Size: 19_000_000, Sequence: 1<<60 + 1, Created: time.Date(2026, 11, 30, 4, 5, 6, 789_012_345, time.UTC), Written: time.UnixMilli(1767225600123).UTC(), Signer: "00ff"},
	Holder: "HOLDER", Name: "auth-1 \"é\"",
}

// A record survives its form, also where it holds no pointer, or nobody is writing.
func TestRecord(t *testing.T) {
	for _, r := range []Record{{}, {Holder: "x"}, {Newest: someRecord.Newest}, someRecord} {
		b, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decode(b); err != nil || back != r {
			t.Errorf("%s: %+v, %v", b, back, err)
		}
	}
	if _, err := (&Record{Name: strings.Repeat("x", maxRecordBytes)}).encode(); !errors.Is(err, errRecord) {
		t.Errorf("a record that nobody would read: %v", err)
	}
}

// Members of a version to come are left alone; a pointer that cannot be used is no pointer.
func TestDecodeRecord(t *testing.T) {
	b, err := someRecord.encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	if r, err := decode([]byte(strings.Replace(good, `{`, `{"more":[1],`, 1))); err != nil || r != someRecord {
		t.Errorf("%+v, %v", r, err)
	}
	for what, bad := range map[string]string{
		"empty":        "",
		"no version":   `{}`,
		"version":      strings.Replace(good, `"v":1`, `"v":2`, 1),
		"no object":    strings.Replace(good, `"object"`, `"thing"`, 1),
		"half":         `{"v":1,"size":5}`,
		"upper case":   strings.Replace(good, `0102ff`, `0102FF`, 1),
		"short digest": strings.Replace(good, `0102ff`, `02ff`, 1),
		"no size":      strings.Replace(good, `:19000000`, `:0`, 1),
		"negative":     strings.Replace(good, `:19000000`, `:-1`, 1),
		"number":       strings.Replace(good, `"1152921504606846977"`, `1152921504606846977`, 1),
		"sequence 0":   strings.Replace(good, `"1152921504606846977"`, `"0"`, 1),
		"no time":      strings.Replace(good, `2026-11-30T`, `2026-13-30T`, 1),
		"twice":        strings.Replace(good, `"v":1`, `"v":1,"v":1`, 1),
		"trailing":     good + "{}",
		"large":        strings.Replace(good, `{`, `{"more":"`+strings.Repeat("x", maxRecordBytes)+`",`, 1),
		"long text":    `{"v":1,"holder":"` + strings.Repeat("x", maxText+1) + `"}`,
	} {
		if bad == good {
			t.Fatalf("%s: nothing was spoilt", what)
		}
		if r, err := decode([]byte(bad)); !errors.Is(err, errRecord) || r != (Record{}) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	b, err := someRecord.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"v":1}`))
	f.Add([]byte(`{"v":1,"holder":"x","size":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			if !errors.Is(err, errRecord) || r != (Record{}) {
				t.Fatal(r, err)
			}
			return
		}
		again, err := r.encode()
		if err != nil {
			return // its texts may grow when they are quoted
		}
		if back, err := decode(again); err != nil || back.Newest != r.Newest || back.Holder != r.Holder {
			t.Fatalf("%+v became %+v, %v", r, back, err)
		}
	})
}

// What is known of an object comes from outside, too.
func FuzzDecodeInfo(f *testing.F) {
	f.Add([]byte(`{"name":"x","nuid":"ABC","size":5,"chunks":1,"digest":"SHA-256=x"}`))
	f.Add([]byte(`{"name":"x","nuid":"A.>","size":5,"chunks":1}`))
	f.Add([]byte(`{"name":"x","nuid":"A","size":5,"chunks":1,"deleted":true}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeInfo(b)
		if err != nil {
			return
		}
		if o.size <= 0 || o.chunks <= 0 || o.chunks > maxChunks || o.id == "" || bytes.ContainsAny([]byte(o.id), ".*> \t") {
			t.Fatalf("%+v", o)
		}
	})
}
