package jose

import (
	"math/big"
	"testing"
)

// The primes of the test for CVE-2017-15361 are the first odd ones, none of them left out: with
// another number in the list a faulty modulus would look sound.
func TestROCAPrimes(t *testing.T) {
	var want []uint64
	for n := uint64(3); len(want) < 38; n += 2 {
		if new(big.Int).SetUint64(n).ProbablyPrime(0) { // exact below 2⁶⁴
			want = append(want, n)
		}
	}
	if len(rocaPrimes) != len(want) {
		t.Fatalf("%d primes, want %d", len(rocaPrimes), len(want))
	}
	for i, p := range rocaPrimes {
		if p != want[i] {
			t.Errorf("prime %d is %d, want %d", i, p, want[i])
		}
	}
}
