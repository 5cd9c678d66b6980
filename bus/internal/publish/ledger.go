package publish

import (
	"container/heap"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// What a publisher remembers, to republish it should the stream lose it.
	maxRemembered      = 100_000
	maxRememberedBytes = 64 << 20
)

// A ledger holds what was acknowledged. Sequences of one stream only grow, so an
// acknowledgement at or below the highest that was known when the message was sent
// comes from a stream that has forgotten: rolled back, or made anew. An era is the
// time between two such findings. Its methods take its lock, but for those that say that
// the caller holds it, which only its own do.
type ledger struct {
	mu         sync.Mutex
	eras       atomic.Uint64 // that have ended; changed under mu
	highest    uint64        // acknowledged sequence of this era
	alive      living        // what is to be republished after a loss
	bytes      int64         // of alive
	recovering bool          // a goroutine is republishing
	suspects   chan struct{} // holds a token while one of them is under way; see alone
	stats      Status

	// For the watch, see there.
	began     time.Time     // of this era
	epoch     uint64        // reconnects when something was last sent
	witnesses []witness     // of this era, by sequence
	checked   time.Time     // when all of them were last found
	refused   bool          // the connection may not read messages
	trusted   time.Time     // until then no doubt has effect
	pause     time.Duration // between the last doubt and trusted
	doubted   bool          // there was one meanwhile
}

// current returns the era, from 1. It takes no lock.
func (l *ledger) current() uint64 { return l.eras.Load() + 1 }

// begin returns what acknowledged must be given for a message sent after it.
func (l *ledger) begin() (floor, era uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.highest, l.current()
}

// tellsOfLoss reports whether a stream with a memory could not have given ack.
func tellsOfLoss(ack *jetstream.PubAck, retried bool, floor uint64) bool {
	return ack.Sequence <= floor || ack.Duplicate && !retried
}

// A verdict is what an acknowledgement is worth.
type verdict uint8

const (
	stands   verdict = iota // the record is in the stream
	outdated                // it was sent before a loss was found, and may be lost too
	lossy                   // it tells of a loss, with which another era has begun
)

// acknowledge judges an acknowledgement of a message that was sent in that era, when floor
// was the highest sequence, and takes note of it.
func (l *ledger) acknowledge(rec *record, ack *jetstream.PubAck, retried bool, floor, era uint64, now time.Time) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.judge(ack, retried, floor, era)
	if v == stands {
		l.stands(rec, ack.Sequence, now)
	}
	return v
}

// acknowledgeAll is acknowledge for records that were sent as one, each for the first time:
// the first has the sequence of ack, and each other the next.
func (l *ledger) acknowledgeAll(recs []*record, first *jetstream.PubAck, floor, era uint64, now time.Time) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.judge(first, false, floor, era)
	if v == stands {
		for i, rec := range recs {
			l.stands(rec, first.Sequence+uint64(i), now)
		}
	}
	return v
}

// judge returns what an acknowledgement is worth. The caller holds mu.
func (l *ledger) judge(ack *jetstream.PubAck, retried bool, floor, era uint64) verdict {
	switch {
	case era != l.current():
		return outdated
	case tellsOfLoss(ack, retried, floor):
		l.lost(ack.Sequence)
		return lossy
	}
	return stands
}

// stands takes note that rec is in the stream, at that sequence. The caller holds mu.
func (l *ledger) stands(rec *record, seq uint64, now time.Time) {
	l.highest = max(l.highest, seq)
	if rec.era == 0 {
		l.stats.Acknowledged++
	} else {
		l.stats.Republished++
	}
	rec.era, rec.seq, rec.ends = l.current(), seq, 0
	if !rec.kept {
		l.remember(rec, now)
	}
}

// contradicted counts an acknowledgement that the stream itself contradicts.
func (l *ledger) contradicted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Contradicted++
}

// lost begins an era, whose highest acknowledged sequence is that one. The caller holds mu.
func (l *ledger) lost(highest uint64) {
	l.eras.Add(1)
	l.highest = highest
	l.began = time.Now()
	l.witnesses, l.doubted = nil, false
	l.stats.Losses++
}

// lostIn begins another era if that one has not ended, and reports whether it did.
func (l *ledger) lostIn(era uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if era != l.current() { // it is the loss that ended the era
		return false
	}
	l.lost(0)
	return true
}

// doubt is lostIn for what the server's answers tell of. It may have to wait.
func (l *ledger) doubt(era uint64, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case era != l.current(): // it is the loss that ended the era
		return false
	case now.Before(l.trusted):
		l.doubted = true
		return false
	case now.After(l.trusted.Add(l.pause)): // long quiet
		l.pause = firstDoubtPause
	default:
		l.pause = min(2*l.pause, maxDoubtPause)
	}
	l.trusted = now.Add(l.pause)
	l.lost(0)
	return true
}

// suspicious returns the era of which a follower is to be believed that its log, of which
// it applied a record then, is gone; zero if there is nothing to lose, or it is known.
func (l *ledger) suspicious(last time.Time) (era uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.began.After(last) || len(l.alive) == 0 { // this era is the answer to it
		return 0
	}
	return l.current()
}

// missing reports whether an event acknowledged in that era, which is the present one, that
// must still be there stands before the stream's first: limits that are set for a moment,
// and a purge, take the oldest.
func (l *ledger) missing(era, first uint64, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return era == l.current() && slices.ContainsFunc(l.alive, func(rec *record) bool {
		return rec.era == era && rec.seq != 0 && rec.seq < first && rec.gone.After(now.Add(2*time.Minute))
	})
}

// recover takes note that somebody republishes from now on. It reports whether somebody
// did already, who will notice a new era, and how much is known.
func (l *ledger) recover() (already bool, known int, forgotten uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	already = l.recovering
	l.recovering = true
	return already, len(l.alive), l.stats.Forgotten
}

// keep adds rec to the living, if it is not among them.
func (l *ledger) keep(rec *record, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !rec.kept {
		l.remember(rec, now)
	}
}

// takeUp adds records that an outbox has kept, and returns how many of them were not
// acknowledged.
func (l *ledger) takeUp(recs []*record, now time.Time) (pending int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rec := range recs {
		if rec.seq != 0 {
			// As if it had been acknowledged just now: if the stream holds something
			// else there, the watch finds out.
			rec.era = l.current()
			l.highest = max(l.highest, rec.seq)
		} else {
			pending++
		}
		l.remember(rec, now)
	}
	// Before anything else is acknowledged, which would tell nothing of what was stored
	// before: a stream made anew meanwhile may be longer than the one that was.
	l.testify(time.Now())
	return pending
}

// remember adds rec to the living, and makes room for it: what expires soonest goes
// first, and is counted if it was alive. The caller holds mu.
func (l *ledger) remember(rec *record, now time.Time) {
	rec.kept, rec.limit = true, limitMass
	heap.Push(&l.alive, rec)
	l.bytes += rec.memory()
	for len(l.alive) > 0 {
		expired := now.After(l.alive[0].gone)
		if !expired && len(l.alive) <= maxRemembered && l.bytes <= maxRememberedBytes {
			return
		}
		old := heap.Pop(&l.alive).(*record)
		old.kept = false
		if expired {
			l.lapse(old)
		}
		l.bytes -= old.memory()
		if !expired {
			l.stats.Forgotten++
		}
	}
}

// lapse counts an event that has expired before it was acknowledged, once. The caller holds
// mu.
func (l *ledger) lapse(rec *record) bool {
	if rec.era == l.current() || rec.lapsed {
		return false
	}
	rec.lapsed = true
	l.stats.Expired++
	return true
}

// pending returns the living that were not acknowledged in the current era. When
// there are none, recovery is over. It returns besides those that have expired since
// they were last looked for, and how many are set aside.
func (l *ledger) pending(now time.Time) (list, lapsed []*record, aside int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rec := range l.alive {
		switch {
		case rec.era == l.current():
		case now.Before(rec.gone) && now.Before(rec.aside):
			aside++
		case now.Before(rec.gone):
			list = append(list, rec)
		case l.lapse(rec):
			lapsed = append(lapsed, rec)
		}
	}
	l.recovering = len(list)+aside > 0
	return list, lapsed, aside
}

// acknowledgedAlive returns copies of the records that an outbox is to keep although
// they were acknowledged.
func (l *ledger) acknowledgedAlive(now time.Time) []*record {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]*record, 0, len(l.alive))
	for _, rec := range l.alive {
		if rec.id != "" && rec.seq != 0 && now.Before(rec.gone) {
			copied := rec.stored()
			if rec.era != l.current() {
				copied.seq = 0 // lost, and not acknowledged again yet
			}
			list = append(list, copied)
		}
	}
	return list
}

// content returns what is to be sent of rec, and whether its cutoff and life are open.
func (l *ledger) content(rec *record) (payload []byte, signature string, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return rec.payload, rec.signature, rec.open
}

// rewrite gives rec, which may be among the living, another content.
func (l *ledger) rewrite(rec *record, payload []byte, signature string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rec.payload, rec.signature = payload, signature
}

// complete gives rec the content and the life that were open.
func (l *ledger) complete(rec *record, payload []byte, signature string, gone time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := rec.memory()
	rec.payload, rec.signature, rec.gone, rec.open = payload, signature, gone, false
	if rec.kept {
		l.bytes += rec.memory() - before
		heap.Fix(&l.alive, rec.at)
	}
}

// place returns where rec stands in the stream, and whether that has lost it.
func (l *ledger) place(rec *record) (seq uint64, payload []byte, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return rec.seq, rec.payload, rec.era != l.current()
}

// status returns the ledger's part of what is told, by that time.
func (l *ledger) status(now time.Time) (s Status, refused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s = l.stats
	if l.recovering {
		for _, rec := range l.alive {
			if rec.era != l.current() && !rec.lapsed {
				s.Pending++
				if now.Before(rec.aside) {
					s.Withheld++
				}
			}
		}
	}
	s.Checked = l.checked
	return s, l.refused
}

// living is a heap of records, the soonest to expire first.
type living []*record

func (h living) Len() int           { return len(h) }
func (h living) Less(i, j int) bool { return h[i].gone.Before(h[j].gone) }
func (h living) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *living) Push(x any) {
	rec := x.(*record)
	rec.at = len(*h)
	*h = append(*h, rec)
}
func (h *living) Pop() any {
	old := *h
	rec := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return rec
}
