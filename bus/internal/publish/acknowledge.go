package publish

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// contradicted reports whether ack tells of a loss of which the stream itself, asked,
// knows nothing: it holds the newest that it acknowledged, and a log that was rolled back
// has lost that first. Then ack is forged, by somebody who may write to our inbox, and must
// not have everything published again. Without an answer ack is believed.
func (p *Publisher) contradicted(ctx context.Context, ack *jetstream.PubAck, retried bool, floor, era uint64) bool {
	if !tellsOfLoss(ack, retried, floor) {
		return false
	}
	w, ok := p.ledger.newestWitness(era, p.now())
	if !ok {
		return false
	}
	if found, err := p.holds(ctx, w); err != nil || !found {
		return false
	}
	p.ledger.contradicted()
	p.t.Log.Warn("bus: an acknowledgement tells of a loss that the stream does not know of; others may write to this connection's inbox",
		"stream", p.t.StreamName, "sequence", ack.Sequence)
	return true
}

// acknowledged judges an acknowledgement and reports whether rec may be relied on
// to be in the stream. If not, rec must be sent again under a new message id.
func (p *Publisher) acknowledged(rec *record, ack *jetstream.PubAck, retried bool, floor, era uint64) bool {
	switch p.ledger.acknowledge(rec, ack, retried, floor, era, p.now()) {
	case lossy:
		p.recover()
		return false
	case outdated:
		p.StartWatch()
		return false
	}
	p.StartWatch()
	return true
}

// acknowledgedAll is acknowledged for records that were sent as one, each for the first time;
// first is of the first of them.
func (p *Publisher) acknowledgedAll(recs []*record, first *jetstream.PubAck, floor, era uint64) bool {
	v := p.ledger.acknowledgeAll(recs, first, floor, era, p.now())
	if v == lossy {
		p.recover()
		return false
	}
	p.StartWatch()
	return v == stands
}

// recreated takes note that the stream was made anew in that era.
func (p *Publisher) recreated(era uint64) {
	if p.ledger.lostIn(era) {
		p.recover()
	}
}
