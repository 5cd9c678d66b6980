package follow

import (
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func newAnnouncer(t *testing.T) *announcer {
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	a := new(announcer)
	a.init(new(transport.Transport), new(Config), list)
	return a
}

// recordOf is a record of one of several logs. Every third is large.
func recordOf(seq uint64, log byte) replica.Record {
	r := replica.Record{Sequence: seq, Subject: "subject", Data: fmt.Append(nil, seq, log)}
	if seq%3 == 0 {
		r.Data = append(r.Data, make([]byte, maxKept)...)
	}
	return r
}

func applied(seq uint64, log byte) mark {
	r := recordOf(seq, log)
	return appliedMark(&r)
}

func ignored(seq uint64, log byte) mark {
	r := recordOf(seq, log)
	return ignoredMark(&r)
}

func digestOf(seq uint64, log byte) [32]byte {
	r := recordOf(seq, log)
	return wire.RecordDigest(r.Subject, r.Data)
}

func ask(a *announcer, seq uint64, log byte) string {
	return askFor(a, seq, log, "_INBOX.x.y")
}

func askFor(a *announcer, seq uint64, log byte, reply string) string {
	outcome, at := a.ask(wire.Question{Sequence: seq, Digest: digestOf(seq, log), Wait: time.Second}, reply, time.Now())
	if (outcome == wire.OutcomeApplied) == at.IsZero() {
		panic(fmt.Sprintf("%s at %v", outcome, at))
	}
	return outcome
}

// What a replica says about a message, wherever it stands relative to what the replica
// remembers: it never says yes by sequence alone.
func TestMarks(t *testing.T) {
	a := newAnnouncer(t)
	if got := ask(a, 1, 1); got != wire.OutcomeWaiting {
		t.Errorf("empty: %s", got)
	}
	const n = 3 * maxMarks
	for seq := uint64(1); seq <= n; seq++ {
		if seq%2 == 0 { // sequences have holes
			if seq%4 == 0 {
				a.note(applied(seq, 1))
			} else {
				a.note(ignored(seq, 1))
			}
		}
	}
	oldest := uint64(n - 2*maxMarks + 2)
	for _, c := range []struct {
		seq  uint64
		log  byte
		want string
	}{
		{n, 1, wire.OutcomeApplied}, {n, 2, wire.OutcomeOther}, {n - 2, 1, wire.OutcomeIgnored}, {n - 2, 2, wire.OutcomeOther},
		{n - 1, 1, wire.OutcomeOther}, {n + 1, 1, wire.OutcomeWaiting}, {oldest + 2, 1, wire.OutcomeApplied}, {oldest, 1, wire.OutcomeIgnored},
		{oldest - 1, 1, wire.OutcomePast}, {1, 1, wire.OutcomePast},
	} {
		if got := ask(a, c.seq, c.log); got != c.want {
			t.Errorf("sequence %d of log %d: %s, want %s", c.seq, c.log, got, c.want)
		}
	}
	if len(a.marks) != maxMarks {
		t.Errorf("%d marks", len(a.marks))
	}

	// A subscription that begins at the cursor changes nothing.
	a.note(applied(n, 1))
	if got := ask(a, n-4, 1); got != wire.OutcomeApplied {
		t.Errorf("after an anchor: %s", got)
	}
	// Another log, or the same again: only what it held counts.
	a.note(applied(3, 2))
	for seq, want := range map[uint64]string{3: wire.OutcomeOther, n: wire.OutcomeWaiting, 2: wire.OutcomePast} {
		if got := ask(a, seq, 1); got != want {
			t.Errorf("after a rebuild, sequence %d: %s, want %s", seq, got, want)
		}
	}
	if got := ask(a, 3, 2); got != wire.OutcomeApplied {
		t.Errorf("after a rebuild: %s", got)
	}
}

// Questions that wait are answered by the record, bounded in number and time.
func TestPendingQuestions(t *testing.T) {
	a := newAnnouncer(t)
	for i := range 2 * maxQuestions {
		if got := askFor(a, 7, 1, fmt.Sprint("_INBOX.x.", i)); got != wire.OutcomeWaiting {
			t.Fatal(got)
		}
	}
	if a.open != maxQuestions {
		t.Errorf("%d questions wait", a.open)
	}
	a.note(applied(6, 1))
	if len(a.ready) != 0 {
		t.Error("answered by another record")
	}
	a.note(applied(7, 1))
	if len(a.ready) != maxQuestions || a.open != 0 || len(a.waiting) != 0 || len(a.wake) != 1 {
		t.Errorf("%d ready, %d open, %d waiting", len(a.ready), a.open, len(a.waiting))
	}
	if got := a.ready[0].found.outcome(a.ready[0].Digest); got != wire.OutcomeApplied {
		t.Error(got)
	}
	ask(a, 9, 1)
	a.expire(time.Now())
	if a.open != 1 {
		t.Error("expired too soon")
	}
	a.expire(time.Now().Add(2 * time.Second))
	if a.open != 0 || len(a.waiting) != 0 {
		t.Error("never expires")
	}
}

// Who asks again and again is answered once when the record comes. More answers than
// rollcall.Subject says, which the server refuses, would end the announcing for minutes.
func TestQuestionsAskedAgain(t *testing.T) {
	a := newAnnouncer(t)
	for range 5 {
		askFor(a, 7, 1, "_INBOX.x.again")
	}
	askFor(a, 7, 2, "_INBOX.x.again") // of another log
	askFor(a, 7, 1, "_INBOX.x.other")
	a.expire(time.Now().Add(900 * time.Millisecond))
	if a.open != 3 {
		t.Errorf("%d questions wait", a.open)
	}
	a.note(applied(7, 1))
	got := map[string]int{}
	for _, p := range a.ready {
		got[p.reply+" "+p.found.outcome(p.Digest)]++
	}
	if len(got) != 3 || got["_INBOX.x.again "+wire.OutcomeApplied] != 1 || got["_INBOX.x.again "+wire.OutcomeOther] != 1 || got["_INBOX.x.other "+wire.OutcomeApplied] != 1 {
		t.Errorf("answers %v", got)
	}
	if a.open != 0 || len(a.waiting) != 0 {
		t.Errorf("%d open, %d waiting", a.open, len(a.waiting))
	}
}
