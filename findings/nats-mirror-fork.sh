#!/usr/bin/env bash
# A mirror does not notice that its origin was made anew.
#
# nats-server 2.15.3, nats.go 1.55.0. Seen on 2.12.15 and 2.15.2, too, there also with an
# origin restored from a backup. Ten messages are mirrored, the origin is deleted and made anew,
# and five other messages are stored in it under sequences 1 to 5. The server reports the
# mirror as current (lag 0, no error, active within the second); its messages 1 to 10 are
# the old ones. Once the origin is longer the mirror goes on at 11 and never takes the new
# messages 1 to 10. Only making the mirror anew helps.
#
# It takes some 20 s, ends with 1 if the server behaves otherwise, and printed:
#
#	nats-server 2.15.3
#	ten mirrored: last sequence 10, lag 0, error <nil>, active within 2 s: true
#	origin made anew, not noticed yet: last sequence 10, lag 0, error <nil>, active within 2 s: false
#	origin made anew, with five messages: last sequence 10, lag 0, error <nil>, active within 2 s: true
#	origin longer than the mirror: last sequence 15, lag 0, error <nil>, active within 2 s: true
#	message 3: "new 3" in the origin, "old 3" in the mirror
#	message 8: "newer 3" in the origin, "old 8" in the mirror
#	message 12: "newer 7" in the origin, "newer 7" in the mirror
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
cat >main.go <<'GO'
package main

import (
	"context"
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
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir := must(os.MkdirTemp("", "mirror-"))
	defer os.RemoveAll(dir)
	s := must(server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true}))
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(20 * time.Second) {
		must(0, fmt.Errorf("not ready"))
	}
	nc := must(nats.Connect(s.ClientURL()))
	defer nc.Close()
	js := must(jetstream.New(nc))
	fmt.Println("nats-server", server.VERSION)

	origin := jetstream.StreamConfig{Name: "ORIGIN", Subjects: []string{"a"}}
	publish := func(n int, text string) {
		for i := range n {
			must(js.Publish(ctx, "a", fmt.Appendf(nil, "%s %d", text, i+1)))
		}
	}
	message := func(stream string, seq uint64) string {
		return string(must(must(js.Stream(ctx, stream)).GetMsg(ctx, seq)).Data)
	}
	// until waits for a state of the mirror, and prints it.
	until := func(what string, ok func(*jetstream.StreamInfo) bool) {
		for {
			info := must(js.Stream(ctx, "MIRROR")).CachedInfo()
			if ok(info) {
				m := info.Mirror
				fmt.Printf("%s: last sequence %d, lag %d, error %v, active within 2 s: %t\n", what, info.State.LastSeq, m.Lag, m.Error, m.Active >= 0 && m.Active < 2*time.Second)
				return
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				must(0, fmt.Errorf("never: %s; now %+v, %+v", what, info.State, info.Mirror))
			}
		}
	}
	must(js.CreateStream(ctx, origin))
	must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "MIRROR", Mirror: &jetstream.StreamSource{Name: "ORIGIN"}}))
	publish(10, "old")
	until("ten mirrored", func(i *jetstream.StreamInfo) bool { return i.State.LastSeq == 10 })

	must(0, js.DeleteStream(ctx, "ORIGIN"))
	must(js.CreateStream(ctx, origin))
	publish(5, "new")
	until("origin made anew, not noticed yet", func(i *jetstream.StreamInfo) bool { return i.Mirror.Active > 5*time.Second })
	until("origin made anew, with five messages", func(i *jetstream.StreamInfo) bool {
		return i.Mirror.Active >= 0 && i.Mirror.Active < 2*time.Second && i.Mirror.Lag == 0 && i.Mirror.Error == nil && i.State.LastSeq == 10
	})
	publish(10, "newer")
	until("origin longer than the mirror", func(i *jetstream.StreamInfo) bool {
		return i.State.LastSeq == 15 && i.Mirror.Lag == 0 && i.Mirror.Error == nil
	})
	for _, seq := range []uint64{3, 8, 12} {
		o, m := message("ORIGIN", seq), message("MIRROR", seq)
		fmt.Printf("message %d: %q in the origin, %q in the mirror\n", seq, o, m)
		if (o == m) != (seq > 10) {
			must(0, fmt.Errorf("another behaviour than described"))
		}
	}
}
GO
cat >go.mod <<'MOD'
module finding

go 1.26
MOD
{ go get github.com/nats-io/nats-server/v2@v2.15.3 github.com/nats-io/nats.go@v1.55.0 && go mod tidy; } >log 2>&1 || { cat log; exit 1; }
go run .
