package bus

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A publisher brings records into the stream and knows what it brought.
type publisher struct {
	b      *core
	gauge  gauge
	ledger ledger
	clock  serverClock
	outbox *outbox // nil: none
}

// A record is one event, ready to be sent as often as it takes.
type record struct {
	subject string
	payload []byte
	gone    time.Time // when every replica has let go of it
	limit   int       // percent of MaxBytes, see limitSingle

	signature string // see SignatureHeader; empty: none
	fixed     bool   // it was found in the outbox, signed by nobody known: not to be signed by us
	open      bool   // cutoff and life, where the event names none, the stream's retention is to say, which nobody knew yet; see limit
	early     bool   // it was prepared so
	id        string // in the outbox; empty: not there

	// Owned by the ledger, under its lock.
	era    uint64    // in which it was last acknowledged; 0 for never
	seq    uint64    // of the stream, as then acknowledged
	kept   bool      // among the living
	lapsed bool      // it was counted that it expired before it was acknowledged
	ends   int       // links that were ended while it was under way
	aside  time.Time // until then it is not tried in the background
	at     int       // where among them
}

// size is about what the record takes on the server's disk, headers included.
func (r *record) size() int64 {
	return int64(len(r.subject) + len(r.payload) + len(r.signature) + recordOverhead)
}

const recordOverhead = 256

const (
	attemptTimeout = 2 * time.Second
	firstBackoff   = 50 * time.Millisecond
	maxBackoff     = time.Second
)

// prepare completes e by the stream's retention, for which it may have to wait. With an
// outbox it does not wait: an event that is completed before the stream was ever seen, as
// after a restart without a server, is kept as long as any may live, until limit knows better.
func (p *publisher) prepare(ctx context.Context, valid replica.Valid, limit int) (revoke.Event, *record, error) {
	ctx, cancel := withDefaultTimeout(ctx, defaultTimeout)
	defer cancel()
	e := valid.Event()
	// The longest that there can be.
	retention := revoke.Retention{TokenLifetime: revoke.MaxLifetime, SessionLifetime: revoke.MaxLifetime, MaxSkew: revoke.MaxSkewLimit}
	if e.Kind != revoke.KindToken {
		retention.TokenLifetime = 0 // whether Until falls short of it cannot be told yet: limit raises it
	}
	open := p.outbox != nil && !p.gauge.isKnown()
	if !open {
		st, err := p.ready(ctx)
		if err != nil {
			return e, nil, err
		}
		retention = st.largest
	}
	asked := e
	e, err := valid.Complete(time.Now(), retention)
	if err != nil {
		return e, nil, err
	}
	// Only these two say all there is to say without retention.
	given := e.Kind == revoke.KindKey || e.Kind == revoke.KindToken && !asked.Until.IsZero()
	if open = open && !given; open {
		asked.At = e.At
	} else {
		asked = e
	}
	payload, err := encodeUsable(&asked)
	if err != nil {
		return e, nil, err
	}
	rec := &record{
		subject: Subject(e.Issuer, e.Kind),
		payload: payload,
		gone:    e.Until.Add(revoke.StreamMargin),
		limit:   limit,
		open:    open,
		early:   open,
	}
	switch {
	case !e.Kind.Mass():
	case p.b.signer != nil:
		if rec.signature, err = p.b.signer.sign(ctx, rec.subject, payload); err != nil {
			return e, nil, err
		}
	case p.b.trust != nil:
		return e, nil, fmt.Errorf("%w: kind %s has to be signed, and this Member has a Trust and no Signer", revoke.ErrInvalidEvent, e.Kind)
	}
	return e, rec, nil
}

// ready returns the stream's state once it is known, and an error if nothing may
// be published to it.
func (p *publisher) ready(ctx context.Context) (streamState, error) {
	for attempt := 0; ; attempt++ {
		st, err := p.facts(ctx, fillInterval)
		if err == nil && len(st.unsafe) > 0 {
			st, err = p.facts(ctx, refusalInterval) // mended meanwhile?
		}
		switch {
		case err == nil && len(st.unsafe) > 0:
			return st, p.isUnsafe(st.unsafe)
		case err == nil, errors.Is(err, ErrNoStream):
			return st, err
		}
		if err := p.pause(ctx, attempt, err); err != nil {
			return st, fmt.Errorf("not sent: %w", err)
		}
	}
}

// deliver sends rec until it is acknowledged for good, and returns its sequence.
func (p *publisher) deliver(ctx context.Context, rec *record) (uint64, error) {
	for attempt := 0; ; attempt++ {
		floor, era := p.ledger.begin()
		ack, retried, err := p.send(ctx, rec)
		if err != nil {
			return 0, err
		}
		if err := p.vouch(ctx, time.Now()); err != nil {
			return 0, err
		}
		if p.contradicted(ctx, ack, retried, floor, era) {
			if err := p.pause(ctx, attempt, errForged); err != nil {
				return 0, err
			}
			continue
		}
		if p.acknowledged(rec, ack, retried, floor, era) {
			p.settle(rec, ack.Sequence)
			return ack.Sequence, nil
		}
		// The stream is not the one it was. Whatever was stored under this message id
		// cannot be relied on: again, under a new one.
		if err := p.pause(ctx, attempt, errLost); err != nil {
			return 0, err
		}
	}
}

var (
	errLost   = errors.New("the stream has lost acknowledged messages")
	errForged = errors.New("an acknowledgement that the stream contradicts")
)

// send brings rec into the stream under one message id, trying again while that
// can help. retried says whether an earlier try may have stored it.
func (p *publisher) send(ctx context.Context, rec *record) (ack *jetstream.PubAck, retried bool, err error) {
	id := ""
	for attempt := 0; ; attempt++ {
		st, err := p.ready(ctx)
		if err == nil && id == "" {
			err = p.completeEarly(ctx, rec, st.largest, time.Now()) // before it is first sent: one id, one content
			id = messageID(rec)
		}
		if err != nil {
			return nil, retried, unsure(retried, err)
		}
		release, err := p.alone(ctx, rec)
		if err != nil {
			return nil, retried, unsure(retried, err)
		}
		ack, sent, err := p.try(ctx, rec, id)
		release()
		if err == nil {
			return ack, retried, nil
		}
		retried = retried || sent
		if final(err) {
			return nil, retried, unsure(retried, err)
		}
		if err := p.pause(ctx, attempt, err); err != nil {
			return nil, retried, err
		}
	}
}

// try sends rec once. sent says whether it may be stored, also if err is not nil.
func (p *publisher) try(ctx context.Context, rec *record, id string) (ack *jetstream.PubAck, sent bool, err error) {
	l := p.b.conn.link.Load()
	if p.b.conn.over() {
		return nil, false, fmt.Errorf("connection %w", ErrClosed)
	}
	if !l.nc.IsConnected() { // a connection that buffers would send it some day
		return nil, false, p.b.conn.disconnected()
	}
	if err := p.reserve(ctx, rec); err != nil {
		return nil, false, err
	}
	defer func() { p.release(rec, sent) }()
	before := l.nc.LastError()
	p.ledger.reconnected(p.b.conn.epoch(), p.now())
	p.foresee()
	msg := &nats.Msg{Subject: rec.subject, Data: rec.payload}
	if rec.signature != "" {
		msg.Header = nats.Header{SignatureHeader: {rec.signature}}
	}
	err = l.attempt(ctx, attemptTimeout, func(ctx context.Context) (err error) {
		ack, err = l.js.PublishMsg(ctx, msg,
			jetstream.WithMsgID(id),
			jetstream.WithExpectStream(p.b.stream),
			jetstream.WithMsgTTL(ttl(rec.gone.Sub(p.now()))),
			jetstream.WithRetryAttempts(0))
		return err
	})
	switch {
	case err == nil && ack.Stream != p.b.stream:
		return nil, true, fmt.Errorf("acknowledged by stream %q", ack.Stream)
	case err == nil:
		p.accepted()
		return ack, true, nil
	case jsadmin.IsCode(err, jsadmin.CodeStoreFailed) && strings.Contains(err.Error(), "maximum"):
		p.refusedForRoom(ctx, streamFull)
		return nil, false, fmt.Errorf("%w: %w", ErrFull, err)
	case jsadmin.IsFull(err):
		p.refusedForRoom(ctx, accountFull)
		return nil, false, fmt.Errorf("%w: %w", ErrFull, err)
	case jsadmin.IsCode(err, jsadmin.CodeStreamNotMatch):
		return nil, false, fmt.Errorf("%w: %s does not hold subject %s: %w", ErrStreamUnsafe, p.b.stream, rec.subject, err)
	case jsadmin.IsCode(err, jsadmin.CodeTTLInvalid, jsadmin.CodeTTLDisabled, jsadmin.CodeSealed):
		return nil, false, fmt.Errorf("%w: %w", ErrStreamUnsafe, err)
	case jsadmin.IsCode(err, jetstream.JSErrCodeStreamMessageExceedsMaximum), errors.Is(err, nats.ErrMaxPayload):
		return nil, false, fmt.Errorf("%w: %w", errTooLarge, err)
	case l.nc.IsClosed() && !p.b.conn.over():
		return nil, true, p.ended(rec, l.nc.LastError())
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return nil, false, fmt.Errorf("connection %w: %w", ErrClosed, err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		// Nobody holds the subject: no stream, or no leader at the moment.
		p.expire()
		return nil, false, err
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrHeadersNotSupported), isAPI(err):
		return nil, false, err
	}
	// A timeout, or something unknown: it may be stored.
	if refusal := p.b.refused(before, rec.subject); refusal != nil {
		return nil, true, fmt.Errorf("%w: %w", errNotPermitted, refusal)
	}
	return nil, true, err
}

var (
	errTooLarge     = errors.New("event larger than the server takes")
	errNotPermitted = errors.New("the server does not let this connection publish")
)

// final reports whether trying again cannot help.
func final(err error) bool {
	return errors.Is(err, ErrFull) || errors.Is(err, ErrStreamUnsafe) || errors.Is(err, ErrClosed) ||
		errors.Is(err, errTooLarge) || errors.Is(err, errNotPermitted) || errors.Is(err, errSetAside)
}

// unsure adds to an error that an earlier try may have stored the event.
func unsure(sent bool, err error) error {
	if sent && !errors.Is(err, ErrNotAcknowledged) {
		return fmt.Errorf("%w: %w", ErrNotAcknowledged, err)
	}
	return err
}

// pause waits before the next attempt. If ctx ends first, it returns an error that
// tells why, and what the last attempt met.
func (p *publisher) pause(ctx context.Context, attempt int, last error) error {
	d := pause.Growing(firstBackoff, maxBackoff, attempt)
	cause := pause.Wait(ctx, pause.Between(d/2, d+d/2))
	switch {
	case cause == nil:
		return nil
	case !errors.Is(last, cause):
		return fmt.Errorf("%w: %w: %w", ErrNotAcknowledged, cause, last)
	}
	return fmt.Errorf("%w: %w", ErrNotAcknowledged, last)
}

// messageID is a hash that nobody can guess: a server drops a message whose id it
// has seen, so who knows the id in advance could suppress a revocation.
func messageID(rec *record) string {
	h := sha256.New()
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	h.Write(nonce[:])
	h.Write([]byte(rec.subject))
	h.Write(rec.payload)
	return hex.EncodeToString(h.Sum(nil))
}

// ttl rounds up to whole seconds, the server's unit, which it would round down to. A
// message that stops to count in digests hours before it expires lives longer by as much,
// and by that of the longer life where it counts by another grain for it.
func ttl(d time.Duration) time.Duration {
	d = max((d + time.Second - 1).Truncate(time.Second), time.Second)
	least := replica.DigestGrain(0)
	grain := replica.DigestGrain(d + replica.DigestGrain(d) - least)
	return d + grain - least
}

func isAPI(err error) bool {
	_, ok := errors.AsType[*jetstream.APIError](err)
	return ok
}
