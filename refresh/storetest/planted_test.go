package storetest

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/refresh"
)

// A model is a Store in memory that is right, unless something is planted in it.
type model struct {
	planted func(m *model, c *call)

	mu      sync.Mutex
	last    uint64             // guarded by mu: revision
	records map[string]*record // guarded by mu
	before  map[string]*record // guarded by mu: what they replaced
	broken  int                // guarded by mu: so many Saves fail yet
	undo    []func()           // guarded by mu
}

type record struct {
	value    []byte
	revision uint64
	expires  time.Time
}

// A call is one Save, on its way; what is planted changes it.
type call struct {
	key      string
	value    []byte
	expires  time.Time
	revision uint64  // given
	current  *record // nil: none
	next     uint64  // the revision to give
	alias    bool
	unlocked bool  // others come between comparing and writing
	fails    error // after it has written
	skip     bool  // does not write
}

func newModel(planted func(*model, *call)) *model {
	return &model{planted: planted, records: map[string]*record{}, before: map[string]*record{}}
}

func (m *model) live(key string) *record {
	if r := m.records[key]; r != nil && time.Now().Before(r.expires) {
		return r
	}
	return nil
}

func (m *model) Load(ctx context.Context, key string) (refresh.Record, error) {
	if err := ctx.Err(); err != nil {
		return refresh.Record{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.live(key)
	if r == nil {
		return refresh.Record{}, refresh.ErrNotFound
	}
	return refresh.Record{Value: bytes.Clone(r.value), Revision: r.revision}, nil
}

func (m *model) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if len(value) > recordstore.MaxValueBytes {
		return 0, errors.New("too large")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &call{key: key, value: value, expires: expires, revision: revision, current: m.live(key), next: m.last + 1}
	if m.broken > 0 {
		m.broken--
		c.fails = errors.New("broken")
		c.skip = m.broken%2 == 0
	}
	if m.planted != nil {
		m.planted(m, c)
	}
	var now uint64
	if c.current != nil {
		now = c.current.revision
	}
	if now != c.revision {
		return 0, refresh.ErrConflict
	}
	if c.unlocked {
		m.mu.Unlock()
		runtime.Gosched()
		m.mu.Lock()
		c.next = m.last + 1
	}
	if !c.skip {
		if !c.alias {
			c.value = bytes.Clone(c.value)
		}
		m.last++
		m.before[c.key] = m.records[c.key]
		m.records[c.key] = &record{c.value, c.next, c.expires}
	}
	if c.fails != nil {
		return 0, c.fails
	}
	return c.next, nil
}

// breaks is a Config.Fault: the next Saves fail, half of them having written.
func (m *model) breaks(*testing.T, int) {
	m.mu.Lock()
	m.broken = 20
	undo := m.undo
	m.undo = nil
	m.mu.Unlock()
	for _, f := range undo {
		f()
	}
}

// A wrapped Store changes what goes in and out of another.
type wrapped struct {
	*model
	load func(m *model, ctx context.Context, key string) (refresh.Record, error)
	save func(m *model, ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error)
}

func (w wrapped) Load(ctx context.Context, key string) (refresh.Record, error) {
	if w.load == nil {
		return w.model.Load(ctx, key)
	}
	return w.load(w.model, ctx, key)
}

func (w wrapped) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if w.save == nil {
		return w.model.Save(ctx, key, value, revision, expires)
	}
	return w.save(w.model, ctx, key, value, revision, expires)
}

func TestGoodStore(t *testing.T) {
	var m *model
	Run(t, func(*testing.T) refresh.Store { m = newModel(nil); return m }, Config{
		Virtual: true, Fault: func(t *testing.T, n int) { m.breaks(t, n) }, Faults: 30,
	})
}

// size is what the records take. The caller holds mu.
func (m *model) size() (n int) {
	for _, r := range m.records {
		n += len(r.value)
	}
	return n
}

// bounded has a model refuse what would take more than 1 MiB, and share more for records
// that never expire.
func bounded(share int) func(*model, *call) {
	return func(m *model, c *call) {
		limit := 1 << 20
		if c.expires.Year() == 9999 {
			limit += share
		}
		if m.size()+len(c.value) > limit { // as if it replaced nothing, as in a log
			c.fails, c.skip = errors.New("full"), true
		}
	}
}

// A bounded store that keeps a share for what never expires passes.
func TestFullWithAShare(t *testing.T) {
	m := newModel(bounded(128 << 10))
	if err := checkFull(newEnv(t, func(*testing.T) refresh.Store { return m }, Config{})); err != nil {
		t.Error(err)
	}
}

// What each check is for is planted in a Store that is otherwise right, and the check
// notices. Where several should, each does.
func TestPlantedFaults(t *testing.T) {
	for _, c := range []struct {
		name    string
		by      string // checks that must notice
		planted func(m *model, c *call)
		wrap    wrapped
	}{
		{name: "lost update", by: "OneWins History", planted: func(_ *model, c *call) { c.unlocked = true }},
		{name: "no comparison", by: "Create Update OneWins History", planted: func(_ *model, c *call) {
			if c.revision = 0; c.current != nil {
				c.revision = c.current.revision
			}
		}},
		{name: "creation replaces", by: "Create Update OneWins History", planted: func(_ *model, c *call) {
			if c.revision == 0 {
				c.current = nil
			}
		}},
		{name: "update creates", by: "Create Expiry", planted: func(_ *model, c *call) {
			if c.current == nil {
				c.revision = 0
			}
		}},
		{name: "a huge revision is none", by: "Update", planted: func(_ *model, c *call) {
			if c.revision > 1<<63 && c.current != nil {
				c.revision = c.current.revision
			}
		}},
		{name: "revision from the value", by: "Update Revisions", planted: func(_ *model, c *call) { c.next = 1 + uint64(crc32.ChecksumIEEE(c.value)) }},
		{name: "revision by time", by: "Revisions Update", planted: func(m *model, c *call) { c.next = max(1, m.last/3) }},
		{name: "revisions begin anew after the expiry", by: "Expiry", planted: func(_ *model, c *call) {
			if c.next = 1; c.current != nil {
				c.next = c.current.revision + 1
			}
		}},
		{name: "revision zero", by: "Create", planted: func(_ *model, c *call) { c.next-- }},
		{name: "stale comparison", by: "Update OneWins History", planted: func(m *model, c *call) {
			if r := m.before[c.key]; r != nil && r.revision == c.revision {
				c.current = r
			}
		}},
		{name: "early expiry", by: "Expiry", planted: func(_ *model, c *call) { c.expires = c.expires.Add(-time.Second) }},
		{name: "expiry of the first Save", by: "Expiry", planted: func(_ *model, c *call) {
			if c.current != nil {
				c.expires = c.current.expires
			}
		}},
		{name: "the later expiry stays", by: "Expiry", planted: func(_ *model, c *call) {
			if c.current != nil && c.current.expires.After(c.expires) {
				c.expires = c.current.expires
			}
		}},
		{name: "what lasts is not prolonged", by: "Expiry", planted: func(_ *model, c *call) {
			if c.current != nil && c.expires.Year() == 9999 && c.current.expires.Year() < 9000 {
				c.expires = c.current.expires
			}
		}},
		{name: "no room for what lasts", by: "Full", planted: bounded(0)},
		{name: "room to make what lasts, not to replace it", by: "Full", planted: bounded(40 << 10)},
		{name: "no bound", by: "Full"},
		{name: "full is a conflict", by: "Full", planted: func(m *model, c *call) {
			if m.size() > 1<<20 {
				c.revision++
			}
		}},
		{name: "nothing is forgotten", by: "Expiry", planted: func(_ *model, c *call) { c.expires = c.expires.AddDate(1, 0, 0) }},
		{name: "arithmetic overflows", by: "FarExpiry", planted: func(_ *model, c *call) {
			c.expires = time.Unix(0, time.Now().UnixNano()+time.Until(c.expires).Nanoseconds())
		}},
		{name: "keeps the slice saved", by: "Slices", planted: func(_ *model, c *call) { c.alias = true }},
		{name: "keeps the slice loaded", by: "Slices", wrap: wrapped{load: func(m *model, ctx context.Context, key string) (refresh.Record, error) {
			r, err := m.Load(ctx, key)
			if err == nil {
				r.Value = m.live(key).value
			}
			return r, err
		}}},
		{name: "a conflict that was written", by: "History", planted: func(m *model, c *call) {
			if m.last%7 == 3 && strings.HasPrefix(string(c.value), "value") {
				c.fails = refresh.ErrConflict
			}
		}},
		{name: "a conflict for nothing", by: "History OneWins", planted: func(m *model, c *call) {
			if m.last++; m.last%7 == 3 {
				c.revision++
			}
		}},
		{name: "success that was not written", by: "Create Update History OneWins", planted: func(_ *model, c *call) { c.skip = true }},
		{name: "failure is taken for a conflict", by: faults, planted: func(_ *model, c *call) {
			if c.fails != nil {
				c.fails = refresh.ErrConflict
			}
		}},
		{name: "failure is taken for success", by: faults, planted: func(_ *model, c *call) { c.fails = nil }},
		{name: "what failed is torn", by: faults, planted: func(_ *model, c *call) {
			if c.fails != nil {
				c.value = c.value[:len(c.value)/2]
			}
		}},
		{name: "what failed is undone after it was seen", by: faults, planted: func(m *model, c *call) {
			if c.fails != nil && !c.skip {
				m.undo = append(m.undo, func() {
					if r := m.records[c.key]; r != nil && r.revision == c.next { // nothing else came after it
						m.records[c.key] = m.before[c.key]
					}
				})
				return
			}
			if m.last%4 == 0 {
				for _, f := range m.undo {
					f()
				}
				m.undo, c.current = nil, m.live(c.key)
			}
		}},
		{name: "acknowledged writes are lost", by: faults, planted: func(m *model, c *call) {
			if len(m.undo) == 0 && c.fails == nil {
				m.undo = append(m.undo, func() {
					m.mu.Lock()
					defer m.mu.Unlock()
					if before := m.before[c.key]; before != nil {
						m.records[c.key] = before
					}
				})
			}
		}},
		{name: "old answers", by: "Update History", wrap: wrapped{load: func(m *model, ctx context.Context, key string) (refresh.Record, error) {
			m.mu.Lock()
			r := m.before[key]
			m.mu.Unlock()
			if r != nil {
				return refresh.Record{Value: r.value, Revision: r.revision}, nil
			}
			return m.Load(ctx, key)
		}}},
		{name: "keys in one case", by: "Keys", planted: nil, wrap: wrapped{
			load: func(m *model, ctx context.Context, key string) (refresh.Record, error) {
				return m.Load(ctx, strings.ToLower(key))
			},
			save: func(m *model, ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
				return m.Save(ctx, strings.ToLower(key), value, revision, expires)
			},
		}},
		{name: "long keys are cut", by: "Keys", wrap: wrapped{
			load: func(m *model, ctx context.Context, key string) (refresh.Record, error) {
				return m.Load(ctx, key[:min(len(key), 63)])
			},
			save: func(m *model, ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
				return m.Save(ctx, key[:min(len(key), 63)], value, revision, expires)
			},
		}},
		{name: "keys are patterns", by: "BadKeys", wrap: wrapped{load: func(m *model, ctx context.Context, key string) (refresh.Record, error) {
			if prefix, ok := strings.CutSuffix(key, ">"); ok {
				for k := range maps.Keys(m.records) {
					if strings.HasPrefix(k, prefix) {
						return m.Load(ctx, k)
					}
				}
			}
			return m.Load(ctx, key)
		}}},
		{name: "keys are trimmed", by: "BadKeys", wrap: wrapped{save: func(m *model, ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
			return m.Save(ctx, strings.TrimSpace(key), value, revision, expires)
		}}},
		{name: "values are text", by: "Values", planted: func(_ *model, c *call) { c.value = bytes.ToValidUTF8(c.value, []byte("?")) }},
		{name: "values end at a zero", by: "Values", planted: func(_ *model, c *call) { c.value, _, _ = bytes.Cut(c.value, []byte{0}) }},
		{name: "large values are cut", by: "Values", planted: func(_ *model, c *call) { c.value = c.value[:min(len(c.value), 1<<16-1)] }},
		{name: "an empty value is no record", by: "Values", wrap: wrapped{load: func(m *model, ctx context.Context, key string) (refresh.Record, error) {
			r, err := m.Load(ctx, key)
			if err == nil && len(r.Value) == 0 {
				err = refresh.ErrNotFound
			}
			return r, err
		}}},
		{name: "the context is ignored", by: "Cancelled", wrap: wrapped{
			load: func(m *model, _ context.Context, key string) (refresh.Record, error) {
				return m.Load(context.Background(), key)
			},
		}},
		{name: "the context is a conflict", by: "Cancelled History", wrap: wrapped{save: func(m *model, ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
			if ctx.Err() != nil {
				return 0, refresh.ErrConflict
			}
			n, err := m.Save(ctx, key, value, revision, expires)
			if err == nil && n%5 == 0 && strings.HasPrefix(string(value), "value ") {
				return 0, refresh.ErrConflict // as if the answer were lost
			}
			return n, err
		}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name := range strings.FieldsSeq(c.by) {
				i := slices.IndexFunc(checks, func(k check) bool { return k.name == name })
				if i < 0 {
					t.Fatalf("no check is called %s", name)
				}
				m := newModel(c.planted)
				w := c.wrap
				w.model = m
				cfg := Config{Linger: time.Minute, Fault: m.breaks, Faults: 30}
				var err error
				run := func(t *testing.T) { err = checks[i].run(newEnv(t, func(*testing.T) refresh.Store { return w }, cfg)) }
				if checks[i].expiry {
					synctest.Test(t, run)
				} else {
					run(t)
				}
				if err == nil {
					t.Errorf("%s did not notice", name)
				} else {
					t.Logf("%s: %v", name, err)
				}
			}
		})
	}
}
