package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// seal makes a manifest of a body, with the digest that it should have.
func seal(body []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(magic), Version)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	sum := sha256.Sum256(b)
	return append(append(b, sum[:]...), 0)
}

// A manifest may hold anything. What is accepted is written again as it was read, whatever
// parts come with it.
func FuzzReadManifest(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	seeds := 0
	for _, tables := range []int{0, 1, 2} {
		m, manifest, entries, _, _ := example(f, rng, randomSource(rng, tables, 3))
		f.Add(m.appendBody(nil), entries)
		f.Add(manifest, entries)
		seeds += 2
	}
	empty := new(Manifest)
	if err := empty.Describe(sliceSource{}); err != nil {
		f.Fatal(err)
	}
	f.Add(empty.appendBody(nil), []byte{})
	if seeds++; seeds != 7 {
		f.Fatal("seeds are missing")
	}
	f.Fuzz(func(t *testing.T, body, entries []byte) {
		// As it comes, and with the digest that keeps the fuzzer out.
		for _, data := range [][]byte{body, seal(body)} {
			m, err := Read(bytes.NewReader(data), nil)
			if err != nil {
				if FaultOf(err) == Unreadable {
					t.Fatalf("no fault: %v", err)
				}
				continue
			}
			again, err := m.Encode(nil)
			if err != nil {
				t.Fatalf("accepted, and not written: %v", err)
			}
			twice, err := Read(bytes.NewReader(again), nil)
			if err != nil || !bytes.Equal(twice.appendBody(nil), m.appendBody(nil)) {
				t.Fatalf("another one: %v", err)
			}
			if _, err := collect(m, bytes.NewReader(entries)); err != nil && FaultOf(err) == Unreadable {
				t.Fatalf("no fault: %v", err)
			}
			if _, err := m.ReadFilter(bytes.NewReader(entries)); err != nil && FaultOf(err) == Unreadable {
				t.Fatalf("no fault: %v", err)
			}
		}
	})
}

// Entries may be anything, under a manifest that names their digest and any numbers. What is
// accepted is written again byte by byte.
func FuzzReadEntries(f *testing.F) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 4 {
		m, _, entries, _, _ := example(f, rng, randomSource(rng, 1, 3))
		t := &m.Tables[0]
		counts := make([]byte, 0, Kinds+1)
		for _, n := range t.Runs {
			counts = append(counts, byte(n))
		}
		f.Add(append(counts, byte(t.Spared)), entries)
	}
	f.Fuzz(func(t *testing.T, counts, entries []byte) {
		m := &Manifest{Tables: make([]Table, 1), Entries: Part{Size: uint64(len(entries)), Sum: sha256.Sum256(entries)}}
		for i, n := range counts {
			if i < Kinds {
				m.Tables[0].Runs[i] = uint64(n)
			} else {
				m.Tables[0].Spared += uint64(n)
			}
		}
		src, err := collect(m, bytes.NewReader(entries))
		if err != nil {
			if FaultOf(err) == Unreadable {
				t.Fatalf("no fault: %v", err)
			}
			return
		}
		var again bytes.Buffer
		if err := m.WriteEntries(&again, src); err != nil || !bytes.Equal(again.Bytes(), entries) {
			t.Fatalf("another one: %v", err)
		}
	})
}
