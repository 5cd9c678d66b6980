package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// Config configures [Run]. The zero Config suits a Store with a network behind it.
type Config struct {
	// Virtual has the tests of expiry run in bubbles of [testing/synctest], where
	// waiting takes no time. It is for Stores in memory. False means that they wait.
	Virtual bool

	// Linger is how long after its expiry a record may still be found. Zero means a
	// minute. The contract allows any time; a Store that never forgets is full one day.
	Linger time.Duration

	// Another opens another instance's access to the data of s, which open has
	// returned: a second connection, for example. Nil means that all callers use s.
	Another func(t *testing.T, s refresh.Store) refresh.Store

	// Fault, if not nil, makes calls fail that are under way: it cuts connections, loses
	// answers, kills servers; n counts from zero. It returns when it has done so and calls
	// can succeed again, or soon will. It is called Faults times, zero meaning 8, in a
	// test of its own.
	Fault  func(t *testing.T, n int)
	Faults int

	// Bounded says that the Store refuses records when it is full, which takes no more than
	// 64 MiB. Then it has to keep room for those that never expire. What open returns is full
	// at the end.
	Bounded bool

	// StaleReads says that a Fault can make Load return what has been replaced since,
	// for some time. False means that it must not. Without a Fault it never may.
	StaleReads bool
}

// Run tests the Stores that open returns, one for each test; several may share their
// data. open releases what it takes with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) refresh.Store, cfg Config) {
	t.Helper()
	if cfg.Linger <= 0 {
		cfg.Linger = time.Minute
	}
	if cfg.Faults <= 0 {
		cfg.Faults = 8
	}
	for _, c := range checks {
		if c.name == faults && cfg.Fault == nil || c.name == full && !cfg.Bounded {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			test := func(t *testing.T) {
				if err := c.run(newEnv(t, open, cfg)); err != nil {
					t.Error(err)
				}
			}
			if c.expiry && cfg.Virtual {
				synctest.Test(t, test)
			} else {
				test(t)
			}
		})
	}
}

// A check tests one promise. It returns an error and fails no test, so that our own
// tests can see it fail.
type check struct {
	name   string
	run    func(*env) error
	expiry bool
}

const (
	faults = "Faults"
	full   = "Full"
)

var checks = []check{
	{name: "Create", run: checkCreate},
	{name: "Update", run: checkUpdate},
	{name: "Revisions", run: checkRevisions},
	{name: "Keys", run: checkKeys},
	{name: "BadKeys", run: checkBadKeys},
	{name: "Values", run: checkValues},
	{name: "Slices", run: checkSlices},
	{name: "Cancelled", run: checkCancelled},
	{name: "Expiry", run: checkExpiry, expiry: true},
	{name: "FarExpiry", run: checkFarExpiry},
	{name: "OneWins", run: checkOneWins},
	{name: "History", run: checkHistory},
	{name: faults, run: checkFaults},
	{name: full, run: checkFull}, // at the end: nothing else has room then
}

// An env is what a check works with.
type env struct {
	t    *testing.T
	ctx  context.Context
	cfg  Config
	s    refresh.Store   // the same as all[0]
	all  []refresh.Store // instances, of the same data
	name string          // begins each key
	keys int
}

// timeout bounds a call. It is generous: nothing here judges speed.
const timeout = time.Minute

func newEnv(t *testing.T, open func(t *testing.T) refresh.Store, cfg Config) *env {
	s := open(t)
	e := &env{t: t, ctx: t.Context(), cfg: cfg, s: s, all: []refresh.Store{s}, name: rand.Text()[:16]}
	for range 2 {
		if cfg.Another != nil {
			s = cfg.Another(t, e.s)
		}
		e.all = append(e.all, s)
	}
	return e
}

// key returns one that was not used before.
func (e *env) key() string {
	e.keys++
	return fmt.Sprintf("%s.%d", e.name, e.keys)
}

func later() time.Time { return time.Now().Add(time.Hour) }

func (e *env) load(key string) (refresh.Record, error) { return e.loadFrom(e.s, key) }

func (e *env) loadFrom(s refresh.Store, key string) (refresh.Record, error) {
	ctx, cancel := context.WithTimeout(e.ctx, timeout)
	defer cancel()
	return s.Load(ctx, key)
}

func (e *env) save(key, value string, revision uint64) (uint64, error) {
	return e.saveUntil(key, value, revision, later())
}

func (e *env) saveUntil(key, value string, revision uint64, expires time.Time) (uint64, error) {
	ctx, cancel := context.WithTimeout(e.ctx, timeout)
	defer cancel()
	return e.s.Save(ctx, key, []byte(value), revision, expires)
}

// must saves and returns the new revision.
func (e *env) must(key, value string, revision uint64) (uint64, error) {
	n, err := e.save(key, value, revision)
	switch {
	case err != nil:
		return 0, fmt.Errorf("got Save(%q, revision %d): %w", short(value), revision, err)
	case n == 0:
		return 0, fmt.Errorf("got Save(%q, revision %d) returned revision 0", short(value), revision)
	case n == revision:
		return 0, fmt.Errorf("got Save(%q, revision %d) returned the same revision", short(value), revision)
	}
	return n, nil
}

// refuse saves and expects a conflict.
func (e *env) refuse(key, value string, revision uint64, why string) error {
	if n, err := e.save(key, value, revision); !errors.Is(err, refresh.ErrConflict) {
		return fmt.Errorf("got Save(%q, revision %d) = %d, %v; want ErrConflict: %s", short(value), revision, n, err, why)
	} else if errors.Is(err, refresh.ErrNotFound) {
		return fmt.Errorf("got Save: %v matches ErrNotFound, too", err)
	}
	return nil
}

// expect loads from every instance.
func (e *env) expect(key, value string, revision uint64) error {
	for _, s := range e.all {
		r, err := e.loadFrom(s, key)
		if err != nil {
			return fmt.Errorf("got Load: %w; want %q", err, short(value))
		}
		if string(r.Value) != value || r.Revision != revision {
			return fmt.Errorf("got Load = %q, revision %d; want %q, %d", short(string(r.Value)), r.Revision, short(value), revision)
		}
	}
	return nil
}

// missing expects that there is no record.
func (e *env) missing(key string) error {
	for _, s := range e.all {
		r, err := e.loadFrom(s, key)
		if !errors.Is(err, refresh.ErrNotFound) {
			return fmt.Errorf("got Load = %q, revision %d, %v; want ErrNotFound", short(string(r.Value)), r.Revision, err)
		}
		if errors.Is(err, refresh.ErrConflict) {
			return fmt.Errorf("got Load: %v matches ErrConflict, too", err)
		}
	}
	return nil
}

func short(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%s… (%d bytes)", s[:40], len(s))
	}
	return s
}

// first returns the first error of steps, each of which runs only if none failed.
func first(steps ...func() error) error {
	for _, f := range steps {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}
