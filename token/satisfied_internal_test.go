package token

import (
	"math"
	"sync"
	"testing"
)

// A number is given to what is asked for again and again, to nothing else, and once.
func TestRememberedOptionsAreNumberedOnce(t *testing.T) {
	given := numbers.Load()
	for range 100 {
		if n := RequireScope("read")().numbered(); n != 0 {
			t.Fatalf("an option of one call has the number %d", n)
		}
	}
	if numbers.Load() != given {
		t.Errorf("options of one call took %d numbers", numbers.Load()-given)
	}
	seen := make(map[uint32]bool)
	for range 100 {
		d := RequireScope("read")() // alike, and not the same
		d.numbered()
		n := d.numbered()
		if n <= usedOnce || seen[n] || d.numbered() != n {
			t.Fatalf("number %d after %v, and then %d", n, seen, d.numbered())
		}
		seen[n] = true
	}

	shared := RequireScope("read")()
	numbersOf := make([]uint32, 8)
	var all sync.WaitGroup
	for i := range numbersOf {
		all.Go(func() {
			for numbersOf[i] == 0 {
				numbersOf[i] = shared.numbered()
			}
		})
	}
	all.Wait()
	for _, n := range numbersOf {
		if n != shared.number.Load() || n <= usedOnce || seen[n] {
			t.Errorf("numbers of one: %v, in the end %d", numbersOf, shared.number.Load())
		}
	}
}

// When all numbers are given there are no more, and what has none is never found remembered.
func TestRememberedOptionsRunOutOfNumbers(t *testing.T) {
	defer numbers.Store(numbers.Load())
	numbers.Store(math.MaxUint32 - usedOnce - 1)
	last, none := RequireScope("read")(), RequireScope("write")()
	for range 3 {
		last.numbered()
	}
	if n := last.numbered(); n != math.MaxUint32 {
		t.Errorf("the last number is %d", n)
	}
	var s satisfied
	for range 3 {
		if n := none.numbered(); n != 0 {
			t.Errorf("number %d after the last", n)
		}
		s.add(none)
	}
	if s != (satisfied{}) || s.holds(none) {
		t.Errorf("what has no number is remembered: %v", &s)
	}
}

// A token remembers as many as it has room for, none of them is replaced, and no other is found.
func TestRememberedOptionsFillUp(t *testing.T) {
	var s satisfied
	var all []*demands
	for range len(s) + 3 {
		d := RequireScope("read")()
		for range 3 {
			if s.holds(d) {
				t.Fatalf("found before it was added, among %d", len(all))
			}
			d.numbered()
		}
		for range 2 {
			s.add(d)
		}
		all = append(all, d)
		for i, d := range all {
			if s.holds(d) != (i < len(s)) {
				t.Errorf("of %d the one that came as number %d is remembered: %t", len(all), i+1, s.holds(d))
			}
		}
	}
	for name, d := range map[string]*demands{"never asked": RequireScope("read")(), "nothing": {}} {
		if s.holds(d) {
			t.Errorf("%s: found", name)
		}
	}
	asked := RequireScope("read")()
	asked.numbered() // once
	if s.holds(asked) || new(satisfied).holds(asked) {
		t.Error("asked once: found")
	}
}
