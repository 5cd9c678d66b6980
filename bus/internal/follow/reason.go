package follow

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// end takes note of why there is no subscription, and logs it if that is news.
func (f *Follower) end(reason revoke.Reason, err error, level slog.Level) {
	f.feed.Broken(revoke.Now(), reason)
	server := f.t.Conn.State().Server
	f.note(func(r *report) { r.connected, r.server, r.err = server != "", server, err })
	said := reason.String()
	if known := err != transport.ErrDisconnected; said != f.said || known && !f.told {
		f.told = known || said == f.said && f.told
		f.said = said
		f.t.Log.Log(context.Background(), level, "bus: not following", "reason", said, "error", err)
	}
}

// recovered takes note that records arrive, and of a heartbeat.
func (f *Follower) recovered(hb *replica.Heartbeat, now revoke.Instant) {
	f.note(func(r *report) {
		r.err = nil
		if hb != nil {
			r.beater, r.beat = wire.Printable(hb.Name), now
		}
	})
	if f.said != "" {
		f.said = ""
		f.t.Log.Info("bus: following", "stream", f.t.StreamName)
	}
}

// note replaces the report by a changed copy, and wakes who waits for that.
func (f *Follower) note(change func(*report)) {
	r := *f.report.Load()
	change(&r)
	f.report.Store(&r)
	f.changed.Wake()
}

// reason finds the word for a failure of an attempt, before which the connection's
// last error was before.
func (f *Follower) reason(err, before error) revoke.Reason {
	switch {
	case errors.Is(err, transport.ErrNoStream), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return revoke.ReasonNoStream
	case errors.Is(err, transport.ErrClosed):
		return revoke.ReasonClosed
	case errors.Is(err, transport.ErrDisconnected):
		return revoke.ReasonDisconnected
	case errors.Is(err, errEnded):
		return revoke.ReasonRebuilding
	case !f.t.Conn.IsConnected():
		return revoke.ReasonDisconnected
	case isRefusal(f.t.NATS().LastError(), before):
		return revoke.ReasonNotPermitted
	}
	return revoke.ReasonNoHeartbeat
}

// isRefusal reports whether the connection's last error is a refusal of a request to
// JetStream that has come since it was before.
func isRefusal(last, before error) bool {
	return last != before && errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), jetstream.DefaultAPIPrefix)
}
