#!/usr/bin/env bash
# One call of nats.go's package jetstream hides the server's error code from errors.As.
#
# nats.go 1.55.0, nats-server 2.15.3. The server answers a refused request with a code, which
# the client returns as *jetstream.APIError, and errors.As finds it: so for a stream that
# cannot be changed as asked. Stream.DeleteMsg writes the same answer into its error as text
# only, and errors.As finds nothing: who wants to tell a denied deletion from a lost
# connection has to read the text.
#
# It ends with 1 if the client behaves otherwise, and printed:
#
#	nats-server 2.15.3, nats.go 1.55.0
#	UpdateStream: an APIError, code 10052
#	DeleteMsg: no APIError; nats: message deletion unsuccessful: nats: API error: code=500 err_code=10057 description=message delete not permitted
set -euo pipefail
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

func tell(call string, err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		fmt.Printf("%s: an APIError, code %d\n", call, api.ErrorCode)
		return true
	}
	fmt.Printf("%s: no APIError; %v\n", call, err)
	return false
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := must(os.MkdirTemp("", "delete-"))
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
	fmt.Printf("nats-server %s, nats.go %s\n", server.VERSION, nats.Version)
	cfg := jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, DenyDelete: true}
	stream := must(js.CreateStream(ctx, cfg))
	ack := must(js.Publish(ctx, "a", nil))

	changed := cfg
	changed.DenyDelete = false
	_, err := js.UpdateStream(ctx, changed)
	update := tell("UpdateStream", err)
	remove := tell("DeleteMsg", stream.DeleteMsg(ctx, ack.Sequence))
	if !update || remove {
		fmt.Println("another behaviour than described")
		os.Exit(1)
	}
}
GO
cat >go.mod <<'MOD'
module finding

go 1.26
MOD
{ go get github.com/nats-io/nats-server/v2@v2.15.3 github.com/nats-io/nats.go@v1.55.0 && go mod tidy; } >log 2>&1 || { cat log; exit 1; }
go run .
