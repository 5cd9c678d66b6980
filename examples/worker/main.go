// A queue of jobs whose worker asks again, before it does a job, whether who asked for it may still
// have it done.
//
//	go run ./examples/worker          # takes requests until ctrl-C
//	go run ./examples/worker -once    # plays two days through, and ends
//
// internal/job is what stands in the queue, queue.go the queue, worker.go who does it, app.go the application that takes requests
// and has logins. days.go is -once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/examples/worker/internal/job"
)

func main() {
	data := flag.String("data", "", "`directory` that keeps sessions, revocations and jobs; a temporary one unless it is named")
	listen := flag.String("listen", "127.0.0.1:0", "`address` of the application, on this machine: it speaks http")
	once := flag.Bool("once", false, "play two days through, and end")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := inDirectory(*data, func(data string) error {
		if *once {
			return (&days{out: os.Stdout, log: log, data: data}).play(ctx)
		}
		return serve(ctx, data, *listen, log)
	})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func inDirectory(data string, do func(data string) error) error {
	if data != "" {
		return errors.Join(os.MkdirAll(data, 0o700), do(data))
	}
	data, err := os.MkdirTemp("", "worker-")
	if err != nil {
		return err
	}
	return errors.Join(do(data), os.RemoveAll(data))
}

// serve has the application and a worker run until ctx ends.
func serve(ctx context.Context, data, listen string, log *slog.Logger) error {
	nats, err := embedded.Start(ctx, embedded.Config{Dir: filepath.Join(data, "nats"), Logger: log})
	if err != nil {
		return err
	}
	defer nats.Close()
	a, err := startApp(ctx, nats, data, listen, log)
	if err != nil {
		return err
	}
	defer a.close()
	w, err := startWorker(ctx, workerConfig{
		queue: nats, revocations: nats, keysURL: a.keys(), stateFile: filepath.Join(data, "worker.state"), log: log,
		tell: func(j job.Job, outcome string) { fmt.Printf("%s for %s: %s\n", j.Report, j.For.Subject, outcome) },
	})
	if err != nil {
		return err
	}
	defer w.close()
	fmt.Print(invitation(a.url))
	<-ctx.Done()
	return nil
}

// invitation is what to type into a shell.
func invitation(url string) string {
	return fmt.Sprintf(`token=$(curl -s -d user=alice -d password=wonderland %[1]s/login | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
curl -X POST -H "Authorization: Bearer $token" %[1]s/reports/sales
`, url)
}
