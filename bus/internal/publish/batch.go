package publish

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
)

const (
	// maxBatch is how many messages a server takes in one batch, unless its operator has
	// set less. Fewer than minBatch are as quick one by one.
	maxBatch = 1000
	minBatch = 16

	// maxBatchBytes bounds what a server holds of a batch that is not committed.
	maxBatchBytes = 1 << 20

	// batchTimeout bounds one try of a batch.
	batchTimeout = 2 * transport.AttemptTimeout

	// maxBatchHeaders is what a message of a batch is larger by.
	maxBatchHeaders = 128
)

// Headers that make messages a batch, which the stream takes whole or not at all.
const (
	batchIDHeader       = "Nats-Batch-Id"
	batchSequenceHeader = "Nats-Batch-Sequence"
	batchCommitHeader   = "Nats-Batch-Commit"
)

// A sending is how far a record has come under one message id. The zero sending has none.
type sending struct {
	id         string
	floor, era uint64 // of ledger.begin, before it was first sent
	perhaps    bool   // a try may have stored it
}

// deliverBatch sends the records once, as one batch, and returns the sequence of the first
// if the stream has acknowledged all of them for good; those of the others follow it. If it
// has not, that says nothing of any single one: each is to be delivered from where it stands
// then, under the same message id where the batch may have stored it.
func (p *Publisher) deliverBatch(ctx context.Context, recs []*record) (first uint64, stand []sending, err error) {
	stand = make([]sending, len(recs))
	st, err := p.ready(ctx)
	switch {
	case err != nil:
		return 0, stand, err
	case !st.Batches:
		return 0, stand, errNoBatches
	}
	for i, rec := range recs {
		if err := p.completeEarly(ctx, rec, st.Largest, time.Now()); err != nil {
			return 0, stand, err
		}
		stand[i].id = messageID(rec)
	}
	ack, floor, era, sent, err := p.tryBatch(ctx, recs, stand)
	for i := range stand {
		stand[i].floor, stand[i].era, stand[i].perhaps = floor, era, sent
	}
	if err != nil {
		return 0, stand, err
	}
	if err := p.vouch(ctx, time.Now()); err != nil {
		return 0, stand, err
	}
	first = ack.Sequence - uint64(len(recs)) + 1
	of := &jetstream.PubAck{Stream: ack.Stream, Sequence: first}
	if p.contradicted(ctx, of, false, floor, era) {
		return 0, make([]sending, len(recs)), errForged
	}
	if !p.acknowledgedAll(recs, of, floor, era) {
		return 0, make([]sending, len(recs)), errLost
	}
	for i, rec := range recs {
		p.settle(rec, first+uint64(i), era)
	}
	return first, stand, nil
}

var errNoBatches = errors.New("the stream takes no batches")

// tryBatch sends the records as one batch under those message ids. sent says whether any of
// them may be stored, also if err is not nil.
func (p *Publisher) tryBatch(ctx context.Context, recs []*record, stand []sending) (ack batchAck, floor, era uint64, sent bool, err error) {
	floor, era = p.ledger.begin()
	if p.t.Conn.Over() || !p.t.Conn.IsConnected() {
		return ack, floor, era, false, p.t.Conn.Disconnected()
	}
	var size int64
	for _, rec := range recs {
		size += rec.size()
	}
	if err := p.reserve(ctx, size, recs[0].limit); err != nil {
		return ack, floor, era, false, err
	}
	stored := false
	defer func() { p.release(size, stored) }()
	l := p.t.Conn.Link.Load()
	p.ledger.reconnected(p.t.Conn.Epoch(), p.now())
	p.foresee()
	id, now := rand.Text()[:batchIDBytes], p.now()
	msgs := make([]*nats.Msg, len(recs))
	for i, rec := range recs {
		msgs[i] = p.message(rec, stand[i].id, now)
		msgs[i].Header[batchIDHeader] = []string{id}
		msgs[i].Header[batchSequenceHeader] = []string{strconv.Itoa(i + 1)}
	}
	last := msgs[len(msgs)-1]
	last.Header[batchCommitHeader] = []string{"1"}
	ack, err = transport.Attempt(ctx, l, batchTimeout, func(ctx context.Context) (batchAck, error) {
		for _, msg := range msgs[:len(msgs)-1] {
			if err := ctx.Err(); err != nil {
				return batchAck{}, err
			}
			if err := l.Conn.PublishMsg(msg); err != nil {
				return batchAck{}, err
			}
		}
		answer, err := l.Conn.RequestMsgWithContext(ctx, last)
		if err != nil {
			return batchAck{}, err
		}
		return decodeBatchAck(answer.Data)
	})
	// What the server says of it counts for nothing less than all: some may be stored where
	// members of a cluster differ in version.
	stored = err == nil || !transport.IsAPI(err)
	switch {
	case err != nil:
		return ack, floor, era, true, err
	case ack.Stream != p.t.StreamName || ack.Batch != id || ack.Count != len(recs) || ack.Duplicate || ack.Sequence < uint64(len(recs)):
		return ack, floor, era, true, fmt.Errorf("acknowledged as %d messages of batch %q by stream %q, not as %d of %q", ack.Count, ack.Batch, ack.Stream, len(recs), id)
	}
	p.accepted()
	return ack, floor, era, true, nil
}

// batchIDBytes is how long the name of a batch is. It tells the batches apart that are
// under way at one time, and each message bears it.
const batchIDBytes = 8

// message is rec as it is sent under that id, at that time.
func (p *Publisher) message(rec *record, id string, now time.Time) *nats.Msg {
	h := nats.Header{
		jetstream.MsgIDHeader:          {id},
		jetstream.ExpectedStreamHeader: {p.t.StreamName},
		jetstream.MsgTTLHeader:         {ttl(rec.gone.Sub(now)).String()},
	}
	if rec.signature != "" {
		h[wire.SignatureHeader] = []string{rec.signature}
	}
	return &nats.Msg{Subject: rec.subject, Data: rec.payload, Header: h}
}

// A batchAck is what a server says of a batch that it has committed.
type batchAck struct {
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"seq"` // of its last message
	Duplicate bool   `json:"duplicate"`
	Batch     string `json:"batch"`
	Count     int    `json:"count"`
}

// decodeBatchAck reads the answer to the last message of a batch. Anybody who may write to
// the inbox can give one.
func decodeBatchAck(data []byte) (batchAck, error) {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		batchAck
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return batchAck{}, fmt.Errorf("acknowledgement of a batch: %w", err)
	}
	if answer.Error != nil {
		return batchAck{}, answer.Error
	}
	return answer.batchAck, nil
}

// batchable reports whether rec may be sent in a batch: there is room for its headers, and
// no link has ended while it was under way.
func (p *Publisher) batchable(rec *record) bool {
	return rec.size()+maxBatchHeaders <= wire.MaxMessageBytes && p.ledger.suspectsOf(rec) == nil
}
