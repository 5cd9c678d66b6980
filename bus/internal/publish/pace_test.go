package publish

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"

	"github.com/nats-io/nats.go/jetstream"
)

// The way is chosen by measuring the first hundreds of each, for as long as that may hold.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 100_000
		for name, c := range map[string]struct {
			batch, single time.Duration // an event
			want          way
			singles       int // that are measured
		}{
			"each is synced":  {10 * time.Microsecond, time.Millisecond, inBatches, smallSample},
			"batches quicker": {20 * time.Microsecond, 30 * time.Microsecond, inBatches, sample},
			"singles quicker": {40 * time.Microsecond, 30 * time.Microsecond, oneByOne, sample},
			"alike":           {30 * time.Microsecond, 30 * time.Microsecond, inBatches, sample},
		} {
			var g pace
			measured := map[way]int{}
			rest := many
			for {
				w, n := g.next(rest, 1)
				if n == rest {
					if w != c.want || measured[inBatches] != sample || measured[oneByOne] != c.singles {
						t.Errorf("%s: chose %d after %v", name, w, measured)
					}
					break
				}
				each := c.batch
				if w == oneByOne {
					each = c.single
				}
				g.took(w, n, time.Duration(n)*each, 1)
				measured[w], rest = measured[w]+n, rest-n
			}
			if w, n := g.next(many, 1); w != c.want || n != many {
				t.Errorf("%s: the next call measures again", name)
			}
			if w, n := g.next(many, 2); w != inBatches || n != sample {
				t.Errorf("%s: over another connection it does not measure", name)
			}
			time.Sleep(2 * paceAge)
			if w, n := g.next(many, 2); w != inBatches || n != sample {
				t.Errorf("%s: what is old still counts", name)
			}
		}
		var g pace
		if w, n := g.next(1000, 1); w != inBatches || n != 1000 {
			t.Errorf("few events: way %d, %d", w, n)
		}
		// What was chosen gets worse than the other was.
		g.took(inBatches, sample, sample*time.Microsecond, 1)
		g.took(oneByOne, sample, sample*2*time.Microsecond, 1)
		g.took(inBatches, many, many*5*time.Microsecond, 1)
		if w, _ := g.next(many, 1); w != oneByOne {
			t.Error("batches are chosen although they have become slower")
		}
	})
}

// Batches that fail are not tried for a while, after one failure or three, by what it is.
func TestBatchesPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		code := func(c jetstream.ErrorCode) error { return &jetstream.APIError{ErrorCode: c} }
		for _, c := range []struct {
			err   error
			times int // until there is a pause; 0: never
		}{
			{errNoBatches, 1}, {code(jsadmin.CodeBatchesDisabled), 1}, {errors.New("timeout"), 3}, {code(10176), 3}, {code(jsadmin.CodeBatchHoldsSeen), 3},
			{ErrFull, 0}, {nil, 0}, {code(jsadmin.CodeBatchTooLarge), 0},
		} {
			var g pace
			n := 0
			for ; g.batches() && n < 5; n++ {
				g.failed(c.err, maxBatch)
			}
			if want := c.times; want == 0 && n != 5 || want > 0 && n != want {
				t.Errorf("%v: paused after %d, want %d", c.err, n, want)
			}
			if w, _ := g.next(100, 1); (w == oneByOne) != (c.times > 0) {
				t.Errorf("%v: way %d", c.err, w)
			}
			time.Sleep(batchPause + time.Second)
			if !g.batches() {
				t.Errorf("%v: paused for ever", c.err)
			}
		}
		var g pace
		for _, err := range []error{errors.New("x"), errors.New("x"), nil, errors.New("x"), errors.New("x")} {
			g.failed(err, maxBatch)
		}
		if !g.batches() {
			t.Error("failures count that are not in a row")
		}
		for n, want := 1000, 500; want >= minBatch; n, want = want, want/2 {
			if g.failed(code(jsadmin.CodeBatchTooLarge), n); g.most() != want || !g.batches() {
				t.Errorf("after %d were too many: %d", n, g.most())
			}
		}
		if g.failed(code(jsadmin.CodeBatchTooLarge), minBatch); g.batches() {
			t.Error("a server that takes hardly any is asked again")
		}
	})
}
