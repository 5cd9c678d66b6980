package publish

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
)

// Who publishes what does not arrive is told so, outbox or not; "kept" is said only of what
// the disk has, and what can never be published is not kept.
func TestUndelivered(t *testing.T) {
	away := errors.New("nobody answers")
	for _, c := range []struct {
		outbox, disk bool
		err          error
		kept         bool
		pending      int // tried further by this process
		left         int // found by the next
	}{
		{outbox: false, disk: true, err: away},
		{outbox: true, disk: true, err: away, kept: true, pending: 1, left: 1},
		{outbox: true, disk: false, err: away, pending: 1},
		{outbox: true, disk: true, err: fmt.Errorf("x: %w", errTooLarge)},
		{outbox: true, disk: true, err: fmt.Errorf("x: %w", transport.ErrNotPermitted)},
	} {
		t.Run(fmt.Sprintf("outbox %t, disk %t, %v", c.outbox, c.disk, c.err), func(t *testing.T) {
			p := newTestPublisher()
			o, path := openTestOutbox(t)
			if c.outbox {
				p.outbox, o.others = o, p
			}
			if !c.disk {
				o.file.Close()
			}
			rec := outboxRecord(t, "a")
			kept := p.keep(rec)
			if err := p.undelivered(rec, kept, c.err); !errors.Is(err, c.err) || errors.Is(err, ErrKept) != c.kept {
				t.Errorf("told %v", err)
			}
			if pending, _, _ := p.ledger.pending(time.Now()); len(pending) != c.pending {
				t.Errorf("%d are tried further, want %d", len(pending), c.pending)
			}
			if values, damaged := reopen(t, o, path); len(values) != c.left || damaged != 0 {
				t.Errorf("the next process finds %d, want %d; %d damaged", len(values), c.left, damaged)
			}
		})
	}
}
