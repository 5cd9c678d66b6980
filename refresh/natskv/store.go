package natskv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/natsconn"
	"github.com/hybridtoken/hybridtoken/refresh"
)

// defaultTimeout bounds a call whose context has no deadline. It outlasts the
// election after an unclean loss of the bucket's leader, 4 to 9 s.
const defaultTimeout = 15 * time.Second

const (
	defaultClockSkew = 5 * time.Minute
	minClockSkew     = time.Second
	maxClockSkew     = 24 * time.Hour
)

// maxReads and maxConfirmations bound how many records are being read, and how many "there
// is no such record" confirmed, at a time in a lane, because strangers can ask for records
// that do not exist. Others wait, but no keys of one kind for those of another: users who
// log in for the first time not for refresh tokens that somebody made up. A key's kind is
// what it begins with; the number of lanes gives each kind that package refresh has one of its
// own. With more reads at once than a server answers within attemptTimeout
// all of them would be asked again, and it would answer none in time ever after.
const (
	maxReads         = 128
	maxConfirmations = 8
	lanes            = 7
)

// Config configures [New].
type Config struct {
	// Bucket is the bucket's name. Empty means "sessions".
	Bucket string

	// ClockSkew is how far the clocks of the service's instances and of the servers may
	// differ from each other. Records live that much longer than they must, since each
	// server forgets by its own clock. At least 1 s and at most a day; zero means five
	// minutes. With less than the clocks really differ, sessions may end early and a
	// user's cutoff be forgotten while a session that it ended is remembered.
	ClockSkew time.Duration

	// Logger receives a warning about settings of the bucket under which an accident
	// can lose sessions, about a server whose clock differs by more than ClockSkew, and
	// about a connection that notices a dead server late.
	// Nil means silent.
	Logger *slog.Logger
}

// A Store is a [refresh.Store] on a bucket of NATS JetStream. It is safe for
// concurrent use, has no background work, and needs no closing. A call whose context
// has no deadline ends after 15 s.
type Store struct {
	js      jetstream.JetStream
	stream  jetstream.Stream
	bucket  string
	prefix  string // of subjects
	skew    time.Duration
	reads   [lanes]chan struct{} // one for each read under way
	confirm [lanes]chan struct{} // one for each confirmation under way
	room    room
}

var _ refresh.Store = (*Store)(nil)

// New opens the bucket, which [CreateBucket] has made. The connection remains the
// caller's. One that can end by itself is refused by name, because no session could be
// refreshed or ended any more until the process restarts: [nats.MaxReconnects] must be
// negative, and [nats.IgnoreAuthErrorAbort] set. With [nats.ReconnectBufSize] -1 nothing is
// sent late, and with [nats.PingInterval] 2 s a dead server is noticed within six.
//
// It fails with [ErrNoBucket], with the list of what would make the bucket forget sessions
// or bring dead ones back, or if the credentials do not suffice, which it tries by writing
// and reading one record of its own. A bucket that is changed later so that it would be refused here is found out
// within ten seconds of use: then nothing is written to it, and of no record is said that
// there is none, until it is mended.
func New(ctx context.Context, nc *nats.Conn, cfg Config) (*Store, error) {
	if cfg.Bucket == "" {
		cfg.Bucket = defaultBucket
	}
	if cfg.ClockSkew == 0 {
		cfg.ClockSkew = defaultClockSkew
	}
	if err := natsconn.Check(nc); err != nil {
		return nil, fmt.Errorf("natskv: %w", err)
	}
	if p, slow := natsconn.SlowPing(nc); slow && cfg.Logger != nil {
		cfg.Logger.Warn("natskv: a dead server is noticed late; use a shorter nats.PingInterval", "ping_interval", p)
	}
	switch {
	case cfg.ClockSkew < minClockSkew || cfg.ClockSkew > maxClockSkew:
		return nil, fmt.Errorf("natskv: field ClockSkew is %s, not between %s and %s", cfg.ClockSkew, minClockSkew, maxClockSkew)
	}
	if err := jsadmin.CheckName(cfg.Bucket); err != nil {
		return nil, fmt.Errorf("natskv: field Bucket: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("natskv: %w", err)
	}
	s := &Store{
		js: js, bucket: cfg.Bucket, prefix: subjectPrefix(cfg.Bucket), skew: cfg.ClockSkew,
	}
	for i := range lanes {
		s.reads[i], s.confirm[i] = make(chan struct{}, maxReads), make(chan struct{}, maxConfirmations)
	}
	ctx, cancel := bound(ctx, defaultTimeout)
	defer cancel()
	if err := s.open(ctx, cfg.Logger); err != nil {
		if denied := nc.LastError(); errors.Is(denied, nats.ErrPermissionViolation) {
			err = fmt.Errorf("%w (the server says: %w)", err, denied)
		}
		return nil, fmt.Errorf("natskv: open bucket %s: %w", cfg.Bucket, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, log *slog.Logger) error {
	err := persist(ctx, s.js.Conn(), func(ctx context.Context) (err error) {
		s.stream, err = s.js.Stream(ctx, streamName(s.bucket))
		return err
	})
	if err != nil {
		return fmt.Errorf("read its settings: %w", err)
	}
	c := s.stream.CachedInfo().Config
	list := hazards(c, s.bucket)
	s.room.note(s.stream.CachedInfo(), list)
	if len(list) > 0 {
		return fmt.Errorf("%w: %s", errBucketUnsafe, strings.Join(list, "; "))
	}
	if n := s.js.Conn().MaxPayload(); n > 0 && n < maxMessageBytes {
		return fmt.Errorf("the server takes messages of %d bytes, fewer than %d (max_payload)", n, maxMessageBytes)
	}
	if list := jsadmin.Weaknesses(c); len(list) > 0 && log != nil {
		log.Warn("natskv: an accident can lose sessions, and what ended them", "bucket", s.bucket, "weak", list)
	}
	before := time.Now()
	if err := persist(ctx, s.js.Conn(), func(ctx context.Context) error {
		_, err := s.publish(ctx, &nats.Msg{Subject: s.prefix + confirmation})
		return err
	}); err != nil {
		return fmt.Errorf("try to write: %w", err)
	}
	var e entry
	if err := persist(ctx, s.js.Conn(), func(ctx context.Context) (err error) {
		e, err = s.get(ctx, s.prefix+confirmation)
		return err
	}); err != nil {
		return fmt.Errorf("try to read: %w", err)
	}
	if off := apart(e.at, before, time.Now()); off > s.skew && log != nil {
		log.Warn("natskv: the clock of the bucket's leader and ours differ by more than ClockSkew: records may be forgotten too early",
			"bucket", s.bucket, "differ", off.Round(time.Millisecond), "clock_skew", s.skew)
	}
	return nil
}

// apart is how far another clock, which showed at, differs from ours, which meanwhile
// showed before to after.
func apart(at, before, after time.Time) time.Duration {
	return max(before.Sub(at), at.Sub(after), 0)
}

// bound gives ctx a deadline if it has none.
func bound(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
