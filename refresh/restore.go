package refresh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A store that is restored from a backup shows sessions that were ended since, and has
// forgotten rotations and logouts everywhere. Managers that lived through it find out by
// one record of the store, in which they count: a count that has fallen is no answer that
// is merely old once a compare-and-set has been made on it. Until an operator has declared
// the restore, nothing is minted then, and nobody convicted.

const (
	// epochFresh is how long a reading of the record counts; what is declared is obeyed by
	// every instance that much later.
	epochFresh = 5 * time.Second
	// epochBeat is how often the instances that use the store count, all together: backups
	// that are younger are not told from the store.
	epochBeat = 10 * time.Second
	epochLife = 20 * 365 * 24 * time.Hour
)

// An epoch is what the store holds of itself.
type epoch struct {
	V        int    `json:"v"`
	Epoch    int64  `json:"epoch"`              // raised by each declared restore
	Count    uint64 `json:"count"`              // raised by Managers that use the store
	At       int64  `json:"at"`                 // when it was
	Fell     int64  `json:"fell,omitempty"`     // when a Manager saw the count fall; zero once that is declared
	Boundary int64  `json:"boundary,omitempty"` // who was authenticated until then, and sessions that began until then, are over

	unknown
	place
}

func (*epoch) expires(m *Manager) int64 { return m.millis() + epochLife.Milliseconds() }

var epochNames = names(epoch{})

func (e *epoch) UnmarshalJSON(data []byte) error {
	type plain epoch
	return e.read(data, (*plain)(e), epochNames)
}

func (e *epoch) MarshalJSON() ([]byte, error) {
	type plain epoch
	return e.write((*plain)(e))
}

var _ json.Unmarshaler = (*epoch)(nil)

func decodeEpoch(data []byte) (*epoch, error) {
	e := new(epoch)
	if err := decodeRecord(data, e); err != nil {
		return nil, err
	}
	for _, t := range []int64{e.Epoch, e.At, e.Fell, e.Boundary} {
		if t < 0 || t > maxMillis {
			return nil, errors.New("record of the store that cannot be")
		}
	}
	return e, nil
}

// before reports whether e is older than another, of which a Manager knows that it was
// written.
func (e *epoch) before(other *epoch) bool {
	return e.Epoch < other.Epoch || e.Epoch == other.Epoch && e.Count < other.Count
}

// A guard is what a Manager knows of its store.
type guard struct {
	boundary atomic.Int64 // of the newest record read

	mu   sync.Mutex
	seen epoch          // guarded by mu: the newest record read
	read revoke.Instant // guarded by mu: when that reading began
	good bool           // guarded by mu: it was, and no call of the store has failed since
	told revoke.Instant // guarded by mu: when the log last said that the store fell
	fell int64          // guarded by mu: when the store did, by the last reading; zero: it has not
}

// fresh reports whether what is known is new enough.
func (g *guard) fresh(now revoke.Instant) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.good && now.Since(g.read) < epochFresh
}

// doubt has the record read anew: a store that fails is perhaps being restored.
func (g *guard) doubt() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.good = false
}

// newest returns what the Manager has seen.
func (g *guard) newest() epoch {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen
}

// adopt takes note of a record that is in the store.
func (g *guard) adopt(e *epoch, read revoke.Instant) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.before(&g.seen) { // a slower call's
		return
	}
	g.seen, g.read, g.good = *e, read, e.Fell == 0
	g.fell = e.Fell
	g.boundary.Store(e.Boundary)
}

// since returns when the store fell.
func (g *guard) since() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fell
}

// restored returns an error while the store has fallen back behind what this or another
// instance has seen, and that is not declared. With anew it asks the store.
func (m *Manager) restored(ctx context.Context, anew bool) error {
	if !anew && m.guard.fresh(m.now()) {
		return nil
	}
	// Each of those who wait would otherwise wait until all before it had given up a store that hangs.
	turn, cancel := context.WithTimeout(ctx, finishTimeout)
	release, waited, err := m.take(turn, m.epochKey())
	cancel()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	defer release()
	if waited && !anew && m.guard.fresh(m.now()) {
		return nil
	}
	var read revoke.Instant
	var counts *epoch // what is only counted on
	e, err := update[*epoch]{
		before: m.backingOff(ctx, ErrStore),
		load: func(ctx context.Context) (*epoch, error) {
			read = m.now()
			return m.loadEpoch(ctx)
		},
		// The write decides: an old answer of the store is no store that fell.
		change: func(e *epoch) (*epoch, error) {
			seen, next, now := m.guard.newest(), *e, m.millis()
			counts = nil
			switch fell := e.before(&seen); {
			case e.Fell != 0: // somebody has found it out
				return e, nil
			case fell:
				next.Fell = max(now, 1)
			case e.revision == 0:
				next.Count, next.At = e.Count+1, now
			case now-e.At > epochBeat.Milliseconds() || e.At-now > epochBeat.Milliseconds():
				next.Count, next.At, counts = e.Count+1, now, e
			default:
				return e, nil
			}
			return &next, nil
		},
	}.do(ctx, m)
	switch {
	case errors.Is(err, errBusy):
		return fmt.Errorf("%w: what it holds of itself changes all the time", ErrStore)
	case errors.Is(err, errUnsure) && counts != nil: // it counts the next time
		e = counts
	case err != nil:
		return err
	}
	if err := e.understood(); err != nil {
		return err
	}
	if e.Fell != 0 {
		return m.fallen(e)
	}
	m.guard.adopt(e, read)
	return nil
}

func (e *epoch) understood() error {
	name, ok := e.demands(epochNames)
	return notUnderstood("store", name, ok)
}

// fallen says so, in the log once a minute.
func (m *Manager) fallen(e *epoch) error {
	now := m.now()
	m.guard.mu.Lock()
	say := m.guard.told == (revoke.Instant{}) || now.Since(m.guard.told) > time.Minute
	if say {
		m.guard.told = now
	}
	m.guard.good, m.guard.fell = false, e.Fell
	m.guard.mu.Unlock()
	if say {
		m.log.Error("refresh: the store has lost what it had acknowledged, as one does that was restored from a backup: no session is begun or refreshed until the restore is declared (Manager.DeclareRestore)",
			"seen", time.UnixMilli(e.Fell))
	}
	return fmt.Errorf("%w: it has lost what it had acknowledged; if it was restored from a backup, that has to be declared", ErrStore)
}

func (m *Manager) epochKey() string { return recordKey("r", m.issuer.Issuer, "epoch") }

// loadEpoch returns an empty record if there is none.
func (m *Manager) loadEpoch(ctx context.Context) (*epoch, error) {
	return loadOr(ctx, m, m.epochKey(), "what it holds of itself", &epoch{V: recordVersion}, decodeEpoch)
}

// revived reports whether the session is one that a restore has brought back.
func (m *Manager) revived(s *session) bool {
	b := m.guard.boundary.Load()
	return b != 0 && s.Start <= b
}

const reasonRestored = "store restored from a backup"

// bringDown ends a session that a restore has brought back. The compare-and-set decides.
func (m *Manager) bringDown(ctx context.Context, r *session) error {
	if err := m.save(ctx, r.end(m.millis(), reasonRestored, "", false)); err != nil {
		return err
	}
	return ErrEnded
}

// DeclareRestore says that the Store was restored from a backup that was taken at that
// time: sessions that had begun by then are over, and nobody logs in who was authenticated
// before. The zero time says so of all that were until now, which is right where nobody
// knows. Without it a session that was logged out, ended by a password change or found
// stolen after the backup would live again.
//
// One call on one instance does, after the Store serves; it returns when every other
// instance obeys, some seconds later. It may be called again, with the same or another
// backup. The [issue.Keyring] of Config.Issuer is read anew, and those of other instances
// read theirs within their RefreshInterval.
//
// A Manager that was running before the restore notices it by itself, unless the backup is
// younger than ten seconds, and until it is declared answers [ErrStore] to every login and
// refresh, as do all instances then; logouts go on. Where no instance was running, nobody
// notices. Access tokens that were issued before go on until they expire; an event of
// [revoke.KindIssuer] ends them at once.
func (m *Manager) DeclareRestore(ctx context.Context, backup time.Time) error {
	if err := m.declareRestore(ctx, backup); err != nil {
		return fmt.Errorf("refresh: declare restore: %w", err)
	}
	return nil
}

func (m *Manager) declareRestore(ctx context.Context, backup time.Time) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	if err := m.clock(); err != nil {
		return err
	}
	// Other instances' clocks may be ahead by MaxSkew, and have dated a session ahead by as
	// much; the backup's clock may be behind.
	boundary := m.millis() + m.skew
	if !backup.IsZero() {
		at := backup.UnixMilli()
		if at > boundary || at < 0 {
			return fmt.Errorf("the backup's time %s lies in the future or before 1970", backup)
		}
		boundary = min(boundary, at+m.skew+m.slack)
	}
	var read revoke.Instant
	e, err := update[*epoch]{
		before: m.backingOff(ctx, errBusy),
		load: func(ctx context.Context) (*epoch, error) {
			read = m.now()
			return m.loadEpoch(ctx)
		},
		change: func(e *epoch) (*epoch, error) {
			seen, next := m.guard.newest(), *e
			// Above whatever any instance has seen: each declaration raises it to the time.
			next.Epoch = max(e.Epoch+1, seen.Epoch+1, m.millis())
			next.Count, next.At, next.Fell = e.Count+1, m.millis(), 0
			next.Boundary = max(e.Boundary, seen.Boundary, boundary)
			return &next, nil
		},
	}.do(ctx, m)
	if err != nil {
		return err
	}
	m.guard.adopt(e, read)
	m.log.Warn("refresh: the store was restored from a backup; sessions that began before are over", "until", time.UnixMilli(e.Boundary))
	if err := m.issuer.Keys.Refresh(ctx); err != nil {
		return fmt.Errorf("%w: declared, but the keys could not be read anew: %w", ErrTryAgain, err)
	}
	if err := m.wait(ctx, epochFresh); err != nil {
		return fmt.Errorf("%w: declared, but other instances do not all know it yet: %w", ErrTryAgain, err)
	}
	return nil
}
