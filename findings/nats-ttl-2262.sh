#!/usr/bin/env bash
# nats-server acknowledges a message that is to live past the year 2262, and drops it at once.
#
# nats-server 2.15.3, nats.go 1.55.0. Guessed was: a Nats-TTL that is too large is refused, as 0 and
# "1.0" are (10165), or counts as "never". The server adds it to the message's time in
# nanoseconds, in 64 bits, which end on 2262-04-11. What ends later has ended long ago: the message
# is acknowledged with a sequence and gone within a moment, from file, memory and mirror. Where the
# TTL is so large that the sum overflows twice, it may be kept. A TTL that ends after 2262 is what a
# program computes for a token with the exp 9999999999, which stands for "for ever" in many tests.
#
# So a publisher of revocations bounds the TTL: bus/WIRE.md, Publishing.
#
# It takes some 5 s beside building the server, ends with 1 if it behaves otherwise, and printed:
#
#	nats-server 2.15.3
#	never: acknowledged; kept in file, memory and mirror
#	100 years: acknowledged; kept in file, memory and mirror
#	until an hour before 2262-04-11T23:47:16Z: acknowledged; kept in file, memory and mirror
#	until an hour after 2262-04-11T23:47:16Z: acknowledged; gone from file, memory and mirror
#	until the exp 9999999999, 2286-11-20T17:46:39Z: acknowledged; gone from file, memory and mirror
#	2500000h: acknowledged; gone from file, memory and mirror
#	20000000000: acknowledged; kept in file, memory and mirror
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
	"math"
	"os"
	"strings"
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := must(os.MkdirTemp("", "ttl-"))
	defer os.RemoveAll(dir)
	s := must(server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true}))
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(20 * time.Second) {
		must(0, errors.New("not ready"))
	}
	nc := must(nats.Connect(s.ClientURL()))
	defer nc.Close()
	js := must(jetstream.New(nc))
	fmt.Println("nats-server", server.VERSION)

	file := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "FILE", Subjects: []string{"file"}, AllowMsgTTL: true}))
	memory := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "MEMORY", Subjects: []string{"memory"}, AllowMsgTTL: true, Storage: jetstream.MemoryStorage}))
	mirror := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "MIRROR", AllowMsgTTL: true, Mirror: &jetstream.StreamSource{Name: "FILE"}}))
	publish := func(subject, ttl string) uint64 {
		m := nats.NewMsg(subject)
		m.Header.Set("Nats-TTL", ttl)
		return must(js.PublishMsg(ctx, m)).Sequence
	}
	there := func(s jetstream.Stream, seq uint64) bool {
		_, err := s.GetMsg(ctx, seq)
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			must(0, err)
		}
		return err == nil
	}
	until := func(ok func() bool) {
		for !ok() {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				must(0, errors.New("never"))
			}
		}
	}
	end := time.Unix(0, math.MaxInt64).UTC()
	for9s := time.Unix(9999999999, 0).UTC()
	seconds := func(t time.Time) string { return fmt.Sprint(t.Unix() - time.Now().Unix()) }
	cases := []struct{ what, ttl string }{
		{"never", "never"},
		{"100 years", fmt.Sprint(100 * 366 * 86400)},
		{"until an hour before " + end.Format(time.RFC3339), seconds(end.Add(-time.Hour))},
		{"until an hour after " + end.Format(time.RFC3339), seconds(end.Add(time.Hour))},
		{"until the exp 9999999999, " + for9s.Format(time.RFC3339), seconds(for9s)},
		{"2500000h", "2500000h"},
		{"20000000000", "20000000000"},
	}
	seqs := make([]uint64, len(cases))
	for i, c := range cases {
		seqs[i] = publish("file", c.ttl)
		if publish("memory", c.ttl) != seqs[i] {
			must(0, errors.New("the streams count differently"))
		}
	}
	// Once a message of one second, stored last, has come and gone, what is still there stays.
	last := publish("file", "1")
	publish("memory", "1")
	until(func() bool { return must(mirror.Info(ctx)).State.LastSeq == last })
	for _, s := range []jetstream.Stream{file, memory, mirror} {
		until(func() bool { return !there(s, last) })
	}
	for i, c := range cases {
		var kept []string
		for _, s := range []jetstream.Stream{file, memory, mirror} {
			kept = append(kept, map[bool]string{true: "kept in", false: "gone from"}[there(s, seqs[i])])
		}
		if kept[0] != kept[1] || kept[1] != kept[2] {
			must(0, fmt.Errorf("%s: not the same in all: %s", c.what, strings.Join(kept, ", ")))
		}
		fmt.Printf("%s: acknowledged; %s file, memory and mirror\n", c.what, kept[0])
	}
}
GO
printf 'module finding\n\ngo 1.26\n' >go.mod
{ go get github.com/nats-io/nats-server/v2@v2.15.3 github.com/nats-io/nats.go@v1.55.0 && go mod tidy; } >log 2>&1 || { cat log; exit 1; }
go run . | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
