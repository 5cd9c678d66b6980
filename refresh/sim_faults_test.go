package refresh

import (
	"context"
	"errors"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A simStore is a memory store that fails as stores do.
type simStore struct {
	s       *sim
	records map[string]Record
	older   map[string]Record // what a slow reader may still be told
	next    uint64
	late    []func() // writes that were reported lost and come yet
}

var errSim = errors.New("simulated failure")

func (st *simStore) fail() error {
	st.s.failures++
	return errSim
}

func (st *simStore) Load(ctx context.Context, key string) (Record, error) {
	st.s.pause()
	if st.s.faulty && st.s.chance(8) {
		return Record{}, st.fail()
	}
	if st.s.faulty && st.s.chance(5) {
		if r, ok := st.older[key]; ok && r.Revision != 0 { // an old "there is none" no Store may give
			st.s.stale++
			st.s.current.stale++
			return r, nil
		}
	}
	r, ok := st.records[key]
	if !ok {
		return Record{}, ErrNotFound
	}
	return r, nil
}

func (st *simStore) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	st.s.pause()
	if err := CheckRecord(key, value); err != nil {
		st.s.violation("bad record: %v", err)
	}
	if expires.Before(st.s.now()) {
		st.s.violation("a record that has expired when it is written")
	}
	if st.s.faulty {
		switch st.s.rng.IntN(30) {
		case 0: // lost
			return 0, st.fail()
		case 1: // done, and not said
			st.s.counts.ambiguous++
			if _, err := st.save(key, value, revision); err != nil {
				return 0, err
			}
			return 0, st.fail()
		case 2: // comes later
			st.s.counts.lates++
			st.late = append(st.late, func() { _, _ = st.save(key, value, revision) })
			return 0, st.fail()
		}
	}
	return st.save(key, value, revision)
}

func (st *simStore) save(key string, value []byte, revision uint64) (uint64, error) {
	old := st.records[key]
	if old.Revision != revision {
		st.s.counts.conflicts++
		return 0, ErrConflict
	}
	st.older[key] = old
	st.next++
	st.records[key] = Record{Value: value, Revision: st.next}
	return st.next, nil
}

type simPublisher struct{ s *sim }

func (p simPublisher) Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error) {
	p.s.pause()
	fail := 0
	if p.s.faulty {
		fail = p.s.rng.IntN(12)
	}
	if fail == 1 {
		return revoke.Receipt{}, errSim
	}
	e, err := p.s.bus.Publish(e)
	if err != nil {
		p.s.violation("event refused: %v", err)
		return revoke.Receipt{}, err
	}
	p.s.pause()
	if fail == 2 {
		return revoke.Receipt{}, errSim
	}
	return revoke.Receipt{ID: e.ID, Event: e}, nil
}
