// Package jsadmin makes JetStream streams that must forget nothing, and judges those that
// somebody else has made or edited.
package jsadmin

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// A Config is what an operator decides about a stream.
type Config struct {
	Replicas int // zero means 3
	MaxBytes int64
	InMemory bool
}

// Stream returns the settings that every stream has which must forget nothing. Errors name
// the field.
func (c Config) Stream(name string, defaultMaxBytes, minMaxBytes int64) (jetstream.StreamConfig, error) {
	if c.Replicas == 0 {
		c.Replicas = 3
	}
	if c.Replicas < 1 || c.Replicas > 5 {
		return jetstream.StreamConfig{}, fmt.Errorf("field Replicas is %d, not between 1 and 5", c.Replicas)
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.MaxBytes < minMaxBytes {
		return jetstream.StreamConfig{}, fmt.Errorf("field MaxBytes is %d, below %d", c.MaxBytes, minMaxBytes)
	}
	storage := jetstream.FileStorage
	if c.InMemory {
		storage = jetstream.MemoryStorage
	}
	return jetstream.StreamConfig{
		Name:              name,
		Retention:         jetstream.LimitsPolicy,
		Storage:           storage,
		Replicas:          c.Replicas,
		Discard:           jetstream.DiscardNew,
		MaxBytes:          c.MaxBytes,
		MaxAge:            0, // each message brings its own life
		MaxMsgs:           -1,
		MaxMsgsPerSubject: -1,
		MaxConsumers:      -1,
		AllowMsgTTL:       true,
		DenyDelete:        true,
		DenyPurge:         true,
	}, nil
}

// Create makes a stream, unless there is one of its name, and returns how it is then. ask
// makes a request to a subject, which may be made twice.
func Create(ctx context.Context, want jetstream.StreamConfig, ask func(ctx context.Context, subject string, request func(context.Context, jetstream.JetStream) error) error) (jetstream.StreamConfig, error) {
	err := ask(ctx, "$JS.API.STREAM.CREATE."+want.Name, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, want)
		return err
	})
	switch {
	case IsCode(err, jetstream.JSErrCodeStreamNameInUse): // with another configuration, perhaps one that does not matter
	case IsCode(err, CodeNotClustered):
		return jetstream.StreamConfig{}, fmt.Errorf("a single server takes only Replicas: 1: %w", err)
	case err != nil:
		return jetstream.StreamConfig{}, err
	}
	var s jetstream.Stream
	err = ask(ctx, "$JS.API.STREAM.INFO."+want.Name, func(ctx context.Context, js jetstream.JetStream) (err error) {
		s, err = js.Stream(ctx, want.Name)
		return err
	})
	if err != nil {
		return jetstream.StreamConfig{}, err
	}
	return s.CachedInfo().Config, nil
}

// CheckName refuses a name that no stream of ours has.
func CheckName(name string) error {
	if name == "" || len(name) > 64 {
		return fmt.Errorf("%d bytes, not between 1 and 64", len(name))
	}
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return fmt.Errorf("%q holds other characters than letters, digits, - and _", name)
		}
	}
	return nil
}
