// gRPC: a service whose calls are refused, and whose open streams end, when a user logs out.
//
//	go run ./examples/grpc          # serves until ctrl-C
//	go run ./examples/grpc -once    # calls it, logs out, measures, and ends
//
// server.go is all that a gRPC service needs, orders.go the service itself, client.go its client.
// auth.go logs users in and out; story.go is -once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/token/grpctoken"
)

func main() {
	once := flag.Bool("once", false, "call the service, log out, and end")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, log, nil, func(ctx context.Context, a *auth, address string) error {
		if *once {
			return story(ctx, os.Stdout, a, address, time.Minute)
		}
		<-ctx.Done()
		return nil
	})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}

// run has both services, and a NATS server for them, run until while returns. tune, if not nil, lets a
// test weaken the orders service, to see that this is noticed.
func run(ctx context.Context, out io.Writer, log *slog.Logger, tune func(*grpctoken.Config), while func(ctx context.Context, a *auth, address string) error) error {
	nats, err := embedded.Start(ctx, embedded.Config{Logger: log}) // in memory: nothing outlives this program
	if err != nil {
		return err
	}
	defer nats.Close()
	a, err := startAuth(ctx, nats, log)
	if err != nil {
		return fmt.Errorf("auth service: %w", err)
	}
	defer a.close()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	address, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- serveOrders(serving, nats, a.url, log, tune, func(at string) { address <- at })
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("orders service: %w", err)
	case at := <-address:
		fmt.Fprintf(out, "orders %s serves gRPC, and verifies by itself\n", at)
		err = while(ctx, a, at)
	}
	stop()
	return errors.Join(err, <-ended)
}
