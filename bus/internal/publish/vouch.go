package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
)

// foresee begins the reading that the acknowledgement of what is sent now will need, so
// that it is there when that comes.
func (p *Publisher) foresee() {
	g := &p.gauge
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.began) > settingsAge/2 {
		_, _ = p.startReading()
	}
}

// vouch returns nil if the stream was safe, by a reading that was begun no longer than
// settingsAge before an acknowledgement came: who edits it to forget thus has settingsAge
// in which acknowledgements still count. It reads again until it is answered or ctx ends.
func (p *Publisher) vouch(ctx context.Context, acknowledged time.Time) error {
	g := &p.gauge
	for attempt := 0; ; attempt++ {
		g.mu.Lock()
		known, unsafe, err := !g.began.Before(acknowledged.Add(-settingsAge)), g.state.Unsafe, g.err
		stale := g.failedAt.Before(acknowledged) // what was acknowledged is perhaps in a stream made since
		g.mu.Unlock()
		switch {
		case known && len(unsafe) > 0:
			return unsure(true, p.isUnsafe(unsafe))
		case known:
			return nil
		case errors.Is(err, transport.ErrNoStream) && !stale:
			return unsure(true, err)
		case attempt > 0 && err != nil:
			if err := p.pause(ctx, attempt, fmt.Errorf("acknowledged, but the stream's settings cannot be read: %w", err)); err != nil {
				return err
			}
		}
		if _, err := p.facts(ctx, 0); err != nil && ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrNotAcknowledged, context.Cause(ctx))
		} else if errors.Is(err, transport.ErrClosed) {
			return unsure(true, err)
		}
	}
}

func (p *Publisher) isUnsafe(list []string) error {
	return fmt.Errorf("%w: %s: %s", ErrStreamUnsafe, p.t.StreamName, strings.Join(list, "; "))
}
