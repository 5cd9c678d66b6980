package publish

import (
	"slices"
	"time"
)

const (
	// A doubt is a loss that the server's answers tell of, not an acknowledgement. A
	// server that is wrong about it, for ever, must not have everything republished
	// for ever: after one doubt the next has to wait, each time twice as long.
	firstDoubtPause = time.Minute
	maxDoubtPause   = 8 * time.Hour

	// maxWitnesses bounds how many messages one look at the stream reads back.
	maxWitnesses = 32
)

// A witness is an acknowledged message that must still be where it was. A log that
// was rolled back has lost the newest there was, hence of each stretch of time in
// which it could happen unseen the newest of ours tells for all.
type witness struct {
	seq     uint64
	subject string
	payload []byte
	gone    time.Time
}

// reconnected takes note of which connection messages are sent over. A server that
// restarts may have been rolled back.
func (l *ledger) reconnected(epoch uint64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch != l.epoch {
		l.epoch = epoch
		l.testify(now)
	}
}

// readable has it tried again whether messages may be read back.
func (l *ledger) readable() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = false
}

// testimony makes a witness of the newest, and returns all there are of the era, and whether
// the connection may not read messages.
func (l *ledger) testimony(now time.Time) (era uint64, list []witness, refused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.testify(now)
	return l.current(), slices.Clone(l.witnesses), l.refused
}

// found takes note that the stream was asked then for those witnesses of that era, and held
// all of them, or that the connection may not read it. It reports whether a doubt had to
// wait, and is due.
func (l *ledger) found(era uint64, list []witness, refused bool, asked time.Time) (doubted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused = refused; l.current() != era {
		return false
	}
	if !refused {
		l.checked = asked
	}
	if len(list) > 0 {
		l.witnesses = slices.DeleteFunc(l.witnesses, func(w witness) bool { return w.seq < list[len(list)-1].seq })
	}
	return l.doubted && asked.After(l.trusted)
}

// newestWitness returns a witness of the newest, if that era is the present one.
func (l *ledger) newestWitness(era uint64, now time.Time) (w witness, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	newest := l.newest(now)
	if era != l.current() || newest == nil {
		return witness{}, false
	}
	return witness{newest.seq, newest.subject, newest.payload, newest.gone}, true
}

// newest returns the newest acknowledged message that is not about to expire, or nil. The
// caller holds mu.
func (l *ledger) newest(now time.Time) (newest *record) {
	for _, rec := range l.alive {
		if rec.era == l.current() && rec.gone.After(now.Add(2*time.Minute)) && (newest == nil || rec.seq > newest.seq) {
			newest = rec
		}
	}
	return newest
}

// testify makes a witness of the newest acknowledged message that is not about to
// expire. The caller holds mu.
func (l *ledger) testify(now time.Time) {
	newest := l.newest(now)
	if newest == nil || slices.ContainsFunc(l.witnesses, func(w witness) bool { return w.seq == newest.seq }) {
		return
	}
	if len(l.witnesses) == maxWitnesses {
		l.witnesses = slices.Delete(l.witnesses, 1, 2)
	}
	l.witnesses = append(l.witnesses, witness{newest.seq, newest.subject, newest.payload, newest.gone})
}
