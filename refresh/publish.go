package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// publish tells every service, with a budget of its own, that neither a store nor a
// caller who hangs up can use up. The error is of ErrPending.
func (m *Manager) publish(ctx context.Context, e revoke.Event) error {
	ctx, cancel := context.WithTimeout(detach(ctx), publishTimeout)
	defer cancel()
	e.Issuer = m.issuer.Issuer
	if e.Validate() != nil {
		// A version that looked less closely has recorded it. What is for people is left
		// out rather than the revocation.
		bare := e
		bare.Reason, bare.Actor = "", ""
		if bare.Validate() == nil {
			e = bare
		}
	}
	if m.cfg.Publisher != nil {
		r, err := m.publishOnce(ctx, e)
		if errors.Is(err, revoke.ErrInvalidEvent) && !errors.Is(err, revoke.ErrCredential) && !e.Until.IsZero() {
			// A stream whose tokens live longer than our List knows, as before it has
			// followed it: rather kept for too long than not said.
			e.Until = time.Time{}
			r, err = m.publishOnce(ctx, e)
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrPending, e.Kind, err)
		}
		e = r.Event
	}
	if err := m.cfg.Revocations.Apply(m.now(), e); err != nil {
		if m.cfg.Publisher == nil {
			return fmt.Errorf("%w: %s: %w", ErrPending, e.Kind, err)
		}
		// The bus brings it in a moment.
		m.log.Debug("refresh: published event not applied here at once", "kind", e.Kind.String(), "error", err)
	}
	return nil
}

func (m *Manager) publishOnce(ctx context.Context, e revoke.Event) (r revoke.Receipt, err error) {
	err = guarded("publisher", func() (err error) {
		r, err = m.cfg.Publisher.Publish(ctx, e)
		return err
	})
	return r, err
}

// sessionEvent revokes all tokens of a session, the last of which was issued at issued, in
// unix milliseconds, or before now.
func (m *Manager) sessionEvent(sid string, issued int64, reason, actor string) revoke.Event {
	return revoke.Event{Kind: revoke.KindSession, Value: sid, Until: m.outlives(issued), Reason: reason, Actor: actor}
}

// outlives returns when every token has expired that was issued at the time at, in unix
// milliseconds, or until now. Ours live no longer than the Issuer's TokenLifetime, but what is
// shorter than the stream's is no Until that it takes.
func (m *Manager) outlives(at int64) time.Time {
	return time.UnixMilli(max(at, m.millis()) + max(m.issuer.TokenLifetime, m.cfg.Revocations.Retention().TokenLifetime).Milliseconds())
}

// checkEvent returns what keeps an event with those texts from being published, in the
// family [revoke.ErrInvalidEvent]. It is asked before they are recorded: what is pending
// and cannot be said would be pending for ever.
func (m *Manager) checkEvent(k revoke.Kind, value, reason, actor string) error {
	e := revoke.Event{Issuer: m.issuer.Issuer, Kind: k, Value: value, Reason: reason, Actor: actor}
	return e.Validate()
}

// millis is the present time in unix milliseconds.
func (m *Manager) millis() int64 { return m.now().Time().UnixMilli() }
