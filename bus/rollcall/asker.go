package rollcall

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/bridge"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
)

// answerQueue is how many answers may wait to be looked at; more are lost, and asked
// for again.
const answerQueue = 4096

// tokenBytes is the length of a wait's token, by [rand.Text].
const tokenBytes = 26

// This is plain request and reply, answered only to inboxes, and not the micro service framework
// of nats.go: that answers its control requests ($SRV.PING and others) to whatever subject they
// name as the reply, with the rights of the member that answers, so that a right to ask would
// suffice to have a member store messages in the stream. It also exchanges the connection's
// handlers, which may be the caller's, and its Stop does not wait.

// An asker asks replicas for one Member, which keeps it. One inbox serves all waits and the
// farewells between them.
type asker struct {
	member bridge.Member

	mu     sync.Mutex
	inbox  string           // guarded by mu: empty until the first wait
	waits  map[string]*wait // guarded by mu: by token
	roster map[string]known // guarded by mu: by id
}

func newAsker(m bridge.Member) *asker {
	return &asker{member: m, waits: map[string]*wait{}, roster: map[string]known{}}
}

// A known is a replica that answered lately.
type known struct {
	wire.Answer
	seen time.Time
}

// enter begins a wait and returns where replicas are to answer, to which each question
// adds its number.
func (a *asker) enter(w *wait) (reply string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inbox == "" {
		inbox := a.member.NewInbox()
		if !wire.IsInbox(inbox) {
			prefix, _, _ := strings.Cut(inbox, ".")
			return "", fmt.Errorf("replicas answer only to inboxes whose prefix begins with _INBOX, and this connection's is %q", prefix)
		}
		if err := a.member.Listen(inbox, answerQueue, func(m *nats.Msg) { a.take(m, time.Now()) }); err != nil {
			return "", err
		}
		a.inbox = inbox
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
func (a *asker) leave(w *wait) Receipt {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waits, w.token)
	return Receipt{Receipt: w.receipt, EffectiveBy: w.effective(), Replicas: w.list(), Ignored: len(w.ignored)}
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
func (a *asker) ask(w *wait, reply string, now time.Time) {
	place := w.place()
	a.mu.Lock()
	w.lost = place.Lost
	if !place.Lost && place.Sequence != w.receipt.Sequence {
		// The stream had lost it, and it was published again.
		w.receipt.Sequence, w.receipt.Time = place.Sequence, now
	}
	a.mu.Unlock()
	if place.Lost {
		return
	}
	// Each question has a reply of its own: servers that allow_responses count how often
	// one is used, and replicas answer for as long as somebody else is waited for.
	w.asked++
	q := wire.Question{Sequence: place.Sequence, Digest: place.Digest, Wait: 2 * maxAskPause}
	a.member.Send(&nats.Msg{Subject: Subject, Reply: reply + strconv.Itoa(w.asked), Data: wire.EncodeQuestion(q)})
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
