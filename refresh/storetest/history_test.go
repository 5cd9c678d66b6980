package storetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// verify says the same as a search through all orders, for random small histories, of
// which about half have an explanation.
func TestVerifyIsExact(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("HYBRIDTOKEN_HISTORY"); s != "" { // one that went wrong
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("HYBRIDTOKEN_HISTORY: %v", err)
		}
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	good, bad := 0, 0
	for i := range 30_000 {
		ops := randomHistory(rng)
		err := verify(ops, false)
		if err != nil && strings.Contains(err.Error(), "the test ") {
			continue
		}
		want := explain(ops, make([]bool, len(ops)), 0, "", map[uint64]bool{})
		if (err == nil) != want {
			for _, o := range ops {
				t.Logf("%+v", o)
			}
			t.Fatalf("seed %d, history %d: verify says %v; an order exists: %v", seed, i, err, want)
		}
		if want {
			good++
		} else {
			bad++
		}
	}
	if good < 2000 || bad < 2000 {
		t.Errorf("%d good and %d bad histories: the test does not ask much", good, bad)
	}
}

// randomHistory has calls overlap on a register that is right, and then perhaps
// changes an answer.
func randomHistory(rng *rand.Rand) []op {
	type running struct {
		op
		done, tried bool
	}
	var (
		calls    []*running
		clock    time.Duration
		last     uint64
		value    string
		revision uint64
		known    = []uint64{0} // revisions that some caller has been given
	)
	n := 2 + rng.IntN(5)
	for left := n; left > 0; {
		clock++
		switch c := rng.IntN(3); {
		case c == 0 && len(calls) < n: // a call begins
			o := op{key: "k", invoked: clock, returned: math.MaxInt64}
			if o.save = rng.IntN(3) > 0; o.save {
				o.value, o.base = fmt.Sprint("v", len(calls)), known[max(0, len(known)-1-rng.IntN(2))]
			}
			calls = append(calls, &running{op: o})
		case c == 1 && len(calls) > 0: // one takes effect
			r := calls[rng.IntN(len(calls))]
			if r.tried {
				break
			}
			r.tried = true
			switch {
			case !r.save:
				r.outcome, r.value, r.revision = done, value, revision
				if revision == 0 {
					r.outcome = missing
				}
			case r.base == revision:
				last++
				revision, value = last, r.value
				r.outcome, r.revision = done, last
			default:
				r.outcome = conflict
			}
		case c == 2 && len(calls) > 0: // one returns
			r := calls[rng.IntN(len(calls))]
			if r.done {
				break
			}
			if !r.tried || r.save && rng.IntN(6) == 0 { // with an error
				r.outcome, r.revision = unknown, 0
				if !r.save {
					r.tried = true
				}
			}
			r.done, r.returned = true, clock
			if r.outcome == done {
				known = append(known, r.revision)
			}
			left--
		}
		if len(calls) == n && left > 0 && rng.IntN(200) == 0 {
			break
		}
	}
	var ops []op
	for _, r := range calls {
		if !r.done { // its caller is gone
			r.outcome, r.revision = unknown, 0
		}
		ops = append(ops, r.op)
	}
	if len(ops) > 1 && rng.IntN(6) > 0 {
		o, other := &ops[rng.IntN(len(ops))], ops[rng.IntN(len(ops))]
		switch rng.IntN(5) {
		case 0:
			if o.save && o.outcome == done {
				o.outcome, o.revision = conflict, 0
			}
		case 1:
			if o.save && o.outcome == conflict {
				last++
				o.outcome, o.revision = done, last
			}
		case 2:
			if !o.save && other.outcome == done {
				o.outcome, o.value, o.revision = done, other.value, other.revision
			}
		case 3:
			if !o.save && o.outcome == done {
				o.outcome, o.value, o.revision = missing, "", 0
			}
		case 4:
			if o.save && o.outcome == done && other.outcome == done {
				o.revision = other.revision
			}
		}
	}
	return ops
}

// explain reports whether the rest of the calls can take effect in some order, the
// register being as given.
func explain(ops []op, gone []bool, revision uint64, value string, used map[uint64]bool) bool {
	left := false
	end := time.Duration(math.MaxInt64) // nothing may begin after this that goes first
	for i, o := range ops {
		if !gone[i] && o.outcome != unknown {
			left = true
			end = min(end, o.returned)
		}
	}
	if !left {
		return true
	}
	for i, o := range ops {
		if gone[i] || o.invoked > end {
			continue
		}
		next, now := revision, value
		switch {
		case !o.save && o.outcome == done && (o.revision != revision || o.value != value || revision == 0),
			!o.save && o.outcome == missing && revision != 0,
			!o.save && o.outcome == unknown,
			o.save && o.outcome == conflict && o.base == revision,
			o.save && o.outcome != conflict && o.base != revision:
			continue
		case o.save && o.outcome == done:
			next, now = o.revision, o.value
		case o.save && o.outcome == unknown: // it takes effect now, under the revision that others saw
			next, now = 1000+uint64(i), o.value
			for _, other := range ops {
				if !other.save && other.outcome == done && other.value == o.value {
					next = other.revision
				}
			}
		}
		wrote := o.save && o.outcome != conflict
		if wrote && used[next] {
			continue
		}
		gone[i] = true
		if wrote {
			used[next] = true
		}
		if explain(ops, gone, next, now, used) {
			return true
		}
		gone[i] = false
		if wrote {
			delete(used, next)
		}
	}
	return false
}
