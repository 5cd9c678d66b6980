#!/usr/bin/env bash
# nats-server reads the names of its own headers to the letter: "Nats-Ttl" is not "Nats-TTL".
#
# nats-server 2.15.3, nats.go 1.55.0. Guessed was: NATS headers look like those of HTTP, so
# their names mean the same in any case, or an unknown "Nats-" header is refused. The server
# compares the bytes, and takes what it does not know in silence: a message with "Nats-Ttl" is
# acknowledged and never expires, one with "nats-msg-id" is stored as often as it is sent, and
# one with "nats-expected-stream" into whatever stream listens. Nobody writes such names by
# hand, but libraries do: the Header of Go's net/http and the canonical mode of nats.js
# turn "Nats-TTL" into "Nats-Ttl", and HTTP/2 and many languages know small letters only.
# An empty Nats-TTL is none, too; of two the first counts. A wrong value is refused (10165).
#
# So a publisher of revocations in another language keeps the names to the letter, and looks
# once whether its messages expire: bus/WIRE.md, Publishing.
#
# It takes some 5 s, ends with 1 if the server behaves otherwise, and printed:
#
#	nats-server 2.15.3
#	Nats-TTL: 1: acknowledged, expired
#	Nats-Ttl: 1 (net/http's Header.Set("Nats-TTL")): acknowledged, kept
#	nats-ttl: 1: acknowledged, kept
#	Nats-TTL: (empty): acknowledged, kept
#	Nats-TTL: 1, Nats-TTL: 600: acknowledged, expired
#	Nats-TTL: 600, Nats-TTL: 1: acknowledged, kept
#	Nats-TTL: 1d: refused, 10165
#	Nats-Msg-Id: one, twice: the second is a duplicate true
#	nats-msg-id: two, twice: the second is a duplicate false
#	Nats-Expected-Stream: OTHER: refused, 10060
#	nats-expected-stream: OTHER: acknowledged, kept
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
	"net/http"
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := must(os.MkdirTemp("", "headers-"))
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
	stream := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, AllowMsgTTL: true, Duplicates: time.Minute}))

	type sent struct {
		what string
		seq  uint64 // 0: refused
		code jetstream.ErrorCode
	}
	publish := func(what string, h nats.Header) sent {
		ack, err := js.PublishMsg(ctx, &nats.Msg{Subject: "a", Header: h})
		var api *jetstream.APIError
		if errors.As(err, &api) {
			return sent{what, 0, api.ErrorCode}
		}
		return sent{what, must(ack, err).Sequence, 0}
	}
	web := http.Header{}
	web.Set("Nats-TTL", "1")
	all := []sent{
		publish("Nats-TTL: 1", nats.Header{"Nats-TTL": {"1"}}),
		publish(`Nats-Ttl: 1 (net/http's Header.Set("Nats-TTL"))`, nats.Header(web)),
		publish("nats-ttl: 1", nats.Header{"nats-ttl": {"1"}}),
		publish("Nats-TTL: (empty)", nats.Header{"Nats-TTL": {""}}),
		publish("Nats-TTL: 1, Nats-TTL: 600", nats.Header{"Nats-TTL": {"1", "600"}}),
		publish("Nats-TTL: 600, Nats-TTL: 1", nats.Header{"Nats-TTL": {"600", "1"}}),
		publish("Nats-TTL: 1d", nats.Header{"Nats-TTL": {"1d"}}),
	}
	twice := func(name, id string) string {
		must(js.PublishMsg(ctx, &nats.Msg{Subject: "a", Header: nats.Header{name: {id}}}))
		ack := must(js.PublishMsg(ctx, &nats.Msg{Subject: "a", Header: nats.Header{name: {id}}}))
		return fmt.Sprintf("%s: %s, twice: the second is a duplicate %t", name, id, ack.Duplicate)
	}
	duplicates := []string{twice("Nats-Msg-Id", "one"), twice("nats-msg-id", "two")}
	expected := []sent{
		publish("Nats-Expected-Stream: OTHER", nats.Header{"Nats-Expected-Stream": {"OTHER"}}),
		publish("nats-expected-stream: OTHER", nats.Header{"nats-expected-stream": {"OTHER"}}),
	}

	// What shall expire has done so when the last of them has, which is the fifth; the others
	// are given two seconds more.
	gone := func(seq uint64) bool {
		_, err := stream.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return true
		}
		must(0, err)
		return false
	}
	for !gone(all[4].seq) {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			must(0, ctx.Err())
		}
	}
	<-time.After(2 * time.Second)
	tell := func(s sent) {
		switch {
		case s.seq == 0:
			fmt.Printf("%s: refused, %d\n", s.what, s.code)
		case gone(s.seq):
			fmt.Printf("%s: acknowledged, expired\n", s.what)
		default:
			fmt.Printf("%s: acknowledged, kept\n", s.what)
		}
	}
	for _, s := range all {
		tell(s)
	}
	for _, d := range duplicates {
		fmt.Println(d)
	}
	for _, s := range expected {
		tell(s)
	}
}
GO
cat >go.mod <<'MOD'
module finding

go 1.26
MOD
{ go get github.com/nats-io/nats-server/v2@v2.15.3 github.com/nats-io/nats.go@v1.55.0 && go mod tidy; } >log 2>&1 || { cat log; exit 1; }
go run . | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
