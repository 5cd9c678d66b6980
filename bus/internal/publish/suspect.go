package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
)

const (
	// maxEnds is how many links may be ended while a record is under way before it is
	// taken for the cause and set aside.
	maxEnds = 2

	// asideFor is for how long a record that was set aside is not tried in the
	// background; the server may have been mended by then.
	asideFor = 10 * time.Minute
)

var errSetAside = errors.New("set aside: the server has ended the connection each time that the event was sent")

// ended takes note that the link which rec was sent over was ended while it was under
// way, for that reason.
func (p *Publisher) ended(rec *record, reason error) error {
	if p.ledger.ended(rec) < maxEnds {
		return fmt.Errorf("%w: %w", transport.ErrDisconnected, reason)
	}
	return fmt.Errorf("%w: %w", errSetAside, reason)
}

// alone has a record that was under way when a link was ended wait until no other such is,
// so that the next end tells which of them it was. Others go on beside it.
func (p *Publisher) alone(ctx context.Context, rec *record) (release func(), err error) {
	suspects := p.ledger.suspectsOf(rec)
	if suspects == nil {
		return func() {}, nil
	}
	select {
	case suspects <- struct{}{}:
		return func() { <-suspects }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrNotAcknowledged, context.Cause(ctx))
	}
}

// setAside reports whether rec alone is what failed, which others need not wait for: it
// is then not tried in the background for a while.
func (p *Publisher) setAside(rec *record, err error) bool {
	if !errors.Is(err, errSetAside) && !errors.Is(err, errTooLarge) {
		return false
	}
	p.ledger.setAside(rec, p.now().Add(asideFor))
	p.t.Log.Error("bus: an event cannot be published, and is set aside", "stream", p.t.StreamName, "subject", rec.subject, "again_in", asideFor, "error", err)
	return true
}

// ended counts a link that was ended while rec was under way, and returns how many were.
func (l *ledger) ended(rec *record) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	rec.ends++
	return rec.ends
}

// suspectsOf returns the channel on which suspects wait for each other, nil if rec is none.
func (l *ledger) suspectsOf(rec *record) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rec.ends == 0 {
		return nil
	}
	if l.suspects == nil {
		l.suspects = make(chan struct{}, 1)
	}
	return l.suspects
}

// setAside has rec wait until then, and then be sent once more.
func (l *ledger) setAside(rec *record, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rec.aside = until
	rec.ends = min(rec.ends, maxEnds-1)
}
