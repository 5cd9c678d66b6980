#!/usr/bin/env bash
# After a restart nats-server takes a message a second time, within the duplicate window, if the first is gone.
#
# nats-server 2.15.3, nats.go 1.55.0. Guessed was: the duplicate window belongs to the stream, so that
# a Nats-Msg-Id which has been acknowledged is a duplicate for two minutes, whatever becomes of
# the message, or is forgotten with it. While the server runs it is the former: the ids of
# messages that were deleted, purged, replaced, worked off or have expired are duplicates. A server that
# starts takes the ids from the messages that it finds: those of the others are new again, and a second
# try is stored. A work queue is the worst case: what was done is put in again by a publisher that
# tries once more because the restart cut off the acknowledgement.
#
# So an id is as good as its message: a Nats-TTL longer than the window, and no deletions, as in
# the stream of revocations: bus/WIRE.md, Publishing.
#
# It takes some 5 s beside building the server, ends with 1 if it behaves otherwise, and printed:
#
#	nats-server 2.15.3
#	the message is still there: a duplicate; after a restart a duplicate
#	deleted: a duplicate; after a restart stored anew
#	purged: a duplicate; after a restart stored anew
#	replaced (max_msgs_per_subject 1): a duplicate; after a restart stored anew
#	acknowledged in a work queue: a duplicate; after a restart stored anew
#	expired (Nats-TTL): a duplicate; after a restart stored anew
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
cat >main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return v
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir := must(os.MkdirTemp("", "ids-"))
	defer os.RemoveAll(dir)
	start := func() (*server.Server, *nats.Conn, jetstream.JetStream) {
		s := must(server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true}))
		s.Start()
		if !s.ReadyForConnections(20 * time.Second) {
			must(0, errors.New("not ready"))
		}
		nc := must(nats.Connect(s.ClientURL()))
		return s, nc, must(jetstream.New(nc))
	}
	s, nc, js := start()
	fmt.Println("nats-server", server.VERSION)

	gone := func(s jetstream.Stream, seq uint64) {
		for {
			_, err := s.GetMsg(ctx, seq)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				must(0, fmt.Errorf("message %d of %s never goes", seq, s.CachedInfo().Config.Name))
			}
		}
	}
	cases := []struct {
		name, what string
		config     jetstream.StreamConfig
		ttl        time.Duration
		end        func(s jetstream.Stream)
	}{
		{"KEPT", "the message is still there", jetstream.StreamConfig{}, 0, nil},
		{"DELETED", "deleted", jetstream.StreamConfig{}, 0, func(s jetstream.Stream) { must(0, s.DeleteMsg(ctx, 1)) }},
		{"PURGED", "purged", jetstream.StreamConfig{}, 0, func(s jetstream.Stream) { must(0, s.Purge(ctx)) }},
		{"REPLACED", "replaced (max_msgs_per_subject 1)", jetstream.StreamConfig{MaxMsgsPerSubject: 1}, 0, func(jetstream.Stream) { must(js.Publish(ctx, "REPLACED", nil)) }},
		{"WORKED", "acknowledged in a work queue", jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}, 0, func(s jetstream.Stream) {
			c := must(s.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "worker"}))
			must(0, must(c.Next()).DoubleAck(ctx))
		}},
		{"EXPIRED", "expired (Nats-TTL)", jetstream.StreamConfig{AllowMsgTTL: true}, time.Second, func(jetstream.Stream) {}},
	}
	publish := func(name string, ttl time.Duration) string {
		opts := []jetstream.PublishOpt{jetstream.WithMsgID("id")}
		if ttl > 0 {
			opts = append(opts, jetstream.WithMsgTTL(ttl))
		}
		if must(js.Publish(ctx, name, nil, opts...)).Duplicate {
			return "a duplicate"
		}
		return "stored anew"
	}
	began := time.Now()
	running := make([]string, len(cases))
	for i, c := range cases {
		c.config.Name, c.config.Subjects = c.name, []string{c.name}
		stream := must(js.CreateStream(ctx, c.config))
		publish(c.name, c.ttl)
		if c.end != nil {
			c.end(stream)
			gone(stream, 1)
		}
		running[i] = publish(c.name, c.ttl)
	}
	nc.Close()
	s.Shutdown()
	s.WaitForShutdown()
	s, nc, js = start()
	defer s.Shutdown()
	defer nc.Close()
	for i, c := range cases {
		fmt.Printf("%s: %s; after a restart %s\n", c.what, running[i], publish(c.name, c.ttl))
	}
	if time.Since(began) > 110*time.Second {
		must(0, errors.New("the machine was too slow: the window of 2 minutes may be over"))
	}
}
GO
printf 'module finding\n\ngo 1.26\n' >go.mod
{ go get github.com/nats-io/nats-server/v2@v2.15.3 github.com/nats-io/nats.go@v1.55.0 && go mod tidy; } >log 2>&1 || { cat log; exit 1; }
go run . | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
