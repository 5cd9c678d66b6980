package follow

import (
	"slices"
	"sort"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
)

// A mark remembers one applied record.
type mark struct {
	sequence uint64
	ignored  bool  // seen, not applied
	at       int64 // unix nanoseconds, when it was

	// The message itself, which is hashed when somebody asks, as few do; of one larger
	// than maxKept the digest is kept instead.
	subject string
	data    []byte
	digest  [32]byte // if data is nil
}

// maxKept bounds what a flood of large messages has all marks keep, to 4 MiB.
const maxKept = 1 << 10

func appliedMark(r *replica.Record) mark {
	if len(r.Data) > maxKept || r.Data == nil {
		return mark{sequence: r.Sequence, digest: wire.RecordDigest(r.Subject, r.Data)}
	}
	return mark{sequence: r.Sequence, subject: r.Subject, data: r.Data}
}

func ignoredMark(r *replica.Record) mark {
	m := appliedMark(r)
	m.ignored = true
	return m
}

func (m mark) is(digest [32]byte) bool {
	if m.data != nil {
		return wire.RecordDigest(m.subject, m.data) == digest
	}
	return m.digest == digest
}

func (m mark) outcome(digest [32]byte) string {
	switch {
	case !m.is(digest):
		return wire.OutcomeOther
	case m.ignored:
		return wire.OutcomeIgnored
	}
	return wire.OutcomeApplied
}

type pending struct {
	wire.Question
	reply string
	until time.Time
	found mark // once it is ready
}

// note takes note of records that are applied now, or were ignored. It never blocks.
func (a *announcer) note(marks ...mark) {
	if a.cfg.NoAnnouncements {
		return
	}
	now := time.Now().UnixNano()
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range marks {
		a.noteOne(now, &marks[i])
	}
}

// noteOne is note of one. The caller holds mu.
func (a *announcer) noteOne(now int64, m *mark) {
	switch {
	case m.sequence == a.newest && len(a.marks) > 0: // a subscription begins where the last one ended
		return
	case m.sequence < a.newest: // the log is read again, and is perhaps another
		a.marks, a.next = a.marks[:0], 0
	}
	a.newest = m.sequence
	m.at = now
	if len(a.marks) < maxMarks {
		a.marks = append(a.marks, *m)
	} else {
		a.marks[a.next] = *m
		a.next = (a.next + 1) % maxMarks
	}
	if a.open == 0 {
		return
	}
	for _, p := range a.waiting[m.sequence] {
		p.found = *m
		a.ready = append(a.ready, p)
	}
	if n := len(a.waiting[m.sequence]); n > 0 {
		a.open -= n
		delete(a.waiting, m.sequence)
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// ask returns what is known about q, and keeps it if that is nothing yet.
func (a *announcer) ask(q wire.Question, reply string, now time.Time) (outcome string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.marks)
	mark := func(i int) mark { return a.marks[(a.next+i)%n] } // oldest first
	i := sort.Search(n, func(i int) bool { return mark(i).sequence >= q.Sequence })
	switch {
	case i < n && mark(i).sequence == q.Sequence:
		m := mark(i)
		if outcome = m.outcome(q.Digest); outcome == wire.OutcomeApplied {
			at = time.Unix(0, m.at)
		}
		return outcome, at
	case n > 0 && q.Sequence < a.newest && i == 0:
		return wire.OutcomePast, at
	case n > 0 && q.Sequence < a.newest:
		return wire.OutcomeOther, at
	}
	next := pending{Question: q, reply: reply, until: now.Add(q.Wait)}
	list := a.waiting[q.Sequence]
	// Who asks again gets one answer all the same: the server counts them, and takes it
	// ill if there are more than the rights to answer allow.
	if i := slices.IndexFunc(list, func(p pending) bool { return p.reply == reply && p.Digest == q.Digest }); i >= 0 {
		list[i] = next
	} else if a.open < maxQuestions {
		a.open++
		a.waiting[q.Sequence] = append(list, next)
	}
	return wire.OutcomeWaiting, at
}

// expire forgets questions that nobody waits for any more.
func (a *announcer) expire(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == 0 {
		return
	}
	for seq, list := range a.waiting {
		left := slices.DeleteFunc(list, func(p pending) bool { return now.After(p.until) })
		a.open -= len(list) - len(left)
		if len(left) == 0 {
			delete(a.waiting, seq)
		} else {
			a.waiting[seq] = left
		}
	}
}
