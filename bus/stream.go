package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Keys of the stream's metadata. The retention lives there because every party must
// agree on them and nobody may change them alone.
const (
	metaSchema          = "hybridtoken.schema"
	metaTokenLifetime   = "hybridtoken.token_lifetime_ms"
	metaSessionLifetime = "hybridtoken.session_lifetime_ms"
	metaMaxSkew         = "hybridtoken.max_skew_ms" // absent in older streams
	schemaVersion       = "1"
)

const (
	defaultMaxBytes = 1 << 30
	// minMaxBytes leaves heartbeats room in the 3 % of the stream that no event may
	// use, 480 KiB: a quarter of an hour of one heartbeat a second, at 300 bytes and twice
	// as much when several members beat.
	minMaxBytes = 16 << 20
	warnPercent = 80
)

// StreamConfig configures [CreateStream]. The zero StreamConfig suits a production
// cluster of three servers.
type StreamConfig struct {
	// Name of the stream. Empty means [DefaultStream].
	Name string

	// Replicas is the number of servers that hold the stream, 1 to 5. With fewer than
	// three an acknowledged revocation can be lost with one disk. Zero means 3; a
	// single server takes only 1.
	Replicas int

	// MaxBytes bounds the stream's size; count 500 bytes for each live revocation, headers
	// included: one of a UUID with a reason and an actor takes up to 490, a signed one 620,
	// and each session in Keep its length and 3 more. Single revocations may fill 90 % of
	// it, batches 80 %: the default is room for 1.9 million. When it is reached, publishing
	// fails; nothing is ever dropped to make room. At least 16 MiB; zero means 1 GiB. The
	// server reserves it.
	MaxBytes int64

	// InsecureMemory keeps the stream in memory. After a restart of all servers every
	// service that restarts too lets in again everybody who was revoked.
	InsecureMemory bool

	// Retention is fixed for the stream's life: TokenLifetime is the longest exp − iat
	// of any access token, SessionLifetime the longest that a session can go on minting
	// tokens, MaxSkew how far clocks may differ: that of every List, at least 3 ×
	// HeartbeatInterval below its MaxStaleness, and at least 1 s where verifiers accept
	// tokens of other people's issuers. Zero means one hour, 90 days and 2 s. Lifetimes
	// are at least 1 s and at most ten years, MaxSkew at least 1 ms and at most two minutes.
	Retention revoke.Retention
}

// CreateStream makes the stream, as the operator's tool or an embedded server
// does once. It succeeds if the stream exists exactly as it would have made it, and
// otherwise fails with [ErrStreamExists] and the list of differences: it never
// changes a stream, because a shorter retention or a new limit would un-revoke.
//
// The connection needs the rights to read and create streams. In production, run
// servers with sync_interval: always; a client cannot see whether they do. Servers
// that are electing are asked again until ctx ends; if it has no deadline, for 15 s.
func CreateStream(ctx context.Context, nc *nats.Conn, cfg StreamConfig) error {
	if nc == nil {
		return errors.New("bus: create stream: the connection is nil")
	}
	l, err := newLink(nc, 0)
	if err != nil {
		return fmt.Errorf("bus: create stream: %w", err)
	}
	conn := &connection{log: logger(nil)}
	conn.link.Store(l)
	want, err := cfg.resolve()
	if err != nil {
		return fmt.Errorf("bus: create stream: %w", err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultTimeout)
		defer cancel()
	}
	have, err := jsadmin.Create(ctx, want, conn.askAgain)
	if err != nil {
		return fmt.Errorf("bus: create stream %s: %w", want.Name, conn.streamError(err))
	}
	if diff := differences(have, want); len(diff) > 0 {
		return fmt.Errorf("bus: create stream %s: %w: %s", want.Name, ErrStreamExists, strings.Join(diff, "; "))
	}
	return nil
}

// streamTimeout bounds one request of [CreateStream]; making a stream takes several
// servers' disks.
const streamTimeout = 3 * time.Second

// askAgain makes a request to subject that may be made twice until it is answered or ctx
// ends: one that comes while the servers elect is refused, or is never answered at all,
// and one that comes before there is a connection is not even sent.
func (c *connection) askAgain(ctx context.Context, subject string, request func(context.Context, jetstream.JetStream) error) error {
	for {
		l := c.link.Load()
		before := l.nc.LastError()
		err := l.attempt(ctx, streamTimeout, func(ctx context.Context) error { return request(ctx, l.js) })
		refusal := c.refused(before, subject)
		switch {
		case err != nil && refusal != nil:
			return fmt.Errorf("%w: %w", errNotPermitted, refusal)
		case err != nil && !c.over() && !l.nc.IsConnected():
			err = c.disconnected()
		case errors.Is(err, context.DeadlineExceeded), jsadmin.IsElecting(err):
		case errors.Is(err, errDisconnected), errors.Is(err, nats.ErrReconnectBufExceeded): // and connected again since
		default:
			return err
		}
		if pause.Wait(ctx, 250*time.Millisecond) != nil {
			return err
		}
	}
}

func (cfg StreamConfig) resolve() (jetstream.StreamConfig, error) {
	var zero jetstream.StreamConfig
	if cfg.Name == "" {
		cfg.Name = DefaultStream
	}
	if err := jsadmin.CheckName(cfg.Name); err != nil {
		return zero, fmt.Errorf("field Name: %w", err)
	}
	c, err := jsadmin.Config{Replicas: cfg.Replicas, MaxBytes: cfg.MaxBytes, InMemory: cfg.InsecureMemory}.Stream(cfg.Name, defaultMaxBytes, minMaxBytes)
	if err != nil {
		return zero, err
	}
	h, def := cfg.Retention, revoke.DefaultRetention()
	if h.TokenLifetime == 0 {
		h.TokenLifetime = def.TokenLifetime
	}
	if h.SessionLifetime == 0 {
		h.SessionLifetime = def.SessionLifetime
	}
	if h.MaxSkew == 0 {
		h.MaxSkew = def.MaxSkew
	}
	if h.MaxSkew < time.Millisecond || h.MaxSkew > revoke.MaxSkewLimit || h.MaxSkew%time.Millisecond != 0 {
		return zero, fmt.Errorf("field Retention.MaxSkew is %s; want whole milliseconds between 1ms and %s", h.MaxSkew, revoke.MaxSkewLimit)
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"TokenLifetime", h.TokenLifetime}, {"SessionLifetime", h.SessionLifetime}} {
		if f.d < time.Second || f.d > revoke.MaxLifetime || f.d%time.Millisecond != 0 {
			return zero, fmt.Errorf("field Retention.%s is %s; want whole milliseconds between 1s and ten years", f.name, f.d)
		}
	}
	c.Description = "revocations of access tokens; append-only"
	c.Subjects = []string{streamSubjects}
	c.MaxMsgSize = maxMessageBytes
	c.AllowDirect = true
	c.Duplicates = 2 * time.Minute
	c.Metadata = map[string]string{
		metaSchema:          schemaVersion,
		metaTokenLifetime:   strconv.FormatInt(h.TokenLifetime.Milliseconds(), 10),
		metaSessionLifetime: strconv.FormatInt(h.SessionLifetime.Milliseconds(), 10),
		metaMaxSkew:         strconv.FormatInt(h.MaxSkew.Milliseconds(), 10),
	}
	return c, nil
}

// A streamState is what one answer of the server says about the stream.
type streamState struct {
	retention revoke.Retention // zero if unreadable
	largest   revoke.Retention // of this stream that were ever read, each
	created   time.Time
	now       time.Time // by the server's clock, when it answered; zero: it did not say
	first     uint64    // sequence
	last      uint64    // sequence
	forgets   bool      // it drops what it holds
	bytes     uint64    // in use
	maxBytes  int64     // positive, or unsafe says so
	unsafe    []string  // reasons why it could forget; nothing is published to it
	mirror    bool      // of another stream; it can be followed, and nothing published to it
	weak      []string  // reasons why an accident could lose what it holds; reported
}

func (b *core) readStream(ctx context.Context) (streamState, error) {
	if !b.conn.over() && !b.conn.isConnected() {
		return streamState{}, fmt.Errorf("bus: read stream %s: %w", b.stream, b.conn.disconnected())
	}
	var s jetstream.Stream
	l := b.conn.link.Load()
	if err := l.attempt(ctx, infoTimeout, func(ctx context.Context) (err error) {
		s, err = l.js.Stream(ctx, b.stream)
		return err
	}); err != nil {
		return streamState{}, fmt.Errorf("bus: read stream %s: %w", b.stream, b.conn.streamError(err))
	}
	info := s.CachedInfo()
	st := streamState{
		created:  info.Created,
		now:      info.TimeStamp,
		first:    info.State.FirstSeq,
		last:     info.State.LastSeq,
		forgets:  forgets(info.Config),
		bytes:    info.State.Bytes,
		maxBytes: info.Config.MaxBytes,
	}
	var err error
	st.retention, err = retention(info.Config.Metadata)
	st.unsafe = hazards(info.Config)
	if err != nil {
		st.unsafe = append(st.unsafe, err.Error())
	}
	largest, shrunk := b.fixed.shrunk(st.created, st.retention)
	st.largest, st.unsafe = largest, append(st.unsafe, shrunk...)
	st.weak = weaknesses(info.Config)
	st.mirror = info.Config.Mirror != nil
	b.warnFill(st)
	return st, nil
}

// retention reads both lifetimes, and the skew of clocks, from the stream's metadata.
func retention(meta map[string]string) (revoke.Retention, error) {
	if v := meta[metaSchema]; v != schemaVersion {
		return revoke.Retention{}, fmt.Errorf("metadata %s is %q, want %q", metaSchema, v, schemaVersion)
	}
	var h revoke.Retention
	for _, f := range []struct {
		key string
		dst *time.Duration
	}{{metaTokenLifetime, &h.TokenLifetime}, {metaSessionLifetime, &h.SessionLifetime}} {
		ms, err := strconv.ParseInt(meta[f.key], 10, 64)
		if err != nil || ms < time.Second.Milliseconds() || ms > revoke.MaxLifetime.Milliseconds() {
			return revoke.Retention{}, fmt.Errorf("metadata %s is %q, no lifetime in milliseconds", f.key, meta[f.key])
		}
		*f.dst = time.Duration(ms) * time.Millisecond
	}
	v, ok := meta[metaMaxSkew]
	if !ok {
		v = defaultSkewText
	}
	ms, err := strconv.ParseInt(v, 10, 64)
	if err != nil || ms < 1 || ms > revoke.MaxSkewLimit.Milliseconds() {
		return revoke.Retention{}, fmt.Errorf("metadata %s is %q, no skew of clocks in milliseconds", metaMaxSkew, v)
	}
	h.MaxSkew = time.Duration(ms) * time.Millisecond
	return h, nil
}

// A fixed remembers the longest retention that this process has read of a stream. They are
// fixed for its life: who lets them shrink has events forgotten that were to live longer.
type fixed struct {
	mu        sync.Mutex
	created   time.Time        // guarded by mu: of which stream; it may be made anew
	retention revoke.Retention // guarded by mu
}

// shrunk takes note of h, which is zero if it cannot be read, and lists what is shorter
// than it was. The largest hold: cutoffs and lives were made by them.
func (f *fixed) shrunk(created time.Time, h revoke.Retention) (largest revoke.Retention, list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !created.Equal(f.created) {
		f.created, f.retention = created, revoke.Retention{}
	}
	for _, v := range []struct {
		key  string
		had  *time.Duration
		have time.Duration
	}{
		{metaTokenLifetime, &f.retention.TokenLifetime, h.TokenLifetime},
		{metaSessionLifetime, &f.retention.SessionLifetime, h.SessionLifetime},
		{metaMaxSkew, &f.retention.MaxSkew, h.MaxSkew},
	} {
		if v.have < *v.had && h != (revoke.Retention{}) { // unreadable is another hazard
			list = append(list, fmt.Sprintf("metadata %s was %d and has shrunk to %d", v.key, v.had.Milliseconds(), v.have.Milliseconds()))
		}
		*v.had = max(*v.had, v.have)
	}
	return f.retention, list
}

// hazards lists the settings under which a stream forgets or distorts events.
func hazards(c jetstream.StreamConfig) []string {
	list := jsadmin.Hazards(c)
	list.Add(c.Mirror == nil && !slices.Contains(c.Subjects, streamSubjects), "subjects %q lack %q", c.Subjects, streamSubjects)
	list.Add(c.MaxMsgsPerSubject > 0, "max messages per subject is %d, want none", c.MaxMsgsPerSubject)
	// A heartbeat tells of what stands before it in the same log, and of nothing else.
	list.Add(len(c.Sources) > 0, "sources: heartbeats tell nothing of other streams")
	if m := c.Mirror; m != nil {
		list.Add(m.OptStartSeq > 1 || m.OptStartTime != nil, "it mirrors only what is newer than its start")
		list.Add(m.FilterSubject != "" && m.FilterSubject != ">" && m.FilterSubject != streamSubjects || len(m.SubjectTransforms) > 0,
			"it mirrors only some subjects, and heartbeats tell nothing of the others")
	}
	return list
}

// forgets reports whether a stream of that configuration drops what it holds, or lets
// others drop it.
func forgets(c jetstream.StreamConfig) bool {
	return c.MaxAge != 0 || c.MaxMsgs > 0 || c.MaxMsgsPerSubject > 0 || c.Discard != jetstream.DiscardNew ||
		c.Retention != jetstream.LimitsPolicy || !c.DenyDelete || !c.DenyPurge || c.AllowRollup
}

// warnFill logs once that the stream is getting full, until it is less so. Messages
// expire by themselves; those of a flood perhaps never do.
func (b *core) warnFill(st streamState) {
	switch limit := uint64(max(st.maxBytes, 0)) / 100; {
	case st.maxBytes <= 0, st.bytes < limit*(warnPercent-5):
		b.filling.Store(false)
	case st.bytes >= limit*warnPercent && !b.filling.Swap(true):
		b.log.Warn("bus: the stream is nearly full; soon revocations will be refused, and then heartbeats",
			"stream", b.stream, "bytes", st.bytes, "max_bytes", st.maxBytes)
	}
}

// weaknesses lists the settings under which an accident can lose events that were
// acknowledged.
func weaknesses(c jetstream.StreamConfig) []string {
	list := jsadmin.Weaknesses(c)
	// Smaller: events that do not fit; larger or none: a flood is cheap.
	list.Add(c.MaxMsgSize != maxMessageBytes, "max message size is %d, want %d", c.MaxMsgSize, maxMessageBytes)
	list.Add(c.MaxConsumers > 0, "max consumers is %d, want none", c.MaxConsumers)
	list.Add(c.ConsumerLimits != (jetstream.StreamConsumerLimits{}), "consumers are limited")
	return list
}

// differences lists in what have differs from want, as far as it matters.
func differences(have, want jetstream.StreamConfig) []string {
	list := jsadmin.Findings(hazards(have))
	list.Differences(have, want)
	list.Add(!slices.Equal(have.Subjects, want.Subjects), "subjects are %q, want %q", have.Subjects, want.Subjects)
	list.Differ("mirror", have.Mirror != nil, false)
	list.Differ("republish", have.RePublish != nil, false)
	list.Differ("duplicate window", have.Duplicates, want.Duplicates)
	list.Differ("first sequence", have.FirstSeq, want.FirstSeq)
	list.Differ("message schedules", have.AllowMsgSchedules, false)
	for _, key := range slices.Sorted(maps.Keys(want.Metadata)) { // the server adds keys of its own
		v, ok := have.Metadata[key]
		if !ok && key == metaMaxSkew {
			v = defaultSkewText
		}
		list.Differ("metadata "+key, strconv.Quote(v), strconv.Quote(want.Metadata[key]))
	}
	return list
}

// defaultSkewText is what a stream means that was made before the metadata told MaxSkew.
var defaultSkewText = strconv.FormatInt(revoke.DefaultRetention().MaxSkew.Milliseconds(), 10)

// streamError puts an error of the client library into the families of this package. The
// end of a link is not that of the connection.
func (c *connection) streamError(err error) error {
	switch {
	case jsadmin.IsCode(err, jetstream.JSErrCodeStreamNotFound):
		return fmt.Errorf("%w: %w", ErrNoStream, err)
	case errors.Is(err, nats.ErrConnectionClosed) && !c.over():
		return c.disconnected()
	case errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}
