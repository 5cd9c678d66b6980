package refresh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke/revoketest"
)

// Time in which an instance could not answer does not count: a client that is bound to one
// whose clock is off has its retry answered once the clock is set, or elsewhere. A retry that
// came too late in any case is theft as ever.
func TestClockOffDoesNotCount(t *testing.T) {
	for _, off := range []time.Duration{61 * time.Minute, -61 * time.Minute, 7 * time.Second} {
		for name, c := range map[string]struct {
			lives  Lifetimes
			silent time.Duration // before its first retry
			tries  int           // at the instance that is off, 2 s apart
			want   error
		}{
			"Web, for 30 s":                 {Web, 5 * time.Second, 15, nil},
			"Web, for 4 min":                {Web, 5 * time.Second, 120, nil},
			"Web, never asked":              {Web, 40 * time.Second, 0, ErrReused},
			"Web, too late at first":        {Web, 40 * time.Second, 5, ErrReused},
			"HighSecurity, at once":         {HighSecurity, time.Second, 5, errTooLate},
			"HighSecurity, after a while":   {HighSecurity, 5 * time.Second, 5, ErrReused},
			"Consumer, at once":             {Consumer, time.Second, 15, nil},
			"Consumer, once, then a pause":  {Consumer, time.Second, 1, nil},
			"Web, once, and then for hours": {Web, time.Second, 400, errTooLate},
		} {
			t.Run(fmt.Sprintf("%s, %s", off, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					bus := revoketest.NewBus(revoketest.Config{})
					store := NewMemoryStore()
					share := func(cfg *Config) { cfg.Store, cfg.Lifetimes = store, c.lives }
					right, _ := onBus(t, bus, share)
					wrong, member := onBus(t, bus, share)
					member.SetSkew(off)
					bus.Advance(10 * time.Second)
					g := right.mustLogin(t)
					call := Request{Token: g.RefreshToken(), Client: "web"}
					next, err := right.Refresh(t.Context(), call) // whose answer is lost
					if err != nil {
						t.Fatal(err)
					}
					bus.Advance(c.silent)
					for range c.tries {
						if _, err := wrong.Refresh(t.Context(), call); !errors.Is(err, ErrClock) {
							t.Fatal(err)
						}
						bus.Advance(2 * time.Second)
					}
					again, err := right.Refresh(t.Context(), call)
					if !errors.Is(err, c.want) || err == nil && again.RefreshToken() != next.RefreshToken() {
						t.Errorf("%v, want %v, and the same successor", err, c.want)
					}
				})
			})
		}
	}
}

// A demanding store adds a member that must not be ignored to the sessions that are read.
type demanding struct{ Store }

var demand = []byte(`"must":["future"],"future":1,`)

func (d demanding) Load(ctx context.Context, key string) (Record, error) {
	r, err := d.Store.Load(ctx, key)
	if key[0] == 's' && !bytes.Contains(r.Value, []byte(`"future":1`)) {
		r.Value = bytes.Replace(r.Value, []byte(`{"v":`), append([]byte("{"), append(demand, `"v":`...)...), 1)
	}
	return r, err
}

// A knowing store takes it out again: it is that of a version that knows the member.
type knowing struct{ Store }

func (k knowing) Load(ctx context.Context, key string) (Record, error) {
	r, err := k.Store.Load(ctx, key)
	r.Value = bytes.ReplaceAll(bytes.ReplaceAll(r.Value, []byte(`,"must":["future"]`), nil), []byte(`,"future":1`), nil)
	return r, err
}

// Nor does the time count in which a client is bound to a version that does not understand
// its session's record.
func TestRecordNotUnderstoodDoesNotCount(t *testing.T) {
	for _, tries := range []int{15, 0} {
		synctest.Test(t, func(t *testing.T) {
			two := instances(t, Web, 0, 0)
			old, later := two[0], two[1]
			store := old.cfg.Store
			old.cfg.Store, later.cfg.Store = demanding{store}, knowing{store}
			g := later.mustLogin(t)
			call := Request{Token: g.RefreshToken(), Client: "web"}
			next, err := later.Refresh(t.Context(), call)
			if err != nil {
				t.Fatal(err)
			}
			for range tries {
				if _, err := old.Refresh(t.Context(), call); !errors.Is(err, ErrStore) {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
			}
			time.Sleep(30*time.Second - time.Duration(tries)*2*time.Second)
			again, err := later.Refresh(t.Context(), call)
			if tries == 0 {
				if !errors.Is(err, ErrReused) {
					t.Error(err)
				}
			} else if err != nil || again.RefreshToken() != next.RefreshToken() {
				t.Errorf("%v, or another successor", err)
			}
		})
	}
}

// A thief who floods does not keep the window open for himself beyond half a minute. For
// five more it is in doubt, which gives him nothing, and then he is convicted.
func TestFloodHoldsNoWindowOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := instances(t, Web, 0)[0]
		g := m.mustLogin(t)
		call := Request{Token: g.RefreshToken(), Client: "web"}
		if _, err := m.Refresh(t.Context(), call); err != nil {
			t.Fatal(err)
		}
		busy, late := 0, 0
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			_, err := m.Refresh(t.Context(), call)
			took := time.Since(began)
			switch {
			case err == nil && took < 30*time.Second:
			case errors.Is(err, ErrBusy) && took < 30*time.Second:
				busy++
			case errors.Is(err, errTooLate) && took > 12*time.Second:
				late++
			case errors.Is(err, ErrReused) && busy > 100 && late > 100 && took < 6*time.Minute:
				return
			default:
				t.Fatalf("%v after %s, %d refusals, %d in doubt", err, took, busy, late)
			}
		}
	})
}
