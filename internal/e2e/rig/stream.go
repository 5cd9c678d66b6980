package rig

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
)

// Stored counts the messages of one subject in the bus's stream.
func Stored(t *testing.T, js jetstream.JetStream, subject string) uint64 {
	t.Helper()
	return Held(t, js, bus.DefaultStream, subject)[subject]
}

// CreateStream makes the bus's stream on a single server.
func CreateStream(t *testing.T, where bus.Config, cfg bus.StreamConfig) {
	t.Helper()
	cfg.Replicas = 1
	if cfg.Retention.MaxSkew == 0 {
		cfg.Retention.MaxSkew = Quick.MaxSkew
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 20
	}
	nc := Connection(t, where)
	defer nc.Close()
	Made(t, func(ctx context.Context) error { return bus.CreateStream(ctx, nc, cfg) })
}

// Made has something made that may be made twice. A server that has deleted its account's
// last stream removes the directory above it a moment later, perhaps while it makes the
// next stream's.
func Made(t *testing.T, create func(context.Context) error) {
	t.Helper()
	const storeFailed = 10049
	ctx := Within(t)
	AskUntil(t, "made", func(context.Context) error { // create asks again itself
		err := create(ctx)
		if api, ok := errors.AsType[*jetstream.APIError](err); err != nil && (!ok || api.ErrorCode != storeFailed) {
			t.Fatal(err)
		}
		return err
	})
}

// TheStream is the bus's stream, and its state now.
func TheStream(t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	return StreamNamed(t, js, bus.DefaultStream)
}

// Held counts the messages of the stream by subject, of those that match filter.
func Held(t *testing.T, js jetstream.JetStream, stream, filter string) map[string]uint64 {
	t.Helper()
	var info *jetstream.StreamInfo
	AskUntil(t, "stream "+stream+" tells what it holds", func(ctx context.Context) error {
		s, err := js.Stream(ctx, stream)
		if err == nil {
			info, err = s.Info(ctx, jetstream.WithSubjectFilter(filter))
		}
		return err
	})
	return info.State.Subjects
}

// StreamNamed is the stream of that name, and its state now.
func StreamNamed(t *testing.T, js jetstream.JetStream, name string) (s jetstream.Stream) {
	t.Helper()
	AskUntil(t, "stream "+name+" is there", func(ctx context.Context) (err error) {
		s, err = js.Stream(ctx, name)
		return err
	})
	return s
}

// LastSequence is that of the bus's stream.
func LastSequence(t *testing.T, url string) uint64 {
	t.Helper()
	_, js := Client(t, url)
	return TheStream(t, js).CachedInfo().State.LastSeq
}

// Consumers counts those of the bus's stream.
func Consumers(t *testing.T, js jetstream.JetStream) int {
	t.Helper()
	return TheStream(t, js).CachedInfo().State.Consumers
}
