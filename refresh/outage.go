package refresh

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A span is a time in which nothing could be answered, in unix milliseconds.
type span [2]int64

func (s span) from() int64 { return s[0] }
func (s span) to() int64   { return s[1] }

const (
	maxSpans = 16

	// patience is how long after a failure a client may wait until it tries again before
	// the time counts, in milliseconds.
	patience = 5_000

	// sameOutage is how far apart two failures may be, with nothing between them that
	// worked, to be one outage, in milliseconds.
	sameOutage = 60_000
)

// extend adds a failure to the spans.
func extend(list []span, x span) []span {
	if n := len(list); n > 0 && x.from()-list[n-1].to() <= sameOutage {
		last := list[n-1]
		list[n-1] = span{min(last.from(), x.from()), max(last.to(), x.to())}
		return list
	}
	list = append(list, x)
	return list[max(0, len(list)-maxSpans):]
}

// overlap returns how much of the time between from and to the spans cover, each with
// the patience after it.
func overlap(list []span, from, to int64) (sum int64) {
	list = slices.Clone(list)
	used := from
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.from(), b.from()) })
	for _, x := range list {
		if x.to() < used {
			continue // over before, patience and all
		}
		begin, end := max(x.from(), from), min(x.to()+patience, to)
		if begin < end {
			sum += end - begin
			from = end
		}
	}
	return sum
}

// outages are those of the store, as this instance has seen them, and as others have in
// a record that all share. It is written when the store can be reached again, and read before
// anybody is taken for a thief.
type outages struct {
	mu     sync.Mutex
	own    []span
	open   bool // the last access failed
	told   []span
	shared []span
	read   revoke.Instant // when shared was; zero: never
	failed chan struct{}  // wakes the watchers
}

// An outageRecord is what the instances share.
type outageRecord struct {
	V     int    `json:"v"`
	Spans []span `json:"spans"`

	place
}

func (*outageRecord) expires(m *Manager) int64 { return m.millis() + outageMemory }

// outageMemory is how long an outage is of interest, in milliseconds.
const outageMemory = 3_600_000

// note takes down whether the store answered an access that began then.
func (o *outages) note(began, now int64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case ok:
		o.open = false
		return
	case o.open && len(o.own) > 0:
		last := &o.own[len(o.own)-1]
		last[1] = max(last.to(), now)
	default:
		o.own = append(o.own, span{min(began, now), now})
		o.own = o.own[max(0, len(o.own)-maxSpans):]
	}
	o.open = true
	select {
	case o.failed <- struct{}{}:
	default:
	}
}

// known returns what is known without asking the store.
func (o *outages) known() []span {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append(slices.Clone(o.own), o.shared...)
}

// dirty returns what others have not been told yet.
func (o *outages) dirty(now int64) []span {
	o.mu.Lock()
	defer o.mu.Unlock()
	if slices.Equal(o.own, o.told) || len(o.own) == 0 || now-o.own[len(o.own)-1].to() > outageMemory {
		return nil
	}
	return slices.Clone(o.own)
}

func (m *Manager) outageKey() string { return recordKey("o", m.issuer.Issuer, "") }

// readOutages reads the shared record, unless that was done within maxAge.
func (m *Manager) readOutages(ctx context.Context, maxAge time.Duration) error {
	o := &m.outages
	o.mu.Lock()
	fresh := !o.read.IsZero() && m.now().Since(o.read) < maxAge
	o.mu.Unlock()
	if fresh {
		return nil
	}
	at := m.now()
	shared, err := m.loadOutages(ctx)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shared, o.read = shared.Spans, at
	return nil
}

// loadOutages returns an empty record if there is none.
func (m *Manager) loadOutages(ctx context.Context) (*outageRecord, error) {
	return loadOr(ctx, m, m.outageKey(), "outages", &outageRecord{V: recordVersion}, func(data []byte) (*outageRecord, error) {
		spans, err := decodeOutages(data, m.millis(), m.skew)
		if err != nil {
			m.log.Warn("refresh: the record of outages is not understood; they count against windows", "error", err)
		}
		return &outageRecord{V: recordVersion, Spans: spans}, nil
	})
}

// decodeOutages returns the outages that are of interest.
func decodeOutages(data []byte, now, skew int64) (spans []span, err error) {
	var rec outageRecord
	if len(data) > recordstore.MaxValueBytes {
		return nil, fmt.Errorf("record of %d bytes, more than %d", len(data), recordstore.MaxValueBytes)
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return nil, err
	}
	if rec.V != recordVersion {
		return nil, fmt.Errorf("record of version %d, this program knows %d", rec.V, recordVersion)
	}
	for _, x := range rec.Spans {
		if 0 <= x.from() && x.from() <= x.to() && x.to() <= now+skew && now-x.to() <= outageMemory {
			spans = append(spans, x)
		}
	}
	return spans[:min(len(spans), 4*maxSpans)], nil
}

// tellOutages writes what this instance has seen into the shared record.
func (m *Manager) tellOutages(ctx context.Context) error {
	own := m.outages.dirty(m.millis())
	if own == nil {
		return nil
	}
	_, err := update[*outageRecord]{
		load: m.loadOutages,
		change: func(r *outageRecord) (*outageRecord, error) {
			spans := slices.Clone(r.Spans)
			for _, x := range own {
				if i := slices.IndexFunc(spans, func(y span) bool { return x.from() <= y.to() && y.from() <= x.to() }); i >= 0 {
					spans[i] = span{min(x.from(), spans[i].from()), max(x.to(), spans[i].to())}
				} else {
					spans = append(spans, x)
				}
			}
			next := *r
			next.Spans = spans[max(0, len(spans)-4*maxSpans):]
			return &next, nil
		},
	}.do(ctx, m)
	if err != nil {
		return err
	}
	m.outages.mu.Lock()
	defer m.outages.mu.Unlock()
	m.outages.told = own
	return nil
}

// probeEvery is how often a store that has failed is asked whether it works again.
const probeEvery = 500 * time.Millisecond

// watchStore is the goroutine that tells of outages as soon as they are over. It sleeps
// while the store works.
func (m *Manager) watchStore() {
	for {
		select {
		case <-m.outages.failed:
		case <-m.ctx.Done():
			return
		}
		for {
			if pause.Wait(m.ctx, probeEvery) != nil {
				return
			}
			ctx, cancel := context.WithTimeout(m.ctx, finishTimeout)
			err := m.tellOutages(ctx)
			cancel()
			if err == nil {
				break
			}
		}
	}
}
