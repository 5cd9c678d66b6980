package snapshots

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// MinBytes is the least size of the object store: room for the newest snapshot of some
// hundred thousand revocations, the one before, and one that is being written.
const MinBytes = 16 << 20

// keysBytes is the size of the key-value bucket, which holds one record.
const keysBytes = 1 << 20

// Settings say how to make a bucket.
type Settings struct {
	Bucket   string
	Replicas int
	MaxBytes int64
	InMemory bool
}

// Create makes the bucket's two halves, unless they are there, whatever their settings are:
// what they hold is at worst not used. ask makes a request to a subject, which may be made
// twice.
func Create(ctx context.Context, s Settings, ask func(ctx context.Context, subject string, request func(context.Context, jetstream.JetStream) error) error) error {
	if s.MaxBytes < MinBytes {
		return fmt.Errorf("field SnapshotBytes is %d, below %d", s.MaxBytes, MinBytes)
	}
	storage := jetstream.FileStorage
	if s.InMemory {
		storage = jetstream.MemoryStorage
	}
	const create = jetstream.DefaultAPIPrefix + "STREAM.CREATE."
	err := ask(ctx, create+"KV_"+s.Bucket, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: s.Bucket, Description: "which snapshot of the revocations is the newest, and who writes the next",
			History: 1, Storage: storage, Replicas: s.Replicas, MaxBytes: keysBytes,
		})
		return unlessThere(err)
	})
	if err != nil {
		return err
	}
	return ask(ctx, create+"OBJ_"+s.Bucket, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
			Bucket: s.Bucket, Description: "snapshots of the revocations, each named by its SHA-256",
			Storage: storage, Replicas: s.Replicas, MaxBytes: s.MaxBytes,
		})
		return unlessThere(err)
	})
}

func unlessThere(err error) error {
	if errors.Is(err, jetstream.ErrBucketExists) {
		return nil
	}
	return err
}
