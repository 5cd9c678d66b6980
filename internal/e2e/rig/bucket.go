package rig

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/refresh/natskv"
)

// SessionsStream is the stream below the bucket.
const SessionsStream = "KV_sessions"

// StoreConnection is a connection as natskv wants it, with short pauses between reconnects.
func StoreConnection(t *testing.T, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	opts = append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond),
	}, opts...)
	nc, _ := Client(t, url, opts...)
	return nc
}

// CreateBucket makes a bucket on a single server, unless cfg says otherwise.
func CreateBucket(t *testing.T, nc *nats.Conn, cfg natskv.BucketConfig) {
	t.Helper()
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 20
	}
	Made(t, func(ctx context.Context) error { return natskv.CreateBucket(ctx, nc, cfg) })
}

// OpenStore opens the bucket as a session store.
func OpenStore(t *testing.T, nc *nats.Conn) *natskv.Store {
	t.Helper()
	s, err := natskv.New(Within(t), nc, natskv.Config{ClockSkew: time.Second}) // one machine, one clock
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// CreateBucketOn makes a bucket with a replica on each node.
func CreateBucketOn(t *testing.T, c *Cluster) {
	t.Helper()
	if err := natskv.CreateBucket(Within(t), StoreConnection(t, c.URLs()), natskv.BucketConfig{MaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	c.Settled(SessionsStream)
}
