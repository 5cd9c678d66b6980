package natskv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/refresh"
)

// maxTTL keeps the servers' arithmetic from overflowing.
const maxTTL = 100 * 365 * 24 * time.Hour

// never reports whether a record with that expiry is kept until it is replaced.
func never(expires time.Time) bool { return !expires.Before(recordstore.Never) }

// Save implements [refresh.Store]. Lives are counted in whole seconds, rounded up, to
// which [Config].ClockSkew is added; longer ones than a hundred years are cut.
func (s *Store) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	err := refresh.CheckRecord(key, value)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("natskv: save: %w", err)
	}
	ctx, cancel := bound(ctx, defaultTimeout)
	defer cancel()
	if err := s.safe(ctx); err != nil {
		return 0, fmt.Errorf("natskv: save: %w", err)
	}
	if !never(expires) {
		if err := s.hasRoom(ctx, key, len(value), revision); err != nil {
			return 0, fmt.Errorf("natskv: save: %w", err)
		}
	}
	w := write{s: s, subject: s.prefix + key, value: value, expires: expires, revision: revision, base: revision, writer: rand.Text()}
	seq, err := w.run(ctx)
	if err != nil {
		return 0, fmt.Errorf("natskv: save: %w", err)
	}
	return seq, nil
}

// A write is one Save: attempts that carry the same mark and the same condition, so
// that at most one of them takes effect, and it is known which.
type write struct {
	s        *Store
	subject  string
	value    []byte
	expires  time.Time
	revision uint64 // the caller's
	base     uint64 // the sequence to replace: the revision, or that of a deletion's marker
	writer   string
	open     bool // an attempt was not answered: it may take effect yet
	doubtful bool // an attempt was refused by a server that perhaps does not decide
}

func (w *write) run(ctx context.Context) (uint64, error) {
	var p pauses
	for {
		seq, err := w.try(ctx)
		switch {
		case err == nil:
			return seq, nil
		case moved(err):
			// While leaders change, one message can reach two servers that take themselves
			// for it. The one that is behind, or waits for what it will never commit, refuses
			// what the other writes. A later sequence than ours is committed by a majority.
			w.doubtful = w.doubtful || lastSequence(err) <= w.base
			seq, done, err := w.judge(ctx)
			if done || err != nil {
				return seq, w.uncertain(err)
			}
		case final(err):
			return 0, w.uncertain(bucketError(err))
		case !unsent(err):
			w.open = true
		}
		if ended := p.wait(ctx); ended != nil {
			w.open = w.open || w.doubtful
			return 0, w.uncertain(gaveUp(ended, err))
		}
	}
}

func (w *write) try(ctx context.Context) (seq uint64, err error) {
	err = attempt(ctx, w.s.js.Conn(), func(ctx context.Context) error {
		m := &nats.Msg{Subject: w.subject, Data: w.value, Header: nats.Header{writerHeader: {w.writer}}}
		opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(w.base)}
		if !never(w.expires) {
			opts = append(opts, jetstream.WithMsgTTL(w.ttl()))
		}
		seq, err = w.s.publish(ctx, m, opts...)
		return err
	})
	return seq, err
}

func (w *write) ttl() time.Duration {
	d := min(max(time.Until(w.expires), 0), maxTTL) + w.s.skew
	return (d + time.Second - 1).Truncate(time.Second)
}

// judge finds out what a refusal means. It is a conflict only if the record has moved
// on from the revision, since a write under way may come to nothing, and a server that
// was deposed refuses what is newer than it knows; and only if no attempt of this
// write can be what moved it.
func (w *write) judge(ctx context.Context) (seq uint64, done bool, err error) {
	e, err := w.s.read(ctx, w.subject)
	switch {
	case err != nil:
		w.open = w.open || w.doubtful
		return 0, true, fmt.Errorf("refused, and why could not be read: %w", err)
	case e.writer == w.writer:
		return e.seq, true, nil // an attempt that was not answered, or was by the wrong server
	case e.gone() && w.revision == 0 && (e.seq == w.base || !w.open && !w.doubtful):
		w.base = e.seq
		return 0, false, nil
	case e.gone() && w.revision != 0 && !w.open:
		return 0, true, refresh.ErrConflict // nobody decides otherwise: see read
	case !e.gone() && e.seq == w.base:
		return 0, false, nil // what is under way has not been committed yet
	case !e.gone() && e.seq < w.base:
		// Either the server that answered is behind, or nobody was ever given that revision.
		if last, err := w.s.last(ctx, w.subject, e.seq); err != nil || !last {
			return 0, false, err
		}
		return 0, true, refresh.ErrConflict
	case !e.gone() && e.replaced == int64(w.base):
		return 0, true, refresh.ErrConflict // this one took the place of ours
	case w.open || w.doubtful:
		w.open = true
		return 0, true, errors.New("the record has changed since, perhaps by this")
	default:
		return 0, true, refresh.ErrConflict
	}
}

// uncertain marks an error of a write that may have taken effect.
func (w *write) uncertain(err error) error {
	if err != nil && w.open && !errors.Is(err, refresh.ErrConflict) {
		return fmt.Errorf("%w: %w", errUnanswered, err)
	}
	return err
}
