package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// secondTimeout bounds a second reading of the log; ten million messages take a minute
// or two.
const secondTimeout = 10 * time.Minute

// All that follow a stream see the same digest at once. Their second readings are spread
// over so long a time; behind a mirror, which perhaps was made anew and has them wait, over
// less.
const (
	secondSpread       = time.Minute
	secondSpreadMirror = 10 * time.Second
)

var errOtherContent = errors.New("bus: the log holds something else than what was applied")

// A second is a second reading of the log, beside the subscription: another member says
// that it holds something else, and this one asks the server again what there is. The
// subscription goes on meanwhile, so that a member that lies makes nobody stale. It
// belongs to the follower's goroutine, but for what runs in its own.
type second struct {
	cancel context.CancelFunc  // nil: none is under way
	done   chan replica.Digest // closed when it ends
	found  *replica.Digest     // to be compared once the subscription has come as far
	begun  revoke.Instant
}

// doubt begins a second reading if the feed asks for one.
func (f *Follower) doubt(now revoke.Instant, epoch uint64) {
	if f.second.cancel != nil || f.second.found != nil {
		return
	}
	from, ok := f.feed.Doubt(now)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(f.ctx, secondTimeout)
	done := make(chan replica.Digest, 1)
	f.second = second{cancel: cancel, done: done, begun: now}
	f.t.Log.Info("bus: another member holds another log; reading it a second time", "stream", f.t.StreamName)
	spread := secondSpread
	if f.report.Load().mirror {
		spread = secondSpreadMirror
	}
	go func() {
		defer close(done)
		if pause.Wait(ctx, pause.Between(0, spread)) != nil {
			return
		}
		d, err := f.readSecond(ctx, epoch, from)
		if err != nil {
			f.t.Log.Warn("bus: second reading of the log", "error", err)
			return
		}
		done <- d
	}()
}

// end ends a second reading, and waits for it.
func (s *second) end() {
	if s.cancel != nil {
		s.cancel()
		for range s.done {
		}
	}
	*s = second{}
}

// read takes what a second reading has found, if anything.
func (s *second) read(d replica.Digest, ok bool) {
	s.cancel()
	*s = second{begun: s.begun}
	if ok {
		s.found = &d
	}
}

// settle compares what a second reading has found with what was applied. An error ends
// the subscription: the log is to be read anew.
func (f *Follower) settle(now revoke.Instant) error {
	if f.second.found == nil {
		return nil
	}
	same, known := f.feed.Settle(*f.second.found)
	switch {
	case !known && mono(f.second.begun, now) < secondTimeout:
		return nil
	case known && !same:
		f.feed.Rewind()
		f.last = revoke.Instant{}
		return errOtherContent
	case known:
		f.t.Log.Warn("bus: the log holds what was applied; the member that holds another is mistaken, or reads another log",
			"stream", f.t.StreamName, "mirror", f.report.Load().mirror)
	}
	f.second.found = nil
	return nil
}

// readSecond reads the log from its start and returns its digest at the first heartbeat
// from that sequence on.
func (f *Follower) readSecond(ctx context.Context, epoch, from uint64) (replica.Digest, error) {
	began := revoke.Now()
	info, _, err := f.t.Info(ctx)
	if err != nil {
		return replica.Digest{}, err
	}
	s, err := subscribe(ctx, f.t, replica.Subscription{Start: 1}, f.idle, epoch, pullMessages)
	if s != nil {
		defer s.close()
	}
	if err != nil {
		return replica.Digest{}, err
	}
	var digest replica.LogDigest
	deliveries := uint64(0)
	for {
		select {
		case m := <-s.msgs:
			if !isRecord(m) {
				if err := s.status(m); err != nil {
					return replica.Digest{}, err
				}
				continue
			}
			r, err := s.record(m)
			if err != nil {
				return replica.Digest{}, err
			}
			if deliveries++; r.Delivery != deliveries {
				return replica.Digest{}, fmt.Errorf("bus: %w", replica.ErrGap)
			}
			digest.Add(&r)
			server := info.Time.Add(mono(began, revoke.Now()))
			if m.Subject == wire.HeartbeatSubject && r.Sequence >= from && digest.Whole(&r, server) {
				return digest.At(&r), nil
			}
		case <-ctx.Done():
			return replica.Digest{}, context.Cause(ctx)
		}
		if f.moved(epoch) {
			return replica.Digest{}, transport.ErrDisconnected
		}
	}
}
