package follow

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/replica"
)

// reportLost finds out why own heartbeats do not come back, and logs it. The search takes
// some requests, and nobody waits for it.
func (h *beater) reportLost(denied error) {
	leave, err := h.t.Enter()
	if err != nil {
		return // closed
	}
	go func() {
		defer leave()
		why := denied
		if why == nil {
			ctx, cancel := context.WithTimeout(h.t.Context, transport.InfoTimeout+transport.AttemptTimeout+2*h.interval)
			why = h.whyLost(ctx)
			cancel()
		}
		if h.t.Context.Err() == nil {
			h.t.Log.Warn("bus: own heartbeats do not come back; freshness depends on other members'", "error", why)
		}
	}()
}

// whyLost tells a subscription that brings nothing from a stream that takes nothing, by
// where the stream ends, and why it does not, by a heartbeat that asks for an
// acknowledgement.
func (h *beater) whyLost(ctx context.Context) error {
	st, err := h.t.ReadStream(ctx)
	if err != nil {
		return fmt.Errorf("the stream cannot be asked: %w", err)
	}
	if h.applied.Load() < st.Last { // or is it on its way?
		_ = pause.Wait(ctx, 2*h.interval)
		if at := h.applied.Load(); at < st.Last {
			return fmt.Errorf("the stream holds messages up to %d and this subscription has brought none after %d: its consumer is paused, or its server stands still", st.Last, at)
		}
		return errors.New("they came late: this subscription has caught up with the stream only now")
	}
	var nonce [16]byte
	rand.Read(nonce[:]) // never fails
	data, err := wire.EncodeHeartbeat(replica.Heartbeat{Nonce: nonce, Time: time.Now(), Name: h.cfg.Name})
	if err != nil {
		return err // Open has tried it
	}
	ctx, cancel := context.WithTimeout(ctx, transport.AttemptTimeout)
	defer cancel()
	msg := nats.NewMsg(wire.HeartbeatSubject)
	msg.Data = data
	msg.Header.Set(jetstream.MsgTTLHeader, wire.HeartbeatTTL)
	before := h.t.NATS().LastError()
	ack, err := h.t.JetStream().PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	if err != nil {
		// The server may have said so of none of the others yet when this search began.
		if denied := h.t.Refused(before, wire.HeartbeatSubject); denied != nil {
			return denied
		}
	}
	return h.whyNotTaken(ack, err)
}

// whyNotTaken puts into words what came of a heartbeat that asked for an acknowledgement.
func (h *beater) whyNotTaken(ack *jetstream.PubAck, err error) error {
	switch {
	case err == nil && ack.Stream != h.t.StreamName:
		return fmt.Errorf("stream %s takes them, and %s, which is followed, does not bring them", ack.Stream, h.t.StreamName)
	case err == nil:
		return errors.New("they were lost on the way; the stream has taken one just now")
	case jsadmin.IsFull(err):
		return fmt.Errorf("the stream has no room for them: %w", err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("no stream takes them: none has the subject %s, or it has no leader: %w", wire.HeartbeatSubject, err)
	case transport.IsAPI(err):
		return fmt.Errorf("the stream refuses them: %w", err)
	}
	return fmt.Errorf("none is acknowledged: the stream has no leader, or the line to it is cut: %w", err)
}
