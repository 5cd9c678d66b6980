package refresh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What is over and not published is pending in the record of the session or the subject,
// and finished by the next call that comes upon it. So that somebody does although its user never
// returns, it is also named in one of a few lists in the store, before it becomes pending,
// and every Manager looks through them about once a minute. A list is a hint: what it
// names is read and judged, and an entry that is lost or too much costs no more than
// what it was for.

const (
	workLists = 8

	// lookEvery is the mean time between two looks, of each Manager.
	lookEvery = time.Minute

	// workSettles is how long an entry is kept, in milliseconds, though nothing is pending:
	// it is written before the record.
	workSettles = 120_000

	// owedTimeout is what naming work may take: its doing waits for it.
	owedTimeout = 3 * time.Second

	// maxBusFailures ends a look: the bus is down.
	maxBusFailures = 3
)

// A work names a session or a subject of which something is to be done.
type work struct {
	SID     string `json:"sid,omitempty"`
	Subject string `json:"sub,omitempty"`
	At      int64  `json:"at"` // unix milliseconds
}

type workList struct {
	V    int    `json:"v"`
	Work []work `json:"work,omitempty"`

	place
}

// A list lives as long as anything can be pending.
func (*workList) expires(m *Manager) int64 {
	return m.millis() + m.cfg.Revocations.Config().SessionLifetime.Milliseconds()
}

func decodeWork(data []byte) (*workList, error) {
	if len(data) > recordstore.MaxValueBytes {
		return nil, fmt.Errorf("record of %d bytes, more than %d", len(data), recordstore.MaxValueBytes)
	}
	if err := strictjson.Object(data, func(string, strictjson.Value) error { return nil }); err != nil {
		return nil, err
	}
	l := new(workList)
	if err := json.Unmarshal(data, l); err != nil {
		return nil, err
	}
	if l.V != recordVersion {
		return nil, fmt.Errorf("record of version %d, this program knows %d", l.V, recordVersion)
	}
	for _, w := range l.Work {
		_, ok := parseSID(w.SID)
		if ok == (w.Subject != "") || !ok && w.SID != "" || w.At < 0 || w.At > maxMillis {
			return nil, errors.New("record of work that cannot be")
		}
	}
	return l, nil
}

func (m *Manager) workKey(list int) string {
	return recordKey("p", m.issuer.Issuer, strconv.Itoa(list))
}

// owe names work in the store before it is left to be done. Where it cannot, the work is
// found by a call that comes upon the record.
func (m *Manager) owe(ctx context.Context, w work) {
	ctx, cancel := context.WithTimeout(detach(ctx), owedTimeout)
	defer cancel()
	if err := m.changeWork(ctx, w, func(others []work) []work {
		w.At = m.millis()
		return append(others, w)
	}); err != nil {
		m.log.Warn("refresh: what may stay pending is not named in the store: only a call that comes upon it finishes it", "error", err)
	}
}

// disown takes out what owe has named. Where it cannot, a later look does.
func (m *Manager) disown(ctx context.Context, w work) {
	if err := m.changeWork(ctx, w, func(others []work) []work { return others }); err != nil {
		m.log.Debug("refresh: list of pending work not written", "error", err)
	}
}

// changeWork has change replace the other entries of the list that w belongs into.
func (m *Manager) changeWork(ctx context.Context, w work, change func(others []work) []work) error {
	h := fnv.New32a()
	h.Write([]byte(w.SID + w.Subject))
	key := m.workKey(int(h.Sum32() % workLists))
	_, err := update[*workList]{
		load: func(ctx context.Context) (*workList, error) { return m.loadWork(ctx, key) },
		change: func(r *workList) (*workList, error) {
			next := *r
			next.Work = change(slices.DeleteFunc(slices.Clone(r.Work), func(x work) bool { return x.SID == w.SID && x.Subject == w.Subject }))
			return &next, nil
		},
	}.do(ctx, m)
	return err
}

// loadWork returns an empty list if there is none.
func (m *Manager) loadWork(ctx context.Context, key string) (*workList, error) {
	return loadOr(ctx, m, key, "pending work", &workList{V: recordVersion}, decodeWork)
}

// lookForWork is the goroutine that finishes what is pending.
func (m *Manager) lookForWork() {
	for {
		if pause.Wait(m.ctx, pause.Between(lookEvery/2, lookEvery*3/2)) != nil {
			return
		}
		m.finishPending(inBackground(m.ctx))
	}
}

// finishPending looks through the lists once, in no particular order, so that what cannot be
// finished keeps nothing else from it.
func (m *Manager) finishPending(ctx context.Context) {
	seen := pendingWork{at: m.now()}
	failures := 0
	for i, first := 0, rand.IntN(workLists); i < workLists && ctx.Err() == nil; i++ {
		key := m.workKey((first + i) % workLists)
		load, cancel := context.WithTimeout(ctx, finishTimeout)
		list, err := m.loadWork(load, key)
		if err == nil && list.revision == 0 {
			_ = m.save(load, list) // a record that is there is cheaper to ask for than one that is not
		}
		cancel()
		if err != nil {
			m.log.Debug("refresh: pending work not read", "error", err)
			seen.failed = true
			continue
		}
		var done []work
		seen.count += len(list.Work)
		for _, j := range rand.Perm(len(list.Work)) {
			w := list.Work[j]
			if ctx.Err() != nil || failures >= maxBusFailures {
				break
			}
			pending, err := m.finishWork(ctx, w)
			switch {
			case errors.Is(err, ErrPending):
				failures++
			case err == nil && (pending || m.millis()-w.At > workSettles):
				done = append(done, w)
			}
			if err != nil {
				m.log.Warn("refresh: still pending", "sid", w.SID, "sub", w.Subject, "error", err)
			}
		}
		if len(done) == 0 {
			continue
		}
		seen.count -= len(done)
		list.Work = slices.DeleteFunc(list.Work, func(w work) bool { return slices.Contains(done, w) })
		save, cancel := context.WithTimeout(ctx, finishTimeout)
		if err := m.save(save, list); err != nil { // they are looked at once more
			m.log.Debug("refresh: list of pending work not written", "error", err)
		}
		cancel()
	}
	m.pending.Store(&seen)
}

// A pendingWork is what the last look has seen.
type pendingWork struct {
	at     revoke.Instant
	count  int
	failed bool
}

// finishWork does what is to be done of w, and says whether there was anything.
func (m *Manager) finishWork(ctx context.Context, w work) (pending bool, err error) {
	load, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	if w.SID != "" {
		r, err := m.loadSession(load, w.SID)
		switch {
		case errors.Is(err, ErrNotFound), err == nil && !r.Pending:
			return false, nil
		case err != nil:
			return true, err
		}
		return true, m.tell(ctx, r)
	}
	r, err := m.loadSubject(load, w.Subject)
	if err != nil || r.Op == "" {
		return err != nil, err
	}
	return true, m.finishTold(ctx, w.Subject, r, nil, endTimeout)
}

// A call's context does not end what has to be done once it is decided; that of the
// background does, which Close waits for.
type backgroundKey struct{}

func inBackground(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, true)
}

func detach(ctx context.Context) context.Context {
	if ctx.Value(backgroundKey{}) != nil {
		return ctx
	}
	return context.WithoutCancel(ctx)
}
