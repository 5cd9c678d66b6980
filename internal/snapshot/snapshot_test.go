package snapshot

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"testing/iotest"
	"time"
)

// A sliceSource is a Source of what it holds, by table and run.
type sliceSource [][Kinds][]Entry

func (s sliceSource) Each(table, run int, yield func(*Entry) bool) {
	for i := range s[table][run] {
		if !yield(&s[table][run][i]) {
			return
		}
	}
}

func randomID(rng *rand.Rand) (high, low uint64) { return rng.Uint64() | 1, rng.Uint64() & maxLow }

func sortEntries(list []Entry) []Entry {
	slices.SortFunc(list, func(a, b Entry) int {
		if (identity{a.High, a.Low}).less(identity{b.High, b.Low}) {
			return -1
		}
		return 1
	})
	return list
}

// randomSource draws some entries of each run for each table.
func randomSource(rng *rand.Rand, tables, most int) sliceSource {
	s := make(sliceSource, tables)
	for i := range s {
		for run := range Kinds {
			var list []Entry
			for range rng.IntN(most + 1) {
				e := Entry{Until: rng.Uint32() | 1}
				e.High, e.Low = randomID(rng)
				if Cutoff(run) {
					e.Before = rng.Int64N(MaxBefore) + 1
				}
				if run == Spared {
					for range 1 + rng.IntN(MaxSpared) {
						x := Exception{Before: Never}
						x.High, x.Low = randomID(rng)
						if rng.IntN(2) == 0 {
							x.Before = rng.Int64N(e.Before)
						}
						e.Spared = append(e.Spared, x)
					}
					slices.SortFunc(e.Spared, func(a, b Exception) int {
						if (identity{a.High, a.Low}).less(identity{b.High, b.Low}) {
							return -1
						}
						return 1
					})
				}
				list = append(list, e)
			}
			s[i][run] = sortEntries(list)
		}
	}
	return s
}

// example returns a snapshot of src, signed: its manifest, its bytes and its filters.
func example(t testing.TB, rng *rand.Rand, src sliceSource) (m *Manifest, manifest, entries, filter []byte, verify Verify) {
	t.Helper()
	at := time.Unix(1_800_000_000, 123_456_789)
	m = &Manifest{
		Written: at.Truncate(time.Millisecond), Newest: at.Truncate(time.Millisecond).Add(time.Millisecond),
		TokenLifetime: time.Hour, SessionLifetime: 90 * 24 * time.Hour, MaxSkew: 2 * time.Second,
		Log: Log{
			Stream: "REVOCATIONS", Created: at.Add(-time.Hour), Sequence: 77,
			Anchors: []Anchor{
				{Sequence: 77, Time: at, Expires: time.Unix(1_800_000_900, 0), Hash: AnchorHash(77, at, "revocations.v1.heartbeat", []byte("{}"))},
				{Sequence: 70, Time: at.Add(-time.Minute), Hash: [32]byte{1}},
			},
			Issuers: [][16]byte{{1}, {2}},
			Digest:  Digest{Algorithm: 1, Marks: []Mark{{Sequence: 76, Count: 3, Sum: [32]byte{9}}}, Groups: []Group{{Begin: -60, Count: 1}, {Begin: 60, Count: 2, Sum: [32]byte{7}}}},
		},
	}
	filters := make([][Kinds][]uint64, len(src))
	for i := range src {
		m.Tables = append(m.Tables, Table{Key: [16]byte{byte(i), 5}, Known: [16]byte{6}})
		for k := 1; k < Kinds; k++ {
			if len(src[i][k]) > 0 {
				for range FilterBlock * (1 + rng.IntN(3)) {
					filters[i][k] = append(filters[i][k], rng.Uint64())
				}
			}
		}
	}
	if err := m.Describe(src); err != nil {
		t.Fatal(err)
	}
	if err := m.DescribeFilter(filters); err != nil {
		t.Fatal(err)
	}
	seed := make([]byte, ed25519.SeedSize)
	key := ed25519.NewKeyFromSeed(seed)
	public := key.Public().(ed25519.PublicKey)
	manifest, err := m.Encode(func(message []byte) (KeyID, []byte, error) {
		return KeyIDOf(public), ed25519.Sign(key, message), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var e, f bytes.Buffer
	if err := m.WriteEntries(&e, src); err != nil {
		t.Fatal(err)
	}
	if err := WriteFilter(&f, filters); err != nil {
		t.Fatal(err)
	}
	return m, manifest, e.Bytes(), f.Bytes(), func(id KeyID, message, signature []byte) bool {
		return id == KeyIDOf(public) && ed25519.Verify(public, message, signature)
	}
}

// collect reads a part with entries into a source.
func collect(m *Manifest, r io.Reader) (sliceSource, error) {
	s := make(sliceSource, len(m.Tables))
	err := m.ReadEntries(r, func(table, run int, e *Entry) error {
		x := *e
		x.Spared = slices.Clone(e.Spared)
		s[table][run] = append(s[table][run], x)
		return nil
	})
	return s, err
}

// same reports whether two manifests say the same, instants by what they are.
func same(a, b *Manifest) bool {
	return bytes.Equal(a.appendBody(nil), b.appendBody(nil)) && a.Signer == b.Signer && a.Sum() == b.Sum()
}

// What is written is read again, from a reader that gives as little as it likes, and
// nothing behind it is touched.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		src := randomSource(rng, rng.IntN(MaxTables+1), []int{0, 3, 40, 900}[seed%4])
		m, manifest, entries, filter, verify := example(t, rng, src)
		var r io.Reader = bytes.NewReader(slices.Concat(manifest, entries, filter, []byte("next")))
		if seed%2 == 0 {
			r = iotest.OneByteReader(r)
		}
		got, err := Read(r, verify)
		if err != nil || !same(got, m) {
			t.Fatalf("%d: %v\n%+v\n%+v", seed, err, got, m)
		}
		again, err := collect(got, r)
		if err != nil || !reflect.DeepEqual(again, src) {
			t.Fatalf("%d: entries: %v", seed, err)
		}
		filters, err := got.ReadFilter(r)
		if err != nil {
			t.Fatalf("%d: filter: %v", seed, err)
		}
		var written bytes.Buffer
		if err := WriteFilter(&written, filters); err != nil || !bytes.Equal(written.Bytes(), filter) {
			t.Fatalf("%d: filter: another one", seed)
		}
		if err := End(r); FaultOf(err) != Impossible {
			t.Fatalf("%d: what follows is not refused: %v", seed, err)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "ext" {
			t.Fatalf("%d: more was read than belongs to it: %q is left", seed, rest)
		}
	}
}

// A part is loaded without the other: the filter alone, for one.
func TestPartsAreSeparate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	src := randomSource(rng, 2, 50)
	_, manifest, entries, filter, verify := example(t, rng, src)
	m, err := Read(bytes.NewReader(manifest), verify)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.ReadFilter(bytes.NewReader(filter)); err != nil {
		t.Error(err)
	}
	if _, err := collect(m, bytes.NewReader(entries)); err != nil {
		t.Error(err)
	}
	if _, err := m.ReadFilter(bytes.NewReader(entries)); err == nil {
		t.Error("the entries are taken for the filter")
	}
}

// No byte can be missing and none can be another, wherever it stands: each such change is
// refused by a fault, of the manifest before anything else is read.
func TestEveryChangeIsRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	src := randomSource(rng, 2, 6)
	_, manifest, entries, filter, verify := example(t, rng, src)
	load := func(manifest, entries, filter []byte) error {
		m, err := Read(bytes.NewReader(manifest), verify)
		if err != nil {
			return err
		}
		if _, err := collect(m, bytes.NewReader(entries)); err != nil {
			return err
		}
		_, err = m.ReadFilter(bytes.NewReader(filter))
		return err
	}
	if err := load(manifest, entries, filter); err != nil {
		t.Fatal(err)
	}
	for p, part := range [][]byte{manifest, entries, filter} {
		if len(part) < 100 {
			t.Fatalf("part %d has only %d bytes", p, len(part))
		}
		for i := range part {
			for _, change := range []func([]byte) []byte{
				func(b []byte) []byte { b[i] ^= 1 << (i % 8); return b },
				func(b []byte) []byte { return b[:i] },
			} {
				parts := [][]byte{manifest, entries, filter}
				parts[p] = change(slices.Clone(part))
				err := load(parts[0], parts[1], parts[2])
				var e *Error
				if !errors.As(err, &e) || !errors.Is(err, ErrRefused) {
					t.Fatalf("part %d, byte %d: %v", p, i, err)
				}
				if cut := len(parts[p]) < len(part); cut && e.Fault != Truncated {
					t.Fatalf("part %d, cut at %d: %v", p, i, err)
				}
			}
		}
	}
}

// Who signs decides: a snapshot without a signature, or of a key that does not count, is as
// good as none, however well it is made. A file that nobody else can write needs none.
func TestSignatures(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	m, signed, _, _, verify := example(t, rng, randomSource(rng, 1, 5))
	unsigned, err := m.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	forged := func(id KeyID, signs ed25519.PrivateKey) []byte {
		b, err := m.Encode(func(message []byte) (KeyID, []byte, error) { return id, ed25519.Sign(signs, message), nil })
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	otherID := KeyIDOf(other.Public().(ed25519.PublicKey))
	for name, c := range map[string]struct {
		data   []byte
		verify Verify
		want   Fault
	}{
		"signed":                     {signed, verify, 0},
		"unsigned":                   {unsigned, verify, Forged},
		"unsigned, a file":           {unsigned, nil, 0},
		"signed, a file":             {signed, nil, 0},
		"another key":                {forged(otherID, other), verify, Forged},
		"another key under the name": {forged(m.Signer, other), verify, Forged},
	} {
		_, err := Read(bytes.NewReader(c.data), c.verify)
		if c.want == 0 && err != nil || c.want != 0 && FaultOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A version to come, and what is no snapshot, are told apart from damage.
func TestVersions(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	_, manifest, _, _, verify := example(t, rng, randomSource(rng, 1, 5))
	next := slices.Clone(manifest)
	next[len(magic)]++
	for name, data := range map[string][]byte{"the next": next, "no snapshot": bytes.Repeat([]byte("x"), 100)} {
		if _, err := Read(bytes.NewReader(data), verify); FaultOf(err) != UnknownVersion {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a manifest declares is refused before a byte is allocated for it, also under a
// signature that counts.
func TestAbsurdManifests(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	src := randomSource(rng, 1, 5)
	for name, change := range map[string]func(*Manifest){
		"more entries than fit":      func(m *Manifest) { m.Tables[0].Runs[1] = 1 << 60 },
		"a part of another size":     func(m *Manifest) { m.Entries.Size++ },
		"a filter of another size":   func(m *Manifest) { m.Filter.Size-- },
		"a filter of no kind":        func(m *Manifest) { m.Tables[0].Blocks[0] = 1 },
		"too many exceptions":        func(m *Manifest) { m.Tables[0].Runs[0], m.Tables[0].Spared = 1, 65 },
		"no exceptions":              func(m *Manifest) { m.Tables[0].Runs[0], m.Tables[0].Spared = 1, 0 },
		"too many keys":              func(m *Manifest) { m.Tables = make([]Table, MaxTables+1) },
		"a part above the bound":     func(m *Manifest) { m.Tables[0].Blocks[1] = MaxPart/64 + 1; m.Filter.Size = MaxPart + 64 },
		"no anchor":                  func(m *Manifest) { m.Log.Anchors = nil },
		"an anchor elsewhere":        func(m *Manifest) { m.Log.Sequence++ },
		"anchors out of order":       func(m *Manifest) { m.Log.Anchors[1].Sequence = 77 },
		"anchors without a place":    func(m *Manifest) { m.Log.Sequence = 0 },
		"groups out of order":        func(m *Manifest) { m.Log.Digest.Groups[1].Begin = -60 },
		"marks beyond the place":     func(m *Manifest) { m.Log.Digest.Marks[0].Sequence = 78 },
		"a digest without algorithm": func(m *Manifest) { m.Log.Digest.Algorithm = 0 },
		"a negative lifetime":        func(m *Manifest) { m.TokenLifetime = -1 },
	} {
		m, _, _, _, _ := example(t, rng, src)
		change(m)
		if _, err := m.Encode(nil); !errors.Is(err, ErrRefused) {
			t.Errorf("%s is written: %v", name, err)
		}
	}
}

// An entry that no event could have made is refused where it is written and where it is read.
func TestAbsurdEntries(t *testing.T) {
	good := Entry{High: 5, Low: 5, Until: 9, Before: 7, Spared: []Exception{{1, 1, Never}, {2, 1, 6}}}
	if err := good.check(Spared, identity{4, 9}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		run    int
		change func(*Entry)
	}{
		"no identity":             {Spared, func(e *Entry) { e.High = 0 }},
		"too long an identity":    {Spared, func(e *Entry) { e.Low = 1 << 48 }},
		"out of order":            {Spared, func(e *Entry) { e.High = 4 }},
		"there twice":             {Spared, func(e *Entry) { e.High, e.Low = 4, 9 }},
		"no end":                  {Spared, func(e *Entry) { e.Until = 0 }},
		"too late a cutoff":       {Spared, func(e *Entry) { e.Before = MaxBefore + 1 }},
		"too early a cutoff":      {Spared, func(e *Entry) { e.Before = -1 }},
		"spares nobody":           {Spared, func(e *Entry) { e.Spared = nil }},
		"spares too many":         {Spared, func(e *Entry) { e.Spared = make([]Exception, MaxSpared+1) }},
		"exceptions of a session": {2, func(e *Entry) {}},
		"exception out of order":  {Spared, func(e *Entry) { e.Spared[1].High = 1 }},
		"exception of no session": {Spared, func(e *Entry) { e.Spared[0].High = 0 }},
		"exception to no effect":  {Spared, func(e *Entry) { e.Spared[1].Before = 7 }},
	} {
		e := good
		e.Spared = slices.Clone(good.Spared)
		c.change(&e)
		if err := e.check(c.run, identity{4, 9}); FaultOf(err) != Impossible {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An error of reading is told from an end.
func TestUnreadable(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 1))
	_, manifest, _, _, verify := example(t, rng, randomSource(rng, 1, 5))
	broken := errors.New("broken pipe")
	_, err := Read(io.MultiReader(bytes.NewReader(manifest[:20]), iotest.ErrReader(broken)), verify)
	if FaultOf(err) != Unreadable || !errors.Is(err, broken) {
		t.Error(err)
	}
}
