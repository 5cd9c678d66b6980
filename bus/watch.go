package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/revoke"
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

// startWatch begins to look after the stream in the background, until Close.
func (b *core) startWatch() {
	b.watching.Do(func() {
		leave, err := b.enter()
		if err != nil {
			return // closed
		}
		go func() {
			defer leave()
			b.watch()
		}()
	})
}

// watch looks at the stream every half a minute, and after a reconnect: who
// publishes nothing would else never learn that the stream has lost his events.
func (b *core) watch() {
	changes := b.conn.listen()
	defer changes.stop()
	for epoch := b.conn.epoch(); ; {
		timer := time.NewTimer(pause.Between(fillInterval*5/6, fillInterval*7/6))
		for due := false; !due; {
			renewed := b.conn.renewed.wait()
			if now := b.conn.epoch(); now != epoch && b.conn.isConnected() {
				epoch = now
				b.publisher.ledger.readable()
				timer.Reset(pause.Between(0, time.Second)) // not all members at once
			}
			select {
			case <-timer.C:
				due = true
			case <-changes.changes():
			case <-renewed:
			case <-b.ctx.Done():
				due = true
			}
		}
		timer.Stop()
		switch {
		case b.ctx.Err() != nil:
			return
		case len(b.cfg.Issuers) > 0:
			if o := b.publisher.outbox; o != nil {
				o.mend()
			}
			b.publisher.check(b.ctx)
		default:
			_, _ = b.readStream(b.ctx) // for its warnings
		}
	}
}

// check asks the server whether what it acknowledged is still there.
func (p *publisher) check(ctx context.Context) {
	l := &p.ledger
	now := time.Now()
	l.mu.Lock()
	l.testify(p.now())
	era, list := l.current(), slices.Clone(l.witnesses)
	refused := l.refused
	l.mu.Unlock()
	if _, err := p.facts(ctx, 0); err != nil { // which has its own ways to notice
		return
	}
	for _, w := range list {
		if refused || !w.gone.After(p.now().Add(time.Minute)) {
			continue
		}
		found, err := p.holds(ctx, w)
		if errors.Is(err, errNotPermitted) {
			refused = true
		} else if err != nil {
			return
		} else if !found {
			p.doubt(era)
			return
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused = refused; l.current() != era {
		return
	}
	if !refused {
		l.checked = now
	}
	if len(list) > 0 {
		l.witnesses = slices.DeleteFunc(l.witnesses, func(w witness) bool { return w.seq < list[len(list)-1].seq })
	}
	if l.doubted && now.After(l.trusted) { // what had to wait
		l.mu.Unlock()
		p.doubt(era)
		l.mu.Lock()
	}
}

// holds reports whether the stream holds w. It asks the leader: others may lag.
func (p *publisher) holds(ctx context.Context, w witness) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	nc := p.b.nc()
	before := nc.LastError()
	// The leader's subject: package jetstream would ask any replica. The answer is decoded
	// here because anybody who may write to the inbox can give one, and the client library
	// expects it to be whole.
	m, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+p.b.stream, fmt.Appendf(nil, `{"seq":%d}`, w.seq))
	if err == nil {
		var answer storedMessage
		if answer, err = decodeStored(m.Data); err == nil {
			return answer.Subject == w.subject && bytes.Equal(answer.Data, w.payload), nil
		}
	}
	if jsadmin.IsCode(err, jetstream.JSErrCodeMessageNotFound) {
		return false, nil
	}
	if refusal := p.b.refused(before, "$JS.API.STREAM.MSG.GET."+p.b.stream); refusal != nil {
		p.b.log.Warn("bus: the stream's messages may not be read back; it could lose some unnoticed", "error", refusal)
		return false, fmt.Errorf("%w: %w", errNotPermitted, refusal)
	}
	return false, err
}

// A storedMessage is what the server says of one message of the stream.
type storedMessage struct {
	Subject string `json:"subject"`
	Data    []byte `json:"data"`
}

// decodeStored reads the answer to a request for a message.
func decodeStored(data []byte) (storedMessage, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *storedMessage      `json:"message"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return storedMessage{}, fmt.Errorf("answer of the stream: %w", err)
	}
	switch {
	case answer.Error != nil:
		return storedMessage{}, answer.Error
	case answer.Message == nil:
		return storedMessage{}, errors.New("answer of the stream: neither a message nor an error")
	}
	return *answer.Message, nil
}

// refused returns the server's word that the connection may not publish on subject,
// unless it is older than before, the connection's last error when that was tried.
func (b *core) refused(before error, subject string) error {
	return b.conn.refused(before, subject)
}

// doubt takes note that the stream seems to have lost what was acknowledged in that
// era, and has it republished, at once or, if there was another doubt, later.
func (p *publisher) doubt(era uint64) {
	l := &p.ledger
	now := time.Now()
	l.mu.Lock()
	switch {
	case era != l.current(): // it is the loss that ended the era
		l.mu.Unlock()
		return
	case now.Before(l.trusted):
		l.doubted = true
		l.mu.Unlock()
		return
	case now.After(l.trusted.Add(l.pause)): // long quiet
		l.pause = firstDoubtPause
	default:
		l.pause = min(2*l.pause, maxDoubtPause)
	}
	l.trusted = now.Add(l.pause)
	p.lost(0)
	l.mu.Unlock()
	p.recover()
}

// suspect is doubt for a follower, which found its place in the log gone that was
// still there at last.
func (p *publisher) suspect(last revoke.Instant) {
	l := &p.ledger
	l.mu.Lock()
	era, known := l.current(), l.began.After(last.Time()) // this era is the answer to it
	empty := len(l.alive) == 0
	l.mu.Unlock()
	if !known && !empty {
		p.doubt(era)
	}
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

// newest returns the newest acknowledged message that is not about to expire, or nil.
func (l *ledger) newest(now time.Time) (newest *record) {
	for _, rec := range l.alive {
		if rec.era == l.current() && rec.gone.After(now.Add(2*time.Minute)) && (newest == nil || rec.seq > newest.seq) {
			newest = rec
		}
	}
	return newest
}

// testify makes a witness of the newest acknowledged message that is not about to
// expire.
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
