package revoke

import (
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"
)

// drawID draws an identity of the shapes that are hard to keep apart: at the ends of the
// range, in one narrow part of it, with the same first word as others, and any.
func drawID(rng *rand.Rand) digest {
	id := digest{max(rng.Uint64(), 1), rng.Uint64() & (idHigh | idLow)}
	switch rng.IntN(6) {
	case 0:
		id.hi = 1 + rng.Uint64N(3)
	case 1:
		id.hi = math.MaxUint64 - rng.Uint64N(3)
	case 2:
		id.hi = 0xabcd<<48 | rng.Uint64N(64)
	case 3:
		id.hi = 1 << 63
	}
	return id
}

func drawEntry(rng *rand.Rand, id digest, k Kind, from uint32) entry {
	e := entry{id: id, kind: k, before: forever, until: from + rng.Uint32N(100)}
	if k.Cutoff() {
		e.before = 1000 + rng.Int64N(1000)
	}
	if k == KindSubject && rng.IntN(3) == 0 {
		x := &exceptions{}
		for i := range uint64(1 + rng.IntN(3)) {
			x.list = append(x.list, exception{digest{i + 1, rng.Uint64N(3)}, never})
		}
		e.keep = x
	}
	return e
}

type mapKey struct {
	kind Kind
	id   digest
}

// A base, made of the one before it and of memtables time and again while entries arrive,
// are widened and expire, in segments of every size, holds what a map holds, to the bit:
// identity, cutoff, end and exceptions (invariants 2, 3 and 4). And so does, for everything
// that was there before, each base that it shows on the way.
func TestTablesAgreeWithMap(t *testing.T) {
	rounds, shows, grown, shrunk := 0, 0, 0, 0
	for seed := range uint64(80) {
		rng := rand.New(rand.NewPCG(seed, 1))
		how := layout{newDensity(1e-3), []int{1, 3, 16, 200}[seed%4]}
		pool := make([]digest, 20+rng.IntN(400))
		for i := range pool {
			pool[i] = drawID(rng)
		}
		b, model := emptyBase, map[mapKey]entry{}
		live := uint32(1000)
		for range 12 {
			rounds++
			var frozen []*memtable
			sum := map[mapKey]entry{}
			for range rng.IntN(4) {
				r := newMemtable(32 + rng.IntN(100))
				for range rng.IntN(r.capacity() + 1) {
					k := Kind(1 + rng.IntN(int(KindIssuer)))
					id := pool[rng.IntN(len(pool))]
					id.lo = id.lo&^7 | uint64(k) // no two kinds share an identity
					e := drawEntry(rng, id, k, live-20)
					r.put(e)
					key := mapKey{k, e.id}
					if old, ok := sum[key]; ok {
						e = merge(old, e)
					}
					sum[key] = e
				}
				frozen = append(frozen, r)
			}
			if rng.IntN(3) == 0 {
				live += rng.Uint32N(60)
			}
			before := len(model)
			for key, e := range model {
				if e.until < live {
					delete(model, key)
				}
			}
			held := func(b *base, key mapKey) (entry, bool) {
				tab := b.tables[key.kind]
				if tab == nil || b.filters[key.kind] == nil || !b.filters[key.kind].mayContain(key.id) {
					return entry{}, false
				}
				s, i, found := tab.find(key.id)
				if !found {
					return entry{}, false
				}
				return tab.entry(s, i), true
			}
			next := compact(b, frozen, live, how, func(part *base) {
				shows++
				for key, e := range model {
					with := e
					if more, ok := sum[key]; ok {
						with = merge(e, more)
					}
					if got, ok := held(part, key); !ok || !reflect.DeepEqual(got, e) && !reflect.DeepEqual(got, with) {
						t.Fatalf("seed %d: on the way %v has %+v, want %+v or %+v", seed, key, got, e, with)
					}
				}
			})
			for key, e := range sum {
				if old, ok := model[key]; ok {
					e = merge(old, e)
				}
				if e.until >= live {
					model[key] = e
				}
			}
			if len(model) > before {
				grown++
			} else if len(model) < before {
				shrunk++
			}
			b = next
			n := 0
			last := mapKey{}
			for e := range b.entries {
				key := mapKey{e.kind, e.id}
				if n > 0 && (key.kind < last.kind || key.kind == last.kind && compareDigests(key.id, last.id) <= 0) {
					t.Fatalf("seed %d: %v comes after %v", seed, key, last)
				}
				last = key
				n++
				if want, ok := model[key]; !ok || !reflect.DeepEqual(e, want) {
					t.Fatalf("seed %d: holds %+v, want %+v, %t", seed, e, want, ok)
				}
				if got, ok := held(b, key); !ok || !reflect.DeepEqual(got, e) {
					t.Fatalf("seed %d: %+v is not found", seed, e)
				}
			}
			if n != len(model) || n != b.count() {
				t.Fatalf("seed %d: %d entries, by its count %d, want %d", seed, n, b.count(), len(model))
			}
			for range 200 {
				key := mapKey{Kind(1 + rng.IntN(int(KindIssuer))), drawID(rng)}
				if _, ok := held(b, key); ok {
					if _, ok := model[key]; !ok {
						t.Fatalf("seed %d: %v is found and not held", seed, key)
					}
				}
			}
			// The same from a list, in any order and with duplicates, as a state file has them.
			all := slices.Collect(b.entries)
			twice := append(slices.Clone(all), all[:len(all)/3]...)
			rng.Shuffle(len(twice), func(i, j int) { twice[i], twice[j] = twice[j], twice[i] })
			if again := newBase(twice, how); !reflect.DeepEqual(slices.Collect(again.entries), all) || again.kinds != b.kinds {
				t.Fatalf("seed %d: made of a list it holds something else", seed)
			}
		}
	}
	if shows < rounds || grown < rounds/10 || shrunk < rounds/50 {
		t.Errorf("%d rounds, %d bases shown, %d times grown, %d times shrunk: too few to show anything", rounds, shows, grown, shrunk)
	}
}

// An identity that differs from one that is held in any one of its 112 bits is another
// (invariant 2).
func TestEveryBitOfAnIdentityCounts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		for _, k := range []Kind{KindToken, KindSubject} {
			id := digest{rng.Uint64() | 1<<63 | 1, rng.Uint64() & (idHigh | idLow)}
			r := newMemtable(1)
			r.put(entry{id: id, kind: k, before: 5, until: 7})
			b := compact(emptyBase, []*memtable{r}, 0, layout{newDensity(.1), 8}, nil)
			lookup := func(id digest) (bool, bool) {
				_, _, tabled := b.tables[k].find(id)
				_, inMem := r.find(id)
				return tabled, inMem
			}
			if x, y := lookup(id); !x || !y {
				t.Fatalf("%s: not found: %t, %t", k, x, y)
			}
			bits := 0
			for i := range 128 {
				other := id
				if i < 64 {
					other.hi ^= 1 << i
				} else if mask := uint64(1) << (i - 64); mask&(idHigh|idLow) == 0 {
					continue
				} else {
					other.lo ^= mask
				}
				bits++
				if x, y := lookup(other); x || y {
					t.Fatalf("%s: bit %d does not count: in the table %t, in the memtable %t", k, i, x, y)
				}
			}
			if bits < 112 {
				t.Fatalf("an identity has %d bits", bits)
			}
		}
	}
}

// A memtable gives all entries of a part of the range, and no others, also where they stand
// in a long row or run over its end.
func TestMemtableGivesARange(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	for range 300 {
		r := newMemtable(32 + rng.IntN(200))
		for !r.full() {
			r.put(entry{id: drawID(rng), kind: Kind(1 + rng.IntN(2)), before: forever, until: 1})
		}
		for range 20 {
			first, last := drawID(rng).hi, drawID(rng).hi
			if first > last {
				first, last = last, first
			}
			var want []entry
			for i := range r.slots {
				if s := &r.slots[i]; s.h.Load() != 0 && s.h.Load() >= first && s.h.Load() <= last && s.kind() == KindToken {
					want = append(want, s.entry())
				}
			}
			if got := sums(r.between(nil, KindToken, first, last)); !reflect.DeepEqual(got, sums(want)) && len(got)+len(want) > 0 {
				t.Fatalf("between %x and %x: %d entries, want %d", first, last, len(got), len(want))
			}
		}
	}
}

// Identities are hashes under a secret key, but those of a state file are what somebody
// wrote there. However they crowd, those that are held are found, and no others.
func TestCrowdedIdentities(t *testing.T) {
	const n = 300_000
	list := make([]entry, n)
	for i := range list { // all in one bucket, and half of them with one first word
		list[i] = entry{id: digest{1<<40 + uint64(max(i-n/2, 0)), uint64(i)}, kind: KindToken, before: forever, until: 1}
	}
	b := newBase(list, layout{newDensity(1e-4), segmentEntries})
	for i := n / 2; i < n; i += 1000 {
		for _, absent := range []uint64{0, 1} {
			if _, _, found := b.tables[KindToken].find(digest{1<<40 + uint64(i-n/2), uint64(i) | absent<<48}); found != (absent == 0) {
				t.Fatalf("%d: found %t", i, found)
			}
		}
	}
	if s := b.tables[KindToken].at(1 << 40); len(s.hi) != n {
		t.Errorf("a segment of %d: they do not crowd", len(s.hi))
	}
}

// While a base is made anew, with a twentieth more entries, what is replaced is let go: never are
// two whole ones in memory.
func TestOldTablesAreLetGo(t *testing.T) {
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	const n = 200_000
	rng := rand.New(rand.NewPCG(1, 4))
	how := layout{newDensity(1e-4), 1 << 13}
	before := float64(SettledHeap())
	fill := func() *base {
		list := make([]entry, n)
		for i := range list {
			list[i] = entry{id: digest{rng.Uint64() | 1, rng.Uint64() & idLow}, kind: KindToken, before: forever, until: 1}
		}
		return newBase(list, how)
	}
	r := newMemtable(n / 20)
	for !r.full() {
		r.put(entry{id: digest{rng.Uint64() | 1, rng.Uint64() & idLow}, kind: KindToken, before: forever, until: 1})
	}
	var inView *base // as the List's view is
	inView = fill()
	full := heap() - before
	most, shows := 0.0, 0
	inView = compact(inView, []*memtable{r}, 0, how, func(b *base) {
		inView = b
		shows++
		most = max(most, heap()-before)
	})
	after := heap() - before
	runtime.KeepAlive(inView)
	runtime.KeepAlive(r)
	t.Logf("%.0f bytes, at most %.0f while it was made anew, %.0f after, %d shown", full, most, after, shows)
	if shows < 10 || full < 20*n || most > 1.25*after {
		t.Errorf("%.0f bytes, at most %.0f while it was made anew, %.0f after, %d shown", full, most, after, shows)
	}
}
