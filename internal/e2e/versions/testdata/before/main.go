// Command before is a member of the bus, built with the version before: see
// TestTwoVersionsSideBySide, which has it do something by one line each and reads one
// line for each.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

const issuer = "https://auth.example.com"

func main() {
	url := flag.String("url", "", "of the server")
	inbox := flag.String("inbox", "", "prefix of inboxes")
	stream := flag.String("stream", "", "to follow")
	silent := flag.Bool("silent", false, "sends no heartbeats")
	publishes := flag.Bool("publishes", false, "may publish")
	interval := flag.Duration("interval", 0, "of heartbeats")
	staleness := flag.Duration("staleness", 0, "that is the most")
	outbox := flag.String("outbox", "", "file of the publisher")
	flag.Parse()
	if flag.NArg() > 0 {
		reads(flag.Arg(0), flag.Arg(1))
		return
	}
	if err := run(*url, *inbox, *stream, *silent, *publishes, *interval, *staleness, *outbox); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url, inbox, stream string, silent, publishes bool, interval, staleness time.Duration, outbox string) error {
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	conn, err := bus.Dial(ctx, url, bus.DialConfig{InboxPrefix: inbox})
	if err != nil {
		return err
	}
	defer conn.Close()
	cfg := bus.Config{Stream: stream, Name: "before", NoHeartbeats: silent, Logger: log}
	if publishes {
		cfg.Issuer, cfg.OutboxFile = issuer, outbox
	}
	b, err := bus.Open(ctx, conn, cfg)
	if err != nil {
		return err
	}
	defer b.Close()
	list, err := revoke.NewList(revoke.Config{HeartbeatInterval: interval, MaxStaleness: staleness, Logger: log})
	if err != nil {
		return err
	}
	f, err := b.Follow(ctx, list)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.WaitFresh(ctx); err != nil {
		return err
	}
	// A status tells what is now; this also counts what was between two of them.
	var left atomic.Int64
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for was := true; ; {
			select {
			case <-tick.C:
			case <-ended:
				return
			}
			fresh := f.Status().State == revoke.Fresh
			if was && !fresh {
				left.Add(1)
			}
			was = fresh
		}
	}()
	fmt.Println("fresh")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		word, rest, _ := strings.Cut(in.Text(), " ")
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		switch word {
		case "publish":
			_, err = b.Publish(ctx, revoke.Event{Kind: revoke.Session, Value: rest})
			fmt.Println(said(err))
		case "barrier":
			fmt.Println(said(f.Barrier(ctx)))
		case "check":
			id := revoke.Identity{Issuer: issuer, Session: rest, Subject: "user", Token: "jti", IssuedAt: time.Now()}
			switch err := list.Check(revoke.Now(), &id, revoke.Deny()); {
			case errors.Is(err, revoke.ErrRevoked):
				fmt.Println("revoked")
			default:
				fmt.Println(said(err))
			}
		case "status":
			s, n := f.Status(), list.Stats(revoke.Now())
			fmt.Println(s.State, s.Reason, s.Sent, left.Load(), s.Degraded, len(n.Faults))
		default:
			fmt.Println("unknown word", word)
		}
		cancel()
	}
	return nil
}

// reads prints what this version makes of a file: of which sessions s1 to s3 a List with
// that state file knows that they are over, or which key of a keyring signs.
func reads(what, path string) {
	switch what {
	case "state":
		list, err := revoke.NewList(revoke.Config{Local: true, StateFile: path})
		if err != nil {
			fmt.Println(said(err))
			return
		}
		for _, sid := range []string{"s1", "s2", "s3"} {
			id := revoke.Identity{Issuer: issuer, Session: sid, Subject: "user", Token: "jti", IssuedAt: time.Now()}
			fmt.Print(sid, " ", errors.Is(list.Check(revoke.Now(), &id, revoke.InsecureAllow()), revoke.ErrRevoked), " ")
		}
		fmt.Println()
	case "ring":
		store, err := token.NewFileStore(path)
		if err != nil {
			fmt.Println(said(err))
			return
		}
		ring, err := token.OpenKeyring(context.Background(), store, token.KeyringConfig{})
		if err != nil {
			fmt.Println(errors.Is(err, token.ErrKeyStoreCorrupt), said(err))
			return
		}
		defer ring.Close()
		fmt.Println(ring.Active().ID())
	}
}

func said(err error) string {
	if err == nil {
		return "ok"
	}
	return "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
}
