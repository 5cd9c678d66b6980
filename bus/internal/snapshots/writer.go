package snapshots

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/internal/pause"
)

// leaseTime is for how long the record must stand still before somebody takes the writing over
// from its holder, who changes it more often. Each measures it by his own clock, from when he
// first saw that revision.
const leaseTime = 30 * time.Second

// pollInterval is how often a writer looks whether a snapshot is due, before jitter.
const pollInterval = time.Minute

// A snapshot is due when the log has gone on by so many records, or by that share of the
// List's entries where that is more, but not sooner than leastAge after the last; and when
// the last has come so near to the end of its anchor's life that it will soon be of no use.
const (
	leastRecords = 10_000
	share        = 20 // one in so many entries
	leastAge     = 5 * time.Minute
	greatestAge  = AnchorLife / 3
)

// AnchorLife is how long the record lives at which a snapshot goes on. Later the snapshot is
// of no use.
const AnchorLife = 7 * 24 * time.Hour

// A Source makes snapshots of one replica.
type Source interface {
	// Sequence is how far the replica has read the log, Entries roughly how much it holds.
	Sequence() uint64
	Entries() int

	// Fresh reports whether the replica could vouch for what it holds now.
	Fresh() bool

	// Snapshot makes one. It says at which record of the log it goes on.
	Snapshot(ctx context.Context) (data []byte, sequence uint64, err error)

	// Signer is the key that signs, in hexadecimal.
	Signer() string
}

// A Writer writes snapshots into a bucket, as one of many who could.
type Writer struct {
	t      *transport.Transport
	bucket *Bucket
	source Source
	id     string
	name   string

	// Lease is leaseTime but in tests; it is not changed once anything is written.
	Lease time.Duration

	writing sync.Mutex // held while a snapshot is looked after

	seen     uint64    // guarded by writing: the record's revision when it was last another's
	since    time.Time // guarded by writing: when that revision was first seen
	reported string    // guarded by writing: the failure that was logged last

	status atomic.Pointer[WriterStatus]
}

// A WriterStatus tells what came of writing.
type WriterStatus struct {
	Written  uint64    // snapshots
	At       time.Time // of the last; zero: none yet
	Sequence uint64    // of the last
	Bytes    int64     // of the last
	Failures uint64
	Err      error // of the last attempt; nil if it went well, or was not needed
}

// NewWriter returns a writer whose records name it as that.
func NewWriter(t *transport.Transport, b *Bucket, source Source, name string) *Writer {
	w := &Writer{t: t, bucket: b, source: source, id: rand.Text(), name: name, Lease: leaseTime}
	w.status.Store(&WriterStatus{})
	return w
}

// Status returns what came of writing so far.
func (w *Writer) Status() WriterStatus { return *w.status.Load() }

// Run writes a snapshot whenever one is due, until ctx ends.
func (w *Writer) Run(ctx context.Context) {
	for pause.Wait(ctx, pause.Between(pollInterval/2, 3*pollInterval/2)) == nil {
		if w.source.Fresh() && w.t.Conn.IsConnected() {
			_ = w.write(ctx, false) // the status says, and it has logged
		}
	}
}

// errHeld means that another is writing.
var errHeld = errors.New("another member is writing one")

// Write writes a snapshot now. While another does, it waits for that to end.
func (w *Writer) Write(ctx context.Context) error {
	for {
		err := w.write(ctx, true)
		if !errors.Is(err, errHeld) && !errors.Is(err, ErrMoved) {
			return err
		}
		if pause.Wait(ctx, pause.Between(time.Second/4, time.Second)) != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// write writes a snapshot if one is due, or anyway.
func (w *Writer) write(ctx context.Context, anyway bool) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	p, err := w.attempt(ctx, anyway)
	if err == nil && p == nil {
		return nil // none is due
	}
	s := *w.status.Load()
	s.Err = err
	switch {
	case err == nil:
		s.Written++
		s.At, s.Sequence, s.Bytes = p.Written, p.Sequence, p.Size
		w.t.Log.Info("bus: snapshot written", "sequence", p.Sequence, "bytes", p.Size, "object", p.Name())
	case errors.Is(err, errHeld), ctx.Err() != nil:
		return err
	default:
		s.Failures++
		if text := err.Error(); text != w.reported {
			w.reported = text
			w.t.Log.Warn("bus: no snapshot written; replicas that start read more of the log", "error", err)
		}
	}
	if err == nil {
		w.reported = ""
	}
	w.status.Store(&s)
	return err
}

// attempt returns the pointer that it has moved, or nil if nothing was due.
func (w *Writer) attempt(ctx context.Context, anyway bool) (*Pointer, error) {
	record, revision, err := w.bucket.Record(ctx)
	if err != nil { // also one of a version to come: it is not touched
		return nil, err
	}
	stream, err := w.t.ReadStream(ctx)
	if err != nil {
		return nil, err
	}
	if stream.Mirror {
		return nil, errors.New("bus: snapshots: a mirror is followed: who writes them follows the stream itself")
	}
	old := record.Newest
	if !anyway && !w.due(ctx, &old, stream.Created) {
		return nil, nil
	}
	l, err := w.take(ctx, record, revision)
	if err != nil {
		return nil, err
	}
	p, err := w.produce(ctx, l, stream.Created)
	if err != nil {
		l.release()
		return nil, err
	}
	if same := old.Created.Equal(p.Created); same && p.Sequence < old.Sequence {
		l.release()
		return nil, fmt.Errorf("bus: snapshots: the newest goes on at sequence %d, and this replica has come to %d of the same stream: it was rolled back", old.Sequence, p.Sequence)
	}
	l.record.Newest, l.record.Holder, l.record.Name = p, "", ""
	if _, err := w.bucket.Move(ctx, l.record, l.revision); err != nil {
		return nil, err // its object is swept later
	}
	if _, err := w.bucket.Sweep(ctx, p.Name(), Grace); err != nil {
		w.t.Log.Debug("bus: old snapshots", "error", err)
	}
	return &p, nil
}

// due reports whether it is time for another snapshot than that one.
func (w *Writer) due(ctx context.Context, old *Pointer, created time.Time) bool {
	read := w.source.Sequence()
	if old.Size == 0 || !old.Created.Equal(created) {
		return read >= leastRecords
	}
	age := time.Since(old.Written)
	switch {
	case age >= 0 && age < leastAge:
		return false
	case read > old.Sequence && (age >= greatestAge || age < 0):
		return true
	case read >= old.Sequence+max(leastRecords, uint64(w.source.Entries()/share)):
		return true
	}
	_, err := w.bucket.info(ctx, old.Name())
	return errors.Is(err, ErrNoObject)
}

// A lease is the right to write the next snapshot, for as long as the record is at its
// revision.
type lease struct {
	w        *Writer
	record   Record
	revision uint64
	renewed  time.Time
}

// take takes the lease, from nobody or from a holder that has not renewed it.
func (w *Writer) take(ctx context.Context, r Record, revision uint64) (*lease, error) {
	if r.Holder != "" && r.Holder != w.id {
		if now := time.Now(); w.seen != revision || w.since.IsZero() {
			w.seen, w.since = revision, now
		}
		if time.Since(w.since) < w.Lease {
			return nil, fmt.Errorf("bus: snapshots: %w: %q", errHeld, r.Name)
		}
	}
	l := &lease{w: w, record: r, revision: revision}
	l.record.Holder, l.record.Name = w.id, w.name
	switch err := l.renew(ctx); {
	case errors.Is(err, ErrMoved): // another was quicker
		return nil, fmt.Errorf("bus: snapshots: %w", errHeld)
	case err != nil:
		return nil, err
	}
	return l, nil
}

// renew says that the holder is still there. An error means that the lease is lost, or may be.
func (l *lease) renew(ctx context.Context) error {
	revision, err := l.w.bucket.Move(ctx, l.record, l.revision)
	if err == nil {
		l.revision, l.renewed = revision, time.Now()
	}
	return err
}

// release lets others write at once. A lease that is lost stays the other's.
func (l *lease) release() {
	ctx, cancel := context.WithTimeout(l.w.t.Context, askTimeout)
	defer cancel()
	l.record.Holder, l.record.Name = "", ""
	_, _ = l.w.bucket.Move(ctx, l.record, l.revision)
}

// produce makes a snapshot and stores it. The lease is renewed meanwhile.
func (w *Writer) produce(ctx context.Context, l *lease, created time.Time) (Pointer, error) {
	keep := func() error {
		if time.Since(l.renewed) < w.Lease/3 {
			return nil
		}
		return l.renew(ctx)
	}
	data, sequence, err := w.snapshot(ctx, keep)
	if err != nil {
		return Pointer{}, err
	}
	digest, err := w.bucket.Put(ctx, data, keep)
	if err != nil {
		return Pointer{}, err
	}
	return Pointer{Digest: digest, Size: int64(len(data)), Sequence: sequence, Created: created, Written: time.Now().UTC().Truncate(time.Millisecond), Signer: w.source.Signer()}, nil
}

// snapshot has the source make a snapshot, and keeps the lease meanwhile.
func (w *Writer) snapshot(ctx context.Context, keep func() error) (data []byte, sequence uint64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		data, sequence, err = w.source.Snapshot(ctx)
	}()
	tick := time.NewTicker(w.Lease / 6)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return data, sequence, err
		case <-tick.C:
			if lost := keep(); lost != nil {
				cancel(lost)
				<-done
				return nil, 0, lost
			}
		}
	}
}
