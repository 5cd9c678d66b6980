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

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/recordstore"
)

// defaultBucket is the bucket's name unless another is configured.
const defaultBucket = "sessions"

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
	maxMessageBytes = recordstore.MaxValueBytes + 1<<10
)

// BucketConfig configures [CreateBucket]. The zero BucketConfig suits a production
// cluster of three servers.
type BucketConfig struct {
	// Bucket is the bucket's name: at most 64 letters, digits, "-" and "_". Empty means
	// "sessions".
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
// bucket exists exactly as it would have made it, and otherwise fails with the list of
// differences: it never changes a bucket.
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
	have, err := jsadmin.Create(ctx, want, func(ctx context.Context, _ string, request func(context.Context, jetstream.JetStream) error) error {
		return persist(ctx, nc, func(ctx context.Context) error { return request(ctx, js) })
	})
	if err != nil {
		return fmt.Errorf("natskv: create bucket %s: %w", cfg.name(), err)
	}
	if diff := differences(have, want); len(diff) > 0 {
		return fmt.Errorf("natskv: create bucket %s: %w: %s", cfg.name(), errBucketExists, strings.Join(diff, "; "))
	}
	return nil
}

func (cfg BucketConfig) name() string {
	if cfg.Bucket == "" {
		return defaultBucket
	}
	return cfg.Bucket
}

func (cfg BucketConfig) resolve() (jetstream.StreamConfig, error) {
	var zero jetstream.StreamConfig
	name := cfg.name()
	if err := jsadmin.CheckName(name); err != nil {
		return zero, fmt.Errorf("field Bucket: %w", err)
	}
	c, err := jsadmin.Config{Replicas: cfg.Replicas, MaxBytes: cfg.MaxBytes, InMemory: cfg.InsecureMemory}.Stream(streamName(name), defaultMaxBytes, minMaxBytes)
	if err != nil {
		return zero, err
	}
	c.Description = "sessions"
	c.Subjects = []string{subjectPrefix(name) + ">"}
	c.MaxMsgsPerSubject = 1 // an older value never comes back
	c.MaxMsgSize = maxMessageBytes
	c.Duplicates = time.Second
	// Revisions are not used again even if the bucket is deleted and made anew.
	c.FirstSeq = uint64(time.Now().UnixMicro())
	c.Metadata = map[string]string{metaSchema: schemaVersion}
	return c, nil
}

// hazards lists the settings of the bucket name under which it forgets records too
// early, brings back old ones, or answers reads from followers.
func hazards(c jetstream.StreamConfig, name string) []string {
	list := jsadmin.Hazards(c)
	subjects := []string{subjectPrefix(name) + ">"}
	list.Add(c.Metadata[metaSchema] != schemaVersion, "metadata %s is %q, want %q", metaSchema, c.Metadata[metaSchema], schemaVersion)
	list.Add(!slices.Equal(c.Subjects, subjects), "subjects are %q, want %q", c.Subjects, subjects)
	list.Add(c.MaxMsgsPerSubject != 1, "history is %d, want 1", c.MaxMsgsPerSubject)
	list.Add(c.DiscardNewPerSubject, "new values of a key are discarded (discard new per subject)")
	list.Add(c.MaxMsgSize > 0 && c.MaxMsgSize < maxMessageBytes, "max message size is %d, below %d", c.MaxMsgSize, maxMessageBytes)
	list.Add(c.AllowDirect, "direct reads are allowed") // followers would answer
	list.Add(c.Mirror != nil, "it is a mirror")
	list.Add(len(c.Sources) > 0, "it has sources")
	list.Add(c.RePublish != nil, "records are republished")
	list.Add(c.AllowMsgSchedules, "message schedules are allowed")
	return list
}

// differences lists in what have differs from want, as far as it matters.
func differences(have, want jetstream.StreamConfig) []string {
	list := jsadmin.Findings(hazards(have, strings.TrimPrefix(want.Name, streamName(""))))
	list.Differences(have, want)
	return list
}

func streamName(bucket string) string    { return "KV_" + bucket }
func subjectPrefix(bucket string) string { return "$KV." + bucket + "." }
