// Package rollcall publishes a revocation and then hears from the replicas, one by one, that
// they have applied it.
//
// Start with [Revoke]. Use it where the caller has to show which replicas say that they
// obey a revocation, and which have not answered. [bus.Member.Publish] is quicker, and its
// guarantee is the same: the answers of replicas are information, not proof.
//
// When replicas do not answer, the event is revoked all the same: the error is of the family
// [ErrUnconfirmed], and the [Receipt] says who is missing and by when every replica refuses
// the event's tokens or is stale. A replica is heard only if it may listen and answer, see
// [Subject]; one that may not follows as well as the others.
//
// One call has all replicas answer, at least once. It is for what matters, not for each
// logout.
package rollcall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/internal/bridge"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Subject is "hybridtoken.v1.applied". On it [Revoke] asks all replicas whether they have
// applied an event. It is a plain NATS subject and belongs to no stream. The rights it takes:
//
//   - The caller of Revoke publishes on it, and subscribes to its own inbox.
//   - A replica subscribes to it, and publishes its answer to the inbox that the question
//     names. For that grant the server's allow_responses with at least 3 responses and
//     1 minute, or publishing on "_INBOX.>". With 10 minutes a replica that is closed can
//     also say so to all who may still wait for it.
//
// A replica without these rights follows as well as the others, and is not waited for. Where
// replicas are in another account, behind a mirror, that account exports the subject as a
// service with streamed responses, and the account of the publishers imports it.
const Subject = wire.AppliedSubject

// ErrUnconfirmed is returned by [Revoke] for an event that is revoked, acknowledged by the
// stream, and not known to be applied by all who were waited for.
var ErrUnconfirmed = errors.New("revoked, but not confirmed by the replicas")

// Config configures one [Revoke].
type Config struct {
	// Replicas is how many must confirm, no matter which. Zero means all: those that
	// announce themselves within RollCall, and those that did so to this Member in the last
	// ten minutes and have not said that they are closed.
	//
	// A replica whose process was killed has not said so, and cannot be told from one that
	// is frozen and will go on. So for ten minutes after a kill, a wait for all ends at its
	// bound, with [ErrUnconfirmed], and names that replica. Where processes are killed as a
	// matter of course, have them close their Member first, or give the number of replicas
	// that should be there.
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

const (
	maxReplicas    = 10_000
	rosterLife     = 10 * time.Minute
	defaultRoll    = 250 * time.Millisecond
	firstAskPause  = 200 * time.Millisecond
	maxAskPause    = 2 * time.Second
	nobodyPatience = 2 * time.Second
)

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Replicas < 0 || c.Replicas > maxReplicas:
		return c, fmt.Errorf("Config.Replicas is %d, not between 0 and %d", c.Replicas, maxReplicas)
	case c.RollCall < 0 || c.RollCall > time.Minute:
		return c, fmt.Errorf("Config.RollCall is %s, not between 0 and 1 m", c.RollCall)
	case c.MaxStaleness < 0 || c.MaxStaleness > revoke.MaxLifetime:
		return c, fmt.Errorf("Config.MaxStaleness is %s, not between 0 and ten years", c.MaxStaleness)
	}
	c.RollCall = cmp.Or(c.RollCall, defaultRoll)
	c.MaxStaleness = cmp.Or(c.MaxStaleness, revoke.DefaultMaxStaleness)
	return c, nil
}

// Revoke publishes e as [bus.Member.Publish] does, and then waits until the replicas
// confirm that they have applied it: all that announce themselves, or as many as cfg
// says. It waits until ctx ends, or cfg.MaxStaleness has passed, after which there is
// little to wait for. It may be called concurrently.
//
// The error is of Publish's families if the revocation must be presumed not to have
// happened; the receipt is then zero. It is of the family [ErrUnconfirmed], and of
// ctx's where that ended the wait, if the event is acknowledged and not all have
// confirmed it, nobody being there included; the receipt is then filled in and says
// who did. There is no need to publish again.
func Revoke(ctx context.Context, m *bus.Member, e revoke.Event, cfg Config) (Receipt, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Receipt{}, fmt.Errorf("rollcall: %w", err)
	}
	member := bridge.Of(m)
	a := member.Kept(func() any { return newAsker(member) }).(*asker)
	r, place, err := member.Publish(ctx, e)
	if err != nil {
		return Receipt{}, err
	}
	w := newWait(cfg, r, place)
	err = a.await(ctx, w)
	receipt := a.leave(w)
	if err != nil {
		err = fmt.Errorf("rollcall: %s %s: %w: %w", r.Event.Kind, r.ID, ErrUnconfirmed, err)
	}
	return receipt, err
}
