package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// WaitConfig configures one [Member.RevokeAndWait].
type WaitConfig struct {
	// Replicas is how many must confirm, no matter which. Zero means all that
	// announce themselves within RollCall, and all that did so to this Member in the last
	// ten minutes and were not closed since. One that was killed says no farewell, and
	// nobody can tell it from one that is frozen and will go on: for ten minutes a wait
	// for all goes on to its bound and names it. Where processes are killed as a matter
	// of course, give the number that should be there, or close the follower before.
	Replicas int

	// RollCall is how long to listen for replicas before all of those heard count as
	// all. It does not matter when Replicas is given. Zero means 250 ms; at most a
	// minute.
	RollCall time.Duration

	// MaxStaleness is the largest of any replica of the system, also of those that
	// cannot be reached ([revoke.Config.MaxStaleness]). A replica that announces a
	// larger one counts with that. Zero means 15 s; at most ten years.
	MaxStaleness time.Duration
}

// A WaitReceipt is a [Receipt] that tells besides who obeys the revocation.
type WaitReceipt struct {
	Receipt

	// EffectiveBy is the acknowledgement's time plus the largest MaxStaleness: from
	// then on every replica under revoke.Deny refuses what was revoked, or is stale
	// and accepts nothing, whether it answered or not. It is a time of the local
	// clock; others' may differ by MaxSkew.
	EffectiveBy time.Time

	// Replicas are those that applied the event, the quickest first, then the others
	// that are known. It is information, not proof: everybody who may answer in the
	// account may answer falsely. EffectiveBy does not depend on the answers, but that a false
	// one can make it later.
	Replicas []Replica

	// Ignored is how many more replicas answered than are kept count of, which are 10,000;
	// it is 10,000 itself at most.
	Ignored int
}

// A Replica is one [Member] as it announced itself.
type Replica struct {
	ID      string // random, for the follower's life
	Name    string // its [Config].Name, as it says; unprintable characters are replaced
	Applied bool   // the event

	// Delay is from the acknowledgement to the arrival of the replica's answer, both by
	// the local clock, so never less than the event took. Zero if not Applied.
	Delay time.Duration
	// AppliedAt is when it was applied, by the replica's clock. Zero if not Applied.
	AppliedAt time.Time

	State        revoke.State  // at the time of its last answer
	MaxStaleness time.Duration // as it says
	Problem      string        // why not Applied; empty otherwise
}

const (
	maxReplicas    = 10_000
	rosterLife     = 10 * time.Minute
	defaultRoll    = 250 * time.Millisecond
	firstAskPause  = 200 * time.Millisecond
	maxAskPause    = 2 * time.Second
	nobodyPatience = 2 * time.Second
)

func (c WaitConfig) withDefaults() (WaitConfig, error) {
	switch {
	case c.Replicas < 0 || c.Replicas > maxReplicas:
		return c, fmt.Errorf("WaitConfig.Replicas is %d, not between 0 and %d", c.Replicas, maxReplicas)
	case c.RollCall < 0 || c.RollCall > time.Minute:
		return c, fmt.Errorf("WaitConfig.RollCall is %s, not between 0 and 1 m", c.RollCall)
	case c.MaxStaleness < 0 || c.MaxStaleness > revoke.MaxLifetime:
		return c, fmt.Errorf("WaitConfig.MaxStaleness is %s, not between 0 and ten years", c.MaxStaleness)
	}
	c.RollCall = cmp.Or(c.RollCall, defaultRoll)
	c.MaxStaleness = cmp.Or(c.MaxStaleness, revoke.DefaultMaxStaleness)
	return c, nil
}

func (b *core) revokeAndWait(ctx context.Context, e revoke.Event, cfg WaitConfig) (WaitReceipt, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return WaitReceipt{}, fmt.Errorf("bus: revoke and wait: %w", err)
	}
	r, rec, err := b.publisher.publish(ctx, e)
	if err != nil {
		return WaitReceipt{}, err
	}
	w := &wait{cfg: cfg, receipt: r, heard: map[string]*heard{}, changed: make(chan struct{}, 1)}
	err = b.await(ctx, w, rec)
	receipt := b.asker.leave(w)
	if err != nil {
		err = fmt.Errorf("bus: revoke and wait: %s %s: %w: %w", r.Event.Kind, r.ID, ErrUnconfirmed, err)
	}
	return receipt, err
}

// await returns nil when enough replicas have confirmed.
func (b *core) await(ctx context.Context, w *wait, rec *record) error {
	ctx, done, err := b.call(ctx, 0)
	if err != nil {
		return err
	}
	defer done()
	reply, err := b.asker.enter(w)
	if err != nil {
		return err
	}
	began := time.Now()
	rolled, end := began.Add(w.cfg.RollCall), began.Add(w.cfg.MaxStaleness)
	before := b.nc().LastError()
	var asked time.Time
	pause := firstAskPause / 2
	for {
		now := time.Now()
		p := b.asker.progress(w, now)
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
		if refusal := b.refused(before, wire.AppliedSubject); refusal != nil {
			return fmt.Errorf("replicas may not be asked: %w", refusal)
		}
		next := asked.Add(pause)
		if !now.Before(next) {
			// Again and again: a question can be lost, and who was away has forgotten it.
			asked = now
			pause = min(2*pause, maxAskPause)
			next = now.Add(pause)
			b.asker.ask(w, rec, reply, now)
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
			return fmt.Errorf("%s: %w", b.asker.progress(w, time.Now()).text(w.cfg), context.Cause(ctx))
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

func (p progress) text(cfg WaitConfig) string {
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

// newInbox returns a subject that replicas answer to.
func (b *core) newInbox() (string, error) {
	inbox := b.nc().NewInbox()
	if !wire.IsInbox(inbox) {
		prefix, _, _ := strings.Cut(inbox, ".")
		return "", fmt.Errorf("replicas answer only to inboxes whose prefix begins with _INBOX, and this connection's is %q", prefix)
	}
	return inbox, nil
}

// list returns all replicas for the receipt.
func (w *wait) list() []Replica {
	list := make([]Replica, 0, len(w.heard))
	for id, h := range w.heard {
		list = append(list, h.replica(id, w.receipt.Time))
	}
	slices.SortFunc(list, func(x, y Replica) int {
		if x.Applied != y.Applied {
			if x.Applied {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x.Delay, y.Delay), cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID))
	})
	return list
}
