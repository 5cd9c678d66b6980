package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// StartWatch begins to look after the stream in the background, until Close.
func (p *Publisher) StartWatch() {
	p.watching.Do(func() {
		leave, err := p.t.Enter()
		if err != nil {
			return // closed
		}
		go func() {
			defer leave()
			p.watch()
		}()
	})
}

// watch looks at the stream every half a minute, and after a reconnect: who
// publishes nothing would else never learn that the stream has lost his events.
func (p *Publisher) watch() {
	changes := p.t.Conn.Listen()
	defer changes.Stop()
	for epoch := p.t.Conn.Epoch(); ; {
		timer := time.NewTimer(pause.Between(fillInterval*5/6, fillInterval*7/6))
		for due := false; !due; {
			renewed := p.t.Conn.Renewed.Wait()
			if now := p.t.Conn.Epoch(); now != epoch && p.t.Conn.IsConnected() {
				epoch = now
				p.ledger.readable()
				timer.Reset(pause.Between(0, time.Second)) // not all members at once
			}
			select {
			case <-timer.C:
				due = true
			case <-changes.Changes():
			case <-renewed:
			case <-p.t.Context.Done():
				due = true
			}
		}
		timer.Stop()
		switch {
		case p.t.Context.Err() != nil:
			return
		case len(p.issuers) > 0:
			p.mend()
			p.check(p.t.Context)
		default:
			_, _ = p.t.ReadStream(p.t.Context) // for its warnings
		}
	}
}

// check asks the server whether what it acknowledged is still there.
func (p *Publisher) check(ctx context.Context) {
	now := time.Now()
	era, list, refused := p.ledger.testimony(p.now())
	if _, err := p.facts(ctx, 0); err != nil { // which has its own ways to notice
		return
	}
	answered := p.gauge.unanswered() == nil
	for _, w := range list {
		if refused || !w.gone.After(p.now().Add(time.Minute)) {
			continue
		}
		found, err := p.holds(ctx, w)
		switch {
		case errors.Is(err, transport.ErrNotPermitted):
			refused = true
		case err != nil:
			return
		case !found:
			p.doubt(era)
			return
		}
		answered = true
	}
	if answered && p.ledger.found(era, list, refused, now) { // what had to wait
		p.doubt(era)
	}
}

// holds reports whether the stream holds w. It asks the leader: others may lag.
func (p *Publisher) holds(ctx context.Context, w witness) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, transport.InfoTimeout)
	defer cancel()
	l := p.t.Conn.Link.Load()
	before := l.Conn.LastError()
	// The leader's subject: package jetstream would ask any replica. The answer is decoded
	// here because anybody who may write to the inbox can give one, and the client library
	// expects it to be whole.
	m, err := transport.Attempt(ctx, l, transport.InfoTimeout, func(ctx context.Context) (*nats.Msg, error) {
		return l.Conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+p.t.StreamName, fmt.Appendf(nil, `{"seq":%d}`, w.seq))
	})
	if err == nil {
		var answer storedMessage
		if answer, err = decodeStored(m.Data); err == nil {
			return answer.Subject == w.subject && bytes.Equal(answer.Data, w.payload), nil
		}
	}
	if jsadmin.IsCode(err, jetstream.JSErrCodeMessageNotFound) {
		return false, nil
	}
	if refusal := p.t.Refused(before, "$JS.API.STREAM.MSG.GET."+p.t.StreamName); refusal != nil {
		p.t.Log.Warn("bus: the stream's messages may not be read back; it could lose some unnoticed", "error", refusal)
		return false, fmt.Errorf("%w: %w", transport.ErrNotPermitted, refusal)
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

// doubt takes note that the stream seems to have lost what was acknowledged in that
// era, and has it republished, at once or, if there was another doubt, later.
func (p *Publisher) doubt(era uint64) {
	if p.ledger.doubt(era, time.Now()) {
		p.recover()
	}
}

// Suspect is doubt for a follower, which found its place in the log gone that was
// still there at last.
func (p *Publisher) Suspect(last revoke.Instant) {
	if era := p.ledger.suspicious(last.Time()); era != 0 {
		p.doubt(era)
	}
}
