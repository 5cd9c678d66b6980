package bus

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
)

// answerQueue is how many answers may wait to be looked at; more are lost, and asked
// for again.
const answerQueue = 4096

// tokenBytes is the length of a wait's token, by [rand.Text].
const tokenBytes = 26

// An asker is the half of a Member that asks replicas. One inbox serves all waits and the
// farewells between them.
type asker struct {
	b *core

	mu     sync.Mutex
	inbox  string           // guarded by mu: empty until the first wait
	waits  map[string]*wait // guarded by mu: by token
	roster map[string]known // guarded by mu: by id
}

// A known is a replica that answered lately.
type known struct {
	wire.Answer
	seen time.Time
}

// A wait is one call of RevokeAndWait. The asker's lock guards it.
type wait struct {
	cfg     WaitConfig
	receipt Receipt // Sequence and Time are those of the newest acknowledgement
	token   string
	asked   int               // questions so far; the asking goroutine's own
	heard   map[string]*heard // by id
	nobody  bool
	ignored map[string]bool // by id: answered, and not kept count of
	lost    bool            // the stream, and it was not acknowledged again yet
	changed chan struct{}   // holds a token after a change
}

// A heard is what one replica said to one wait.
type heard struct {
	wire.Answer
	answered time.Time // when it confirmed; or, for others, last
	silent   bool      // it said nothing to this wait, but is known
}

func (h *heard) replica(id string, acknowledged time.Time) Replica {
	r := Replica{ID: id, Name: h.Name, State: h.State, MaxStaleness: h.Staleness}
	switch {
	case h.silent:
		r.Problem = "no answer"
	case h.Outcome == wire.OutcomeApplied:
		r.Applied, r.AppliedAt, r.Delay = true, h.At, max(h.answered.Sub(acknowledged), time.Nanosecond)
	case h.Outcome == wire.OutcomeIgnored:
		r.Problem = "seen, but not understood or not trusted"
	case h.Outcome == wire.OutcomeOther:
		r.Problem = "its log holds another message there"
	case h.Outcome == wire.OutcomePast:
		r.Problem = "its log has passed the message without remembering it"
	default:
		r.Problem = "not applied yet"
	}
	return r
}

// enter begins a wait and returns where replicas are to answer, to which each question
// adds its number.
func (a *asker) enter(w *wait) (reply string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inbox == "" {
		inbox, err := a.b.newInbox()
		if err != nil {
			return "", err
		}
		answers := make(chan *nats.Msg, answerQueue)
		on := a.b.conn.link.Load()
		deaf, err := hearAnswers(on, inbox, answers)
		if err != nil {
			return "", a.b.conn.streamError(err)
		}
		leave, err := a.b.enter()
		if err != nil {
			deaf()
			return "", err
		}
		a.inbox, a.waits, a.roster = inbox, map[string]*wait{}, map[string]known{}
		go func() {
			defer leave()
			a.listen(answers, inbox, on, deaf)
		}()
	}
	w.token = rand.Text()
	a.waits[w.token] = w
	now := time.Now()
	for id, k := range a.roster {
		if now.Sub(k.seen) > rosterLife {
			delete(a.roster, id)
			continue
		}
		w.heard[id] = &heard{Answer: k.Answer, answered: k.seen, silent: true}
	}
	return a.inbox + "." + w.token, nil
}

// leave ends a wait.
func (a *asker) leave(w *wait) WaitReceipt {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waits, w.token)
	return WaitReceipt{Receipt: w.receipt, EffectiveBy: w.effective(), Replicas: w.list(), Ignored: len(w.ignored)}
}

func (w *wait) effective() time.Time {
	largest := w.cfg.MaxStaleness
	for _, h := range w.heard {
		largest = max(largest, h.Staleness)
	}
	return w.receipt.Time.Add(largest)
}

func (a *asker) progress(w *wait, now time.Time) progress {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := progress{nobody: w.nobody}
	for _, h := range w.heard {
		if !h.silent && h.Outcome == wire.OutcomeApplied {
			p.applied++
			continue
		}
		p.missing++
		if len(p.names) < 5 {
			p.names = append(p.names, h.Name)
		}
	}
	if w.lost {
		p.applied = 0 // those who have it may be the only ones
	}
	return p
}

// ask sends the question to anyone who listens.
func (a *asker) ask(w *wait, rec *record, reply string, now time.Time) {
	seq, payload, lost := a.b.publisher.ledger.place(rec)
	q := wire.Question{Sequence: seq, Digest: wire.RecordDigest(rec.subject, payload), Wait: 2 * maxAskPause}
	a.mu.Lock()
	w.lost = lost
	if !lost && q.Sequence != w.receipt.Sequence {
		// The stream had lost it, and it was published again.
		w.receipt.Sequence, w.receipt.Time = q.Sequence, now
	}
	a.mu.Unlock()
	if lost {
		return
	}
	// Each question has a reply of its own: servers that allow_responses count how often
	// one is used, and replicas answer for as long as somebody else is waited for.
	w.asked++
	msg := &nats.Msg{Subject: wire.AppliedSubject, Reply: reply + strconv.Itoa(w.asked), Data: wire.EncodeQuestion(q)}
	nc := a.b.nc()
	if err := nc.PublishMsg(msg); err != nil {
		a.b.log.Debug("bus: question not sent", "error", err)
		return
	}
	echo(nc, msg)
}

// hearAnswers has what is answered to the inbox come over that link until deaf is called.
func hearAnswers(l *link, inbox string, answers chan *nats.Msg) (deaf func(), err error) {
	sub, err := l.nc.ChanSubscribe(inbox+".*", answers)
	if err != nil {
		return nil, err
	}
	silence := listenForEchoes(l.nc, inbox+".", func(m *nats.Msg) {
		select {
		case answers <- m:
		default: // more are lost, and asked for again
		}
	})
	return func() {
		silence()
		_ = sub.Unsubscribe() // fails only if it is over already
	}, nil
}

// listen takes answers until the Member is closed, on whichever link there is.
func (a *asker) listen(answers chan *nats.Msg, inbox string, on *link, deaf func()) {
	for {
		renewed := a.b.conn.renewed.wait()
		if now := a.b.conn.link.Load(); now != on {
			if again, err := hearAnswers(now, inbox, answers); err == nil {
				deaf()
				on, deaf = now, again
			} // else that one has ended, too
		}
		select {
		case m := <-answers:
			a.take(m, time.Now())
		case <-renewed:
		case <-a.b.ctx.Done():
			deaf()
			return
		}
	}
}

// take believes an answer as far as it can be: it is what somebody says who may.
func (a *asker) take(m *nats.Msg, now time.Time) {
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	token = token[:min(len(token), tokenBytes)] // without the question's number
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.waits[token]
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		if w != nil {
			w.nobody = true
			w.wake()
		}
		return
	}
	ans, ok := wire.DecodeAnswer(m.Data)
	if !ok {
		return
	}
	if ans.Outcome == wire.OutcomeGone {
		delete(a.roster, ans.ID)
		for _, w := range a.waits {
			if h := w.heard[ans.ID]; h != nil && (h.silent || h.Outcome != wire.OutcomeApplied) {
				delete(w.heard, ans.ID)
				w.wake()
			}
		}
		return
	}
	if w == nil {
		return // too late
	}
	if _, is := a.roster[ans.ID]; is || len(a.roster) < maxReplicas {
		a.roster[ans.ID] = known{ans, now}
	}
	h := w.heard[ans.ID]
	switch {
	case h == nil && len(w.heard) >= maxReplicas:
		if len(w.ignored) < maxReplicas {
			if w.ignored == nil {
				w.ignored = map[string]bool{}
			}
			w.ignored[ans.ID] = true
		}
		return
	case h == nil:
		h = new(heard)
		w.heard[ans.ID] = h
		delete(w.ignored, ans.ID)
	case !h.silent && h.Outcome == wire.OutcomeApplied:
		return // it knows it, and replicas do not forget
	}
	*h = heard{Answer: ans, answered: now}
	w.wake()
}

func (w *wait) wake() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}
