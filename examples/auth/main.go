// A small shop: login, devices, password change and logout in plain HTML; and a service of orders,
// which accepts the same session's access token.
//
//	go run ./examples/auth          # then http://127.0.0.1:8080
//	go run ./examples/auth -once    # plays a visit through by itself, and ends
//
// shop.go puts the sessions together, pages.go is what people see, users.go a stub in place of your
// user table, orders.go the other service. visit.go is -once.
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
	"path/filepath"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/embedded"
)

const issuer = "https://auth.example.com" // in the tokens: the address of a real one

var log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))

func main() {
	data := flag.String("data", "auth-data", "`directory` of sessions, keys and revocations")
	shop := flag.String("shop", "127.0.0.1:8080", "`address` of the shop, on this machine: it speaks http")
	orders := flag.String("orders", "127.0.0.1:8081", "`address` of the orders service")
	once := flag.Bool("once", false, "play a visit through, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	must(0, run(ctx, *data, *shop, *orders, func(shop, orders string) error {
		fmt.Printf("shop    %s\norders  %s/orders\n", shop, orders)
		if *once {
			return visit(ctx, os.Stdout, shop, orders)
		}
		<-ctx.Done()
		return nil
	}))
}

// run has both services, and a NATS server for them, run until while returns, which is given
// their URLs.
func run(ctx context.Context, data, shop, orders string, while func(shop, orders string) error) error {
	atShop, err := net.Listen("tcp", shop)
	if err != nil {
		return fmt.Errorf("-shop: %w", err)
	}
	defer atShop.Close()
	atOrders, err := net.Listen("tcp", orders)
	if err != nil {
		return fmt.Errorf("-orders: %w", err)
	}
	defer atOrders.Close()
	server := must(embedded.Start(ctx, embedded.Config{Dir: filepath.Join(data, "nats"), Logger: log}))
	defer server.Close()
	shop, orders = "http://"+atShop.Addr().String(), "http://"+atOrders.Addr().String()
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var services sync.WaitGroup
	services.Go(func() { serveShop(ctx, atShop, server, data, orders) })
	services.Go(func() { serveOrders(ctx, atOrders, server, shop+"/.well-known/jwks.json") })
	err = while(shop, orders)
	stop()
	services.Wait()
	return err
}

// serve serves until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	srv.Serve(l)
}

// must ends the program: what it is given is an error that nothing can go on after.
func must[T any](v T, err error) T {
	if err != nil {
		log.Error("auth", "error", err)
		os.Exit(1)
	}
	return v
}
