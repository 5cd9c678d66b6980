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

// Subject is "hybridtoken.v1.applied", where [Revoke] asks all replicas, outside of any
// stream, whether they have applied a message. Replicas need the right to subscribe to
// it and to publish the answer to the inbox that the question names (the server's
// allow_responses, with at least 3 responses and 1 minute, or, for the farewell of one that
// is closed to be heard whenever it is waited for, 10 minutes; or "_INBOX.>"). Those
// without it follow as well as the others, and are not waited for. Behind a mirror in
// another account, have that account export the subject as a service with streamed
// responses, and the publishers' import it.
//
// The micro service framework of nats.go would answer its control requests ($SRV.PING
// and others) to whatever subject they name as the reply, with the rights of the member
// that answers: a right to ask would suffice to have a member store messages in the stream. It
// also exchanges the connection's handlers, which may be the caller's, and its
// Stop does not wait. So this is plain request and reply, answered only to inboxes.
const Subject = wire.AppliedSubject

// ErrUnconfirmed is returned by [Revoke] for an event that is revoked, acknowledged by the
// stream, and not known to be applied by all who were waited for.
var ErrUnconfirmed = errors.New("revoked, but not confirmed by the replicas")

// Config configures one [Revoke].
type Config struct {
	// Replicas is how many must confirm, no matter which. Zero means all that
	// announce themselves within RollCall, and all that did so to this Member in the last
	// ten minutes and were not closed since. One that was killed says no farewell, and
	// nobody can tell it from one that is frozen and will go on: for ten minutes a wait
	// for all goes on to its bound and names it. Where processes are killed as a matter
	// of course, give the number that should be there, or close the Member before.
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
