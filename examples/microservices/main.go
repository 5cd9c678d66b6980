// Processes: an auth service, two APIs, and a nats-server with the rights of production.
//
//	go run ./examples/microservices          # starts everything; ends with ctrl-C
//	go run ./examples/microservices -once    # plays a bad day through, and ends
//
// The services are auth, orders and billing; internal/service is what they share. Here is only what
// an orchestrator does: system.go starts them, process.go is one of them, and day.go has them killed
// and looks at what they answer.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	once := flag.Bool("once", false, "play a bad day through, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, config{once: *once, patience: time.Minute, refusal: time.Minute})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "microservices:", err)
		os.Exit(1)
	}
}

type config struct {
	once     bool
	patience time.Duration // for each step of the day
	refusal  time.Duration // for services to refuse what was revoked

	// tune lets a test exchange a program, to see that this is noticed.
	tune func(*system)
}

func run(ctx context.Context, out io.Writer, cfg config) (err error) {
	data, err := os.MkdirTemp("", "microservices-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil { // else the logs are of use
			err = os.RemoveAll(data)
		}
	}()
	staleness := 15 * time.Second
	if cfg.once {
		staleness = 5 * time.Second // the least; it has to be waited for
	}
	s := newSystem(data, staleness)
	fmt.Fprintln(out, "Building auth, orders, billing and nats-server …")
	if err := s.build(ctx); err != nil {
		return err
	}
	defer func() {
		if ended := s.stop(); err == nil {
			err = ended
		}
	}()
	if cfg.tune != nil {
		cfg.tune(s)
	}
	d := &day{system: s, out: out, patience: cfg.patience, refusal: cfg.refusal}
	d.begin(ctx)
	if !cfg.once && d.err == nil {
		d.invite()
		<-ctx.Done()
		return nil
	}
	d.bad(ctx)
	return d.verdict()
}
