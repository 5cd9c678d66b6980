// A gateway that verifies once and passes the identity on, and the same check as forward
// authentication behind nginx and caddy.
//
//	go run ./examples/gateway          # until interrupted, to try things with curl
//	go run ./examples/gateway -once    # plays everything through, and ends
//
// It needs nginx and caddy. The exit code is 0 only if everything went as it says, and 2 where
// one of them is missing.
//
// gateway.go is the gateway and its checking side, upstream.go a service behind it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	cfg := config{patience: 30 * time.Second}
	flag.BoolVar(&cfg.once, "once", false, "end when everything was played through")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, cfg)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
	}
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	if _, ok := errors.AsType[missing](err); ok {
		return 2
	}
	if err != nil {
		return 1
	}
	return 0
}

type config struct {
	once     bool
	patience time.Duration // how long an answer may take to become the expected one

	edit func(name, conf string) string // lets a test break the configuration of a proxy
}

func run(ctx context.Context, out io.Writer, cfg config) error {
	nginx, caddy, err := tools(exec.LookPath)
	if err != nil {
		return err
	}
	w := new(world)
	defer w.close()
	if err := w.start(ctx, nginx, caddy, cfg.edit); err != nil {
		return err
	}
	t := &trial{world: w, out: out, patience: cfg.patience}
	if err := t.play(ctx); err != nil {
		return fmt.Errorf("%w\nthe proxies say:\n%s", err, w.stderr.String())
	}
	if cfg.once {
		return nil
	}
	return t.stay(ctx)
}
