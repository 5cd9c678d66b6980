package rollcall

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/bridge"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A wait is one call of Revoke. The asker's lock guards it.
type wait struct {
	cfg     Config
	place   func() bridge.Place
	receipt revoke.Receipt // Sequence and Time are those of the newest acknowledgement
	token   string
	asked   int               // questions so far; the asking goroutine's own
	heard   map[string]*heard // by id
	nobody  bool
	ignored map[string]bool // by id: answered, and not kept count of
	lost    bool            // the stream, and it was not acknowledged again yet
	changed chan struct{}   // holds a token after a change
}

func newWait(cfg Config, r revoke.Receipt, place func() bridge.Place) *wait {
	return &wait{cfg: cfg, receipt: r, place: place, heard: map[string]*heard{}, changed: make(chan struct{}, 1)}
}

// A heard is what one replica said to one wait.
type heard struct {
	wire.Answer
	answered time.Time // when it confirmed; or, for others, last
	silent   bool      // it said nothing to this wait, but is known
}

// await returns nil when enough replicas have confirmed.
func (a *asker) await(ctx context.Context, w *wait) error {
	ctx, done, err := a.member.Call(ctx)
	if err != nil {
		return err
	}
	defer done()
	reply, err := a.enter(w)
	if err != nil {
		return err
	}
	began := time.Now()
	rolled, end := began.Add(w.cfg.RollCall), began.Add(w.cfg.MaxStaleness)
	refused := a.member.Refusals(Subject)
	var asked time.Time
	pause := firstAskPause / 2
	for {
		now := time.Now()
		p := a.progress(w, now)
		switch {
		case w.cfg.Replicas > 0 && p.applied >= w.cfg.Replicas:
			return nil
		case w.cfg.Replicas == 0 && p.applied > 0 && p.missing == 0 && !now.Before(rolled):
			return nil
		case w.cfg.Replicas == 0 && p.applied+p.missing == 0 && p.nobody && now.After(began.Add(max(w.cfg.RollCall, nobodyPatience))):
			return errors.New("no replica announces itself")
		case !now.Before(end):
			return fmt.Errorf("%s within MaxStaleness", p.text(w.cfg))
		}
		if refusal := refused(); refusal != nil {
			return fmt.Errorf("replicas may not be asked: %w", refusal)
		}
		next := asked.Add(pause)
		if !now.Before(next) {
			// Again and again: a question can be lost, and who was away has forgotten it.
			asked = now
			pause = min(2*pause, maxAskPause)
			next = now.Add(pause)
			a.ask(w, reply, now)
		}
		if w.cfg.Replicas == 0 && rolled.After(now) && rolled.Before(next) {
			next = rolled
		}
		timer := time.NewTimer(min(next.Sub(now), end.Sub(now)))
		select {
		case <-w.changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %w", a.progress(w, time.Now()).text(w.cfg), context.Cause(ctx))
		}
		timer.Stop()
	}
}

// A progress is how far a wait has come.
type progress struct {
	applied, missing int
	nobody           bool     // the server says that nobody listens
	names            []string // some of the missing
}

func (p progress) text(cfg Config) string {
	if cfg.Replicas > 0 {
		return fmt.Sprintf("%d of %d replicas confirmed", p.applied, cfg.Replicas)
	}
	text := fmt.Sprintf("%d of %d replicas confirmed", p.applied, p.applied+p.missing)
	if len(p.names) > 0 {
		text += fmt.Sprintf(" (missing %q", p.names)
		if p.missing > len(p.names) {
			text += " and others"
		}
		text += ")"
	}
	return text
}

func (w *wait) effective() time.Time {
	largest := w.cfg.MaxStaleness
	for _, h := range w.heard {
		largest = max(largest, h.Staleness)
	}
	return w.receipt.Time.Add(largest)
}

func (w *wait) wake() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}
