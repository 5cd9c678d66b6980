#!/usr/bin/env bash
# A stream that sources another lets each message live its TTL anew, and takes a second try for a second message.
#
# nats-server 2.15.3, nats.go 1.55.0. Guessed was: a source is a mirror that may have several origins
# and subjects of its own, so that a copy expires when the original does, and a Nats-Msg-Id that
# has come once is a duplicate. A mirror keeps sequence, time and end. A source stores each message
# as a new one: its time is that of copying, its Nats-TTL counts from there, however long the
# original has lived, and its Nats-Msg-Id is not looked at, nor remembered against what is
# published there. Either without allow_msg_ttl takes the messages, headers and all, and keeps them
# for ever, without a word; switching it on ends at once what has run out meanwhile.
#
# So revocations go to another account or region by a mirror: bus/WIRE.md, The stream. In a source the time that
# a cutoff without "before" counts from is that of copying, and each stream made anew revokes more.
#
# It takes some 15 s beside building the server, ends with 1 if it behaves otherwise, and printed:
#
#	nats-server 2.15.3
#	a message of 6 s, copied after 3 s: time in the mirror that of the original, in the source a later one
#	the original has expired: in the mirror gone, in the source there, without allow_msg_ttl in the mirror there, in the source there
#	the source's copy expires 6 s after it was copied, 3 s or more after the original: true
#	allow_msg_ttl switched on: in the mirror gone, in the source gone
#	one Nats-Msg-Id in two origins, and published in the source itself: stored 3 times, duplicate: false
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
	dir := must(os.MkdirTemp("", "sources-"))
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

	message := func(s jetstream.Stream, seq uint64) *jetstream.RawStreamMsg {
		m, err := s.GetMsg(ctx, seq)
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			must(0, err)
		}
		return m
	}
	is := func(s jetstream.Stream) string {
		return map[bool]string{true: "gone", false: "there"}[message(s, 1) == nil]
	}
	until := func(what string, ok func() bool) {
		for !ok() {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				must(0, errors.New("never: "+what))
			}
		}
	}
	create := func(name string, c jetstream.StreamConfig) jetstream.Stream {
		c.Name = name
		return must(js.CreateStream(ctx, c))
	}
	from := &jetstream.StreamSource{Name: "ORIGIN"}
	origin := create("ORIGIN", jetstream.StreamConfig{Subjects: []string{"a"}, AllowMsgTTL: true})
	m := nats.NewMsg("a")
	m.Header.Set("Nats-TTL", "6")
	must(js.PublishMsg(ctx, m))
	original := message(origin, 1).Time
	until("3 s", func() bool { return time.Since(original) >= 3*time.Second })
	mirror := create("MIRROR", jetstream.StreamConfig{Mirror: from, AllowMsgTTL: true})
	source := create("SOURCE", jetstream.StreamConfig{Sources: []*jetstream.StreamSource{from}, AllowMsgTTL: true})
	bareMirror := create("BARE_MIRROR", jetstream.StreamConfig{Mirror: from})
	bareSource := create("BARE_SOURCE", jetstream.StreamConfig{Sources: []*jetstream.StreamSource{from}})
	for _, s := range []jetstream.Stream{mirror, source, bareMirror, bareSource} {
		until("copied", func() bool { return is(s) == "there" })
	}
	copied := message(source, 1).Time
	if !message(mirror, 1).Time.Equal(original) || copied.Sub(original) < 3*time.Second {
		must(0, fmt.Errorf("original %s, mirror %s, source %s", original, message(mirror, 1).Time, copied))
	}
	fmt.Println("a message of 6 s, copied after 3 s: time in the mirror that of the original, in the source a later one")

	until("the original expires", func() bool { return is(origin) == "gone" && is(mirror) == "gone" })
	fmt.Printf("the original has expired: in the mirror %s, in the source %s, without allow_msg_ttl in the mirror %s, in the source %s\n", is(mirror), is(source), is(bareMirror), is(bareSource))
	until("the copy expires", func() bool { return is(source) == "gone" })
	end := time.Now()
	fmt.Println("the source's copy expires 6 s after it was copied, 3 s or more after the original:", end.Sub(copied) >= 6*time.Second && end.Sub(original) >= 9*time.Second)

	for _, s := range []jetstream.Stream{bareMirror, bareSource} {
		c := s.CachedInfo().Config
		c.AllowMsgTTL = true
		must(js.UpdateStream(ctx, c))
	}
	until("the bare ones let go", func() bool { return is(bareMirror) == "gone" && is(bareSource) == "gone" })
	fmt.Printf("allow_msg_ttl switched on: in the mirror %s, in the source %s\n", is(bareMirror), is(bareSource))

	create("ONE", jetstream.StreamConfig{Subjects: []string{"one"}})
	create("TWO", jetstream.StreamConfig{Subjects: []string{"two"}})
	both := create("BOTH", jetstream.StreamConfig{Subjects: []string{"both"}, Sources: []*jetstream.StreamSource{{Name: "ONE"}, {Name: "TWO"}}})
	count := func() uint64 { return must(both.Info(ctx)).State.Msgs }
	for _, subject := range []string{"one", "two"} {
		must(js.Publish(ctx, subject, nil, jetstream.WithMsgID("id")))
	}
	until("both copied", func() bool { return count() == 2 })
	ack := must(js.Publish(ctx, "both", nil, jetstream.WithMsgID("id")))
	fmt.Printf("one Nats-Msg-Id in two origins, and published in the source itself: stored %d times, duplicate: %t\n", count(), ack.Duplicate)
}
GO
printf 'module finding\n\ngo 1.26\n' >go.mod
{ go get github.com/nats-io/nats-server/v2@v2.15.3 github.com/nats-io/nats.go@v1.55.0 && go mod tidy; } >log 2>&1 || { cat log; exit 1; }
go run . | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
