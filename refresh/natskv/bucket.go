package natskv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// DefaultBucket is the bucket's name unless another is configured.
const DefaultBucket = "sessions"

// Key and value of the stream's metadata that say what the bucket is for.
const (
	metaSchema    = "hybridtoken.sessions"
	schemaVersion = "1"
)

const (
	defaultMaxBytes = 1 << 30
	minMaxBytes     = 1 << 20
	// maxMessageBytes is what the server counts for the largest record: its value and
	// the headers.
	maxMessageBytes = refresh.MaxValueBytes + 1<<10
)

// BucketConfig configures [CreateBucket]. The zero BucketConfig suits a production
// cluster of three servers.
type BucketConfig struct {
	// Bucket is the bucket's name: at most 64 letters, digits, "-" and "_". Empty means
	// [DefaultBucket].
	Bucket string

	// Replicas is the number of servers that hold the bucket, 1 to 5. With fewer than
	// three, sessions, and what ended them, can be lost with one disk. Zero means 3; a
	// single server takes only 1.
	Replicas int

	// MaxBytes bounds the bucket's size; count 2.5 KiB for each session, and for each
	// that has ended within the lifetime of its tokens. Logins fail first: a tenth is kept,
	// and 384 bytes for each record that there is, so that every session can be refreshed,
	// again within the window of the first time, and ended. Should sessions fill that, too,
	// refreshes fail, and logouts, by which records shrink, go on; nothing is
	// dropped to make room. The last 2 %, and 129 KiB at least, are kept for keyrings, whose
	// rotation no number of sessions stops. At least 1 MiB; zero means 1 GiB. The server
	// reserves it.
	MaxBytes int64

	// InsecureMemory keeps the bucket in memory. A restart of all its servers logs
	// everyone out, and forgets who was: what ended a user's sessions no longer refuses
	// a login that was under way.
	InsecureMemory bool
}

// CreateBucket makes the bucket, as the operator's tool does once. It succeeds if the
// bucket exists exactly as it would have made it, and otherwise fails with
// [ErrBucketExists] and the list of differences: it never changes a bucket.
//
// In production, run servers with sync_interval: always; a client cannot see whether
// they do. Servers that are electing are asked again until ctx ends; if it has no
// deadline, for 15 s.
func CreateBucket(ctx context.Context, nc *nats.Conn, cfg BucketConfig) error {
	want, err := cfg.resolve()
	if err != nil {
		return fmt.Errorf("natskv: create bucket: %w", err)
	}
	switch {
	case nc == nil:
		return errors.New("natskv: create bucket: nil connection")
	case nc.IsClosed():
		return fmt.Errorf("natskv: create bucket: %w", nats.ErrConnectionClosed)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("natskv: create bucket: %w", err)
	}
	ctx, cancel := bound(ctx, defaultTimeout)
	defer cancel()
	err = persist(ctx, nc, func(ctx context.Context) error {
		_, err := js.CreateStream(ctx, want)
		return err
	})
	if isCode(err, jetstream.JSErrCodeStreamNameInUse) {
		err = nil // with another configuration, perhaps one that does not matter
	}
	if isCode(err, errCodeNotClustered) {
		return fmt.Errorf("natskv: create bucket %s: a single server takes only Replicas: 1: %w", cfg.name(), err)
	}
	if err != nil {
		return fmt.Errorf("natskv: create bucket %s: %w", cfg.name(), bucketError(err))
	}
	var s jetstream.Stream
	err = persist(ctx, nc, func(ctx context.Context) (err error) {
		s, err = js.Stream(ctx, want.Name)
		return err
	})
	if err != nil {
		return fmt.Errorf("natskv: create bucket %s: %w", cfg.name(), bucketError(err))
	}
	if diff := differences(s.CachedInfo().Config, want); len(diff) > 0 {
		return fmt.Errorf("natskv: create bucket %s: %w: %s", cfg.name(), ErrBucketExists, strings.Join(diff, "; "))
	}
	return nil
}

func (cfg BucketConfig) name() string {
	if cfg.Bucket == "" {
		return DefaultBucket
	}
	return cfg.Bucket
}

func (cfg BucketConfig) resolve() (jetstream.StreamConfig, error) {
	var zero jetstream.StreamConfig
	name := cfg.name()
	if err := checkBucketName(name); err != nil {
		return zero, fmt.Errorf("field Bucket: %w", err)
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 3
	}
	if cfg.Replicas < 1 || cfg.Replicas > 5 {
		return zero, fmt.Errorf("field Replicas is %d, not between 1 and 5", cfg.Replicas)
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	if cfg.MaxBytes < minMaxBytes {
		return zero, fmt.Errorf("field MaxBytes is %d, below %d", cfg.MaxBytes, minMaxBytes)
	}
	storage := jetstream.FileStorage
	if cfg.InsecureMemory {
		storage = jetstream.MemoryStorage
	}
	return jetstream.StreamConfig{
		Name:              streamName(name),
		Description:       "sessions",
		Subjects:          []string{subjectPrefix(name) + ">"},
		Retention:         jetstream.LimitsPolicy,
		Storage:           storage,
		Replicas:          cfg.Replicas,
		Discard:           jetstream.DiscardNew,
		MaxBytes:          cfg.MaxBytes,
		MaxAge:            0, // each record brings its own life
		MaxMsgs:           -1,
		MaxMsgsPerSubject: 1, // an older value never comes back
		MaxMsgSize:        maxMessageBytes,
		MaxConsumers:      -1,
		AllowMsgTTL:       true,
		DenyDelete:        true,
		DenyPurge:         true,
		AllowRollup:       false,
		AllowDirect:       false, // followers would answer
		Duplicates:        time.Second,
		// Revisions are not used again even if the bucket is deleted and made anew.
		FirstSeq: uint64(time.Now().UnixMicro()),
		Metadata: map[string]string{metaSchema: schemaVersion},
	}, nil
}

// hazards lists the settings of the bucket name under which it forgets records too
// early, brings back old ones, or answers reads from followers.
func hazards(c jetstream.StreamConfig, name string) []string {
	var list []string
	bad := func(when bool, format string, args ...any) {
		if when {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	subjects := []string{subjectPrefix(name) + ">"}
	bad(c.Metadata[metaSchema] != schemaVersion, "metadata %s is %q, want %q", metaSchema, c.Metadata[metaSchema], schemaVersion)
	bad(!slices.Equal(c.Subjects, subjects), "subjects are %q, want %q", c.Subjects, subjects)
	bad(c.Retention != jetstream.LimitsPolicy, "retention is %s, want limits", c.Retention)
	bad(c.Discard != jetstream.DiscardNew, "discard policy is %s, want new", c.Discard)
	bad(c.MaxBytes <= 0, "max bytes is not set")
	bad(c.MaxAge != 0, "max age is %s, want none", c.MaxAge)
	bad(c.MaxMsgs > 0, "max messages is %d, want none", c.MaxMsgs)
	bad(c.MaxMsgsPerSubject != 1, "history is %d, want 1", c.MaxMsgsPerSubject)
	bad(c.DiscardNewPerSubject, "new values of a key are discarded (discard new per subject)")
	bad(c.MaxMsgSize > 0 && c.MaxMsgSize < maxMessageBytes, "max message size is %d, below %d", c.MaxMsgSize, maxMessageBytes)
	bad(!c.AllowMsgTTL, "message TTLs are not allowed")
	bad(c.SubjectDeleteMarkerTTL != 0, "subject delete markers are on")
	bad(!c.DenyDelete, "deletes are not denied")
	bad(!c.DenyPurge, "purges are not denied")
	bad(c.AllowRollup, "rollups are allowed")
	bad(c.AllowDirect, "direct reads are allowed")
	bad(c.NoAck, "acknowledgements are off")
	bad(c.Sealed, "it is sealed")
	bad(c.Mirror != nil, "it is a mirror")
	bad(len(c.Sources) > 0, "it has sources")
	bad(c.RePublish != nil, "records are republished")
	bad(c.SubjectTransform != nil, "subjects are transformed")
	bad(c.AllowMsgCounter, "it is a counter stream")
	bad(c.AllowMsgSchedules, "message schedules are allowed")
	return list
}

// weaknesses lists the settings under which an accident can lose what was
// acknowledged.
func weaknesses(c jetstream.StreamConfig) []string {
	var list []string
	if c.Storage == jetstream.MemoryStorage {
		list = append(list, "kept in memory")
	}
	if c.Replicas < 3 {
		list = append(list, fmt.Sprintf("replicas: %d", c.Replicas))
	}
	if c.PersistMode == jetstream.AsyncPersistMode {
		list = append(list, "acknowledged before it is on disk")
	}
	return list
}

// differences lists in what have differs from want, as far as it matters.
func differences(have, want jetstream.StreamConfig) []string {
	list := hazards(have, strings.TrimPrefix(want.Name, streamName("")))
	differ := func(name string, have, want any) {
		if have != want {
			list = append(list, fmt.Sprintf("%s is %v, want %v", name, have, want))
		}
	}
	differ("storage", have.Storage, want.Storage)
	differ("replicas", have.Replicas, want.Replicas)
	differ("max bytes", have.MaxBytes, want.MaxBytes)
	differ("max message size", have.MaxMsgSize, want.MaxMsgSize)
	differ("persist mode", have.PersistMode, want.PersistMode)
	differ("max consumers", have.MaxConsumers, want.MaxConsumers)
	differ("consumer limits", have.ConsumerLimits, want.ConsumerLimits)
	return list
}

func streamName(bucket string) string    { return "KV_" + bucket }
func subjectPrefix(bucket string) string { return "$KV." + bucket + "." }

func checkBucketName(name string) error {
	if name == "" || len(name) > 64 {
		return fmt.Errorf("%d bytes, not between 1 and 64", len(name))
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && c != '-' && c != '_' {
			return fmt.Errorf("%q holds other characters than letters, digits, - and _", name)
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
