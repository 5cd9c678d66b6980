package snapshots

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
)

// BucketOf is the name of the bucket for snapshots of a stream where none is configured. An
// object store and a key-value bucket have it.
func BucketOf(stream string) string { return stream + "-SNAPSHOTS" }

// recordKey is the only key in the key-value bucket.
const recordKey = "newest"

var (
	// ErrNoBucket means that there is no bucket, or none of its servers answers.
	ErrNoBucket = errors.New("no such bucket for snapshots")

	// ErrNone means that the bucket holds no snapshot.
	ErrNone = errors.New("there is no snapshot")

	// ErrMoved means that somebody else has changed the record since it was read.
	ErrMoved = errors.New("another member has moved the pointer, or is writing")
)

// A Bucket is the two buckets for snapshots of one stream.
type Bucket struct {
	t    *transport.Transport
	name string
}

// NewBucket returns the bucket of that name, which need not be there.
func NewBucket(t *transport.Transport, name string) *Bucket { return &Bucket{t, name} }

func (b *Bucket) keys() string            { return "KV_" + b.name }
func (b *Bucket) objects() string         { return "OBJ_" + b.name }
func (b *Bucket) recordSubject() string   { return "$KV." + b.name + "." + recordKey }
func (b *Bucket) chunks(id string) string { return "$O." + b.name + ".C." + id }

// askTimeout bounds one request.
const askTimeout = 2 * time.Second

// A message is one that a stream of the bucket holds.
type message struct {
	data     []byte
	sequence uint64
	at       time.Time
	header   nats.Header
}

// last returns the last message of a subject; sequence 0: there is none. It is asked of any
// server that holds the stream, so that it may be of a moment ago.
func (b *Bucket) last(ctx context.Context, stream, subject string) (message, error) {
	api := jetstream.DefaultAPIPrefix + "DIRECT.GET." + stream + "." + subject
	m, err := b.request(ctx, api)
	if err != nil {
		return message{}, err
	}
	switch status := m.Header.Get("Status"); status {
	case "":
	case strconv.Itoa(http.StatusNotFound):
		return message{}, nil
	default:
		return message{}, fmt.Errorf("bus: snapshots: %s answers %s %q", stream, status, m.Header.Get("Description"))
	}
	sequence, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return message{}, fmt.Errorf("bus: snapshots: %s names no sequence", stream)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return message{}, fmt.Errorf("bus: snapshots: %s names no time", stream)
	}
	return message{m.Data, sequence, at, m.Header}, nil
}

// request asks the server something, once.
func (b *Bucket) request(ctx context.Context, subject string) (*nats.Msg, error) {
	l, err := b.link()
	if err != nil {
		return nil, err
	}
	before := l.Conn.LastError()
	m, err := transport.Attempt(ctx, l, askTimeout, func(ctx context.Context) (*nats.Msg, error) {
		return l.Conn.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject})
	})
	if err != nil {
		return nil, b.explain(err, before, subject)
	}
	return m, nil
}

func (b *Bucket) link() (*transport.Link, error) {
	if l := b.t.Conn.Link.Load(); l != nil && b.t.Conn.IsConnected() {
		return l, nil
	}
	return nil, fmt.Errorf("bus: snapshots: %w", b.t.Conn.Disconnected())
}

// explain puts an error of a request into the families of this package.
func (b *Bucket) explain(err, before error, subject string) error {
	switch refusal := b.t.Refused(before, subject); {
	case refusal != nil:
		err = refusal
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse), jsadmin.IsCode(err, jetstream.JSErrCodeStreamNotFound):
		err = fmt.Errorf("%w: %s: %w", ErrNoBucket, b.name, err)
	}
	return fmt.Errorf("bus: snapshots: %w", err)
}

// Record returns the record and its revision, which is 0 if there is none.
func (b *Bucket) Record(ctx context.Context) (r Record, revision uint64, err error) {
	m, err := b.last(ctx, b.keys(), b.recordSubject())
	if err != nil || m.sequence == 0 || m.header.Get("KV-Operation") != "" { // deleted by hand
		return Record{}, m.sequence, err
	}
	if r, err = decode(m.data); err != nil {
		return Record{}, m.sequence, err
	}
	return r, m.sequence, nil
}

// Move replaces the record if its revision is still that one, and returns the new one. At
// any error but [ErrMoved] it is open whether it has.
func (b *Bucket) Move(ctx context.Context, r Record, revision uint64) (uint64, error) {
	data, err := r.encode()
	if err != nil {
		return 0, err
	}
	return b.store(ctx, b.keys(), &nats.Msg{Subject: b.recordSubject(), Data: data}, jetstream.WithExpectLastSequencePerSubject(revision))
}

// store has a stream store a message, once.
func (b *Bucket) store(ctx context.Context, stream string, m *nats.Msg, opts ...jetstream.PublishOpt) (uint64, error) {
	l, err := b.link()
	if err != nil {
		return 0, err
	}
	before := l.Conn.LastError()
	ack, err := transport.Attempt(ctx, l, storeTimeout, func(ctx context.Context) (*jetstream.PubAck, error) {
		return l.JetStream.PublishMsg(ctx, m, append(opts, jetstream.WithExpectStream(stream), jetstream.WithRetryAttempts(0))...)
	})
	switch {
	case jsadmin.IsCode(err, jetstream.JSErrCodeStreamWrongLastSequence, codeWrongLastSequenceConstant):
		return 0, fmt.Errorf("bus: snapshots: %w: %w", ErrMoved, err)
	case err != nil:
		return 0, b.explain(err, before, m.Subject)
	}
	return ack.Sequence, nil
}

const (
	// storeTimeout bounds the storing of one message, on the disks of several servers.
	storeTimeout = 5 * time.Second

	// codeWrongLastSequenceConstant is what several replicas answer where one answers
	// with the code that has a name.
	codeWrongLastSequenceConstant jetstream.ErrorCode = 10164
)
