package natskv

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/refresh"
)

const (
	// writerHeader tells the attempts of one Save from those of others.
	writerHeader = "Hybridtoken-Writer"

	// confirmation is the key that is written to confirm something about another. It is
	// none that a Store takes.
	confirmation = "/confirmation"
)

// An entry is the last message on a key's subject.
type entry struct {
	seq      uint64 // 0: there is none
	marker   bool   // it says that the record was deleted
	data     []byte
	writer   string    // "": another program's
	at       time.Time // by the clock of the server that wrote it
	replaced int64     // the sequence that it replaced, 0 if it created the record; -1: not told
}

// gone reports whether there is no record.
func (e entry) gone() bool { return e.seq == 0 || e.marker }

// Load implements [refresh.Store].
func (s *Store) Load(ctx context.Context, key string) (refresh.Record, error) {
	if err := refresh.CheckRecord(key, nil); err != nil {
		return refresh.Record{}, fmt.Errorf("natskv: load: %w", err)
	}
	ctx, cancel := bound(ctx, defaultTimeout)
	defer cancel()
	e, err := s.read(ctx, s.prefix+key)
	if err != nil {
		return refresh.Record{}, fmt.Errorf("natskv: load: %w", err)
	}
	if e.gone() {
		return refresh.Record{}, fmt.Errorf("natskv: load: %w", refresh.ErrNotFound)
	}
	return refresh.Record{Value: e.data, Revision: e.seq}, nil
}

// read returns what the leader says is last on subject, and says that there is no
// record only if a majority has confirmed it.
func (s *Store) read(ctx context.Context, subject string) (entry, error) {
	var p pauses
	for {
		var e entry
		leave, err := enter(ctx, s.reads[s.lane(subject)])
		if err != nil {
			return entry{}, fmt.Errorf("wait for reads that are under way: %w", err)
		}
		err = persist(ctx, s.js.Conn(), func(ctx context.Context) (err error) {
			e, err = s.get(ctx, subject)
			return err
		})
		leave()
		if err != nil || !e.gone() {
			return e, err
		}
		if err := s.safe(ctx); err != nil { // it may have forgotten the record
			return entry{}, err
		}
		confirmed, err := s.last(ctx, subject, e.seq)
		if err != nil {
			return entry{}, fmt.Errorf("confirm that there is no record: %w", err)
		}
		if confirmed {
			return e, nil
		}
		if err := p.wait(ctx); err != nil {
			return entry{}, fmt.Errorf("confirm that there is no record: %w", err)
		}
	}
}

// get asks whom the servers take for the leader.
func (s *Store) get(ctx context.Context, subject string) (entry, error) {
	m, err := s.stream.GetLastMsgForSubject(ctx, subject) // not direct: hazards
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, err
	}
	e := entry{
		seq: m.Sequence, at: m.Time, data: m.Data, writer: m.Header.Get(writerHeader), replaced: -1,
		marker: m.Header.Get("KV-Operation") != "" || m.Header.Get(jetstream.MarkerReasonHeader) != "",
	}
	if n, err := strconv.ParseInt(m.Header.Get(jetstream.ExpectedLastSubjSeqHeader), 10, 64); err == nil {
		e.replaced = n
	}
	return e, nil
}

// last reports whether seq is the last sequence on subject, 0 if there is none, by
// writing something on that condition: what a majority commits, no deposed leader
// decides.
func (s *Store) last(ctx context.Context, subject string, seq uint64) (bool, error) {
	leave, err := enter(ctx, s.confirm[s.lane(subject)])
	if err != nil {
		return false, err
	}
	defer leave()
	err = persist(ctx, s.js.Conn(), func(ctx context.Context) error {
		_, err := s.publish(ctx, &nats.Msg{Subject: s.prefix + confirmation}, jetstream.WithExpectLastSequenceForSubject(seq, subject))
		return err
	})
	if moved(err) {
		return false, nil
	}
	return err == nil, err
}

// publish writes a message and returns its sequence.
func (s *Store) publish(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (uint64, error) {
	opts = append(opts, jetstream.WithExpectStream(streamName(s.bucket)), jetstream.WithRetryAttempts(0))
	ack, err := s.js.PublishMsg(ctx, m, opts...)
	if err != nil {
		return 0, err
	}
	if ack.Stream != streamName(s.bucket) || ack.Sequence == 0 || ack.Duplicate {
		return 0, fmt.Errorf("acknowledgement of stream %q, sequence %d: something else answers in this account", ack.Stream, ack.Sequence)
	}
	return ack.Sequence, nil
}

// moved reports whether the server refused a write because the key's last sequence is
// another, or because another write to it is under way, which may fail yet.
func moved(err error) bool {
	return jsadmin.IsCode(err, jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// lane is the lane of a key, of which subject is the subject.
func (s *Store) lane(subject string) int { return int(subject[len(s.prefix)]) % lanes }

// enter waits for a place in a lane.
func enter(ctx context.Context, lane chan struct{}) (leave func(), err error) {
	select {
	case lane <- struct{}{}:
		return func() { <-lane }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lastSequence is the key's last sequence as a refusal tells it, 0 if it does not.
func lastSequence(err error) uint64 {
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence {
		return 0
	}
	i := strings.LastIndexByte(api.Description, ' ')
	n, err := strconv.ParseUint(api.Description[i+1:], 10, 64)
	if err != nil {
		return 0
	}
	return n
}
