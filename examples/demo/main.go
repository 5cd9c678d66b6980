// A whole system to look at: a NATS server, an auth service, three services that verify by
// themselves, and a page on which you log users out, steal from them, and cut the services off.
//
//	go run ./examples/demo          # prints the address of the page
//	go run ./examples/demo -once    # goes through all of it by itself, and ends
//
// Read service.go first, which is all that a service needs, then auth.go, then actions.go, which is
// what the buttons do. broker.go is the server and what happens to it, device.go the clients, page.go
// what the browser talks to, tour.go what -once does.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// The demo breaks things on purpose, and shows what becomes of them: what the packages log of it
// is for -v.
var (
	level slog.LevelVar
	log   = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: &level}))
)

const silent = slog.LevelError + 4

func main() {
	listen := flag.String("listen", "127.0.0.1:8070", "loopback `address` of the page; port 0 takes a free one")
	once := flag.Bool("once", false, "go through everything without a browser, check each outcome, and end")
	verbose := flag.Bool("v", false, "log what the packages log")
	flag.Parse()
	if level.Set(silent); *verbose {
		level.Set(slog.LevelInfo)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *listen, *once)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address string, once bool) error {
	l, err := listenLoopback(address)
	if err != nil {
		return err
	}
	defer l.Close()
	data, err := os.MkdirTemp("", "hybridtoken-demo-") // the stream, and the outbox
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	w, err := start(ctx, data)
	if err != nil {
		return err
	}
	defer w.close()
	srv := &http.Server{Handler: newPage(w), ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return w.ctx }}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	defer srv.Close()
	fmt.Printf("page    http://%s\n", l.Addr())
	if once {
		return tour(ctx, os.Stdout, "http://"+l.Addr().String())
	}
	fmt.Println("Ctrl-C ends it")
	select {
	case <-ctx.Done():
		return nil
	case err := <-served:
		return err
	}
}
