package follow

import (
	"context"
	"errors"
	"fmt"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/snapshot"
)

// A Beginning is how a follower began to read the log.
type Beginning struct {
	Sequence uint64 // at which its snapshot goes on; 0: it read the log from its start, or has not begun
	Err      error  // why no snapshot was used; nil where one was, and where none was to be
}

// Beginning returns how the follower began.
func (f *Follower) Beginning() Beginning { return *f.beginning.Load() }

var errOtherLog = errors.New("bus: snapshots: the message at which it goes on is not in the log: it has expired, or the log is another")

// load has the List filled from a snapshot, once, before anything is read. Whatever is wrong
// with one costs time only: the log is then read from its start. An error means that the
// connection was lost.
func (f *Follower) load(epoch uint64, before error) error {
	var log *snapshot.Log
	err := f.connected(before, func(ctx context.Context) (err error) {
		log, err = f.cfg.Load(ctx)
		return err
	})
	if err == nil {
		err = f.feed.Resume(log)
	}
	if err != nil && (f.moved(epoch) || !f.t.Conn.IsConnected() || f.ctx.Err() != nil) {
		return transport.ErrDisconnected
	}
	f.loaded = true
	if err != nil {
		f.startedWithout(err)
		return nil
	}
	f.resuming = log.Sequence
	f.announcer.note(ignoredMark(&replica.Record{Sequence: log.Sequence})) // what came before is past
	return nil
}

// startedWithout takes note that the log is read from its start.
func (f *Follower) startedWithout(err error) {
	f.resuming = 0
	f.beginning.Store(&Beginning{Err: err})
	f.t.Log.Warn("bus: no snapshot to start from; reading the log from its start", "error", err)
}

// resumed takes note of what came of the first subscription at a snapshot's place.
func (f *Follower) resumed(err error) {
	switch {
	case f.resuming == 0:
	case err == nil:
		f.beginning.Store(&Beginning{Sequence: f.resuming})
		f.t.Log.Info("bus: started from a snapshot", "sequence", f.resuming)
		f.resuming = 0
	case errors.Is(err, replica.ErrAnchor):
		f.startedWithout(fmt.Errorf("%w: %w", errOtherLog, err))
	}
}
