#!/usr/bin/env bash
# A stream that takes atomic batches cannot be loaded by the minor version before them.
#
# nats-server 2.12.15 and 2.11.17. A stream is made with allow_atomic on 2.12, an event is stored,
# and the same directory is given to 2.11: it starts, and answers every request about the
# stream with error 10194; nothing can be published. The data stay: 2.12 serves them again,
# and once allow_atomic is off there, 2.11 does, too. So switch it off before a downgrade.
#
# It takes a minute or two, most of it to build two servers, ends with 1 if the servers
# behave otherwise, and printed:
#
#	nats-server 2.12.15: stream made, 1 message
#	nats-server 2.11.17: code 10194, stream is offline: unsupported - config error: unknown field "allow_atomic"
#	nats-server 2.12.15: 1 message, allow_atomic true; switched off
#	nats-server 2.11.17: 1 message, allow_atomic false
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
for version in 2.11.17 2.12.15; do
	mkdir "server-$version"
	(
		cd "server-$version"
		go mod init server
		go get "github.com/nats-io/nats-server/v2@v$version"
		go build -o ../nats-server-$version github.com/nats-io/nats-server/v2
	) >log 2>&1 || { cat log; exit 1; }
done
cat >main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

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

// with runs f while a server of that version has the directory data.
func with(version string, f func(ctx context.Context, js jetstream.JetStream)) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	cmd := exec.Command("./nats-server-"+version, "-a", "127.0.0.1", "-p", port, "-js", "-sd", "data", "-l", "server.log")
	must(0, cmd.Start())
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	nc, err := nats.Connect("nats://127.0.0.1:"+port, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	must(nc, err)
	defer nc.Close()
	for nc.ConnectedServerVersion() == "" && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Printf("nats-server %s: ", nc.ConnectedServerVersion())
	if nc.ConnectedServerVersion() != version {
		must(0, errors.New("another version"))
	}
	f(ctx, must(jetstream.New(nc)))
}

func main() {
	with("2.12.15", func(ctx context.Context, js jetstream.JetStream) {
		must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, AllowAtomicPublish: true}))
		must(js.Publish(ctx, "s", []byte("event")))
		fmt.Println("stream made, 1 message")
	})
	with("2.11.17", func(ctx context.Context, js jetstream.JetStream) {
		_, err := js.Stream(ctx, "S")
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != 10194 {
			must(0, fmt.Errorf("another answer than described: %v", err))
		}
		fmt.Printf("code %d, %s\n", api.ErrorCode, api.Description)
	})
	holds := func(ctx context.Context, js jetstream.JetStream, batches bool) jetstream.StreamConfig {
		info := must(js.Stream(ctx, "S")).CachedInfo()
		if info.State.Msgs != 1 || info.Config.AllowAtomicPublish != batches {
			must(0, fmt.Errorf("another stream than described: %+v", info))
		}
		return info.Config
	}
	with("2.12.15", func(ctx context.Context, js jetstream.JetStream) {
		c := holds(ctx, js, true)
		c.AllowAtomicPublish = false
		must(js.UpdateStream(ctx, c))
		fmt.Println("1 message, allow_atomic true; switched off")
	})
	with("2.11.17", func(ctx context.Context, js jetstream.JetStream) {
		holds(ctx, js, false)
		fmt.Println("1 message, allow_atomic false")
	})
}
GO
cat >go.mod <<'MOD'
module finding

go 1.26
MOD
{ go get github.com/nats-io/nats.go@v1.55.0 && go mod tidy; } >log 2>&1 || { cat log; exit 1; }
go run .
