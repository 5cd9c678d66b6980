package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/examples/worker/internal/job"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// A worker takes jobs, one at a time, until it is closed.
type worker struct {
	log     *slog.Logger
	tokens  *token.Verifier
	jobs    jetstream.Consumer
	tell    func(j job.Job, outcome string)
	closing context.CancelFunc
	running sync.WaitGroup
	closers closers
}

// postpone is how long a job waits about which nobody can tell now.
const postpone = time.Second

type workerConfig struct {
	queue       nats.InProcessConnProvider // the server of the jobs
	revocations nats.InProcessConnProvider // that of revocations, which need not be reached: jobs wait
	keysURL     string                     // of the issuer's keys
	stateFile   string                     // keeps what is revoked over a restart
	log         *slog.Logger
	tell        func(j job.Job, outcome string) // is told of each job that was taken
	tune        func(*token.VerifierConfig)     // of a test, or nil
}

// startWorker starts a worker with a replica of the denylist of its own.
func startWorker(ctx context.Context, cfg workerConfig) (w *worker, err error) {
	log := cfg.log
	w = &worker{log: log, tell: cfg.tell}
	defer func() {
		if err != nil {
			w.closers.close()
		}
	}()
	list, err := revoke.NewList(revoke.Config{StateFile: cfg.stateFile, Logger: log})
	if err != nil {
		return nil, err
	}
	member, err := bus.Join(ctx, bus.Config{InProcess: cfg.revocations, List: list, Name: "worker", Logger: log})
	if err != nil {
		return nil, err
	}
	w.closers.add(member.Close)
	keys, err := token.NewRemoteKeySet(ctx, cfg.keysURL, token.RemoteKeySetConfig{InsecureAllowHTTP: true, Logger: log}) // a socket of this machine; https everywhere else
	if err != nil {
		return nil, err
	}
	w.closers.add(keys.Close)
	rules := token.VerifierConfig{
		Issuer: issuer, OwnIssuer: true, Audiences: []string{"reports"}, Algorithms: []token.Algorithm{token.EdDSA},
		Keys: keys, Revocations: list, Logger: log,
	}
	if cfg.tune != nil {
		cfg.tune(&rules)
	}
	if w.tokens, err = token.NewVerifier(rules); err != nil {
		return nil, err
	}
	nc, err := nats.Connect("", nats.InProcessServer(cfg.queue), nats.MaxReconnects(-1))
	if err != nil {
		return nil, err
	}
	w.closers.add(func() error { nc.Close(); return nil })
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	if w.jobs, err = jobs(ctx, js); err != nil {
		return nil, err
	}
	working, closing := context.WithCancel(context.WithoutCancel(ctx))
	w.closing = closing
	w.running.Go(func() { w.work(working) })
	return w, nil
}

// close waits until the job at hand is done.
func (w *worker) close() error {
	w.closing()
	w.running.Wait()
	return w.closers.close()
}

// work takes jobs until ctx ends. It looks at ctx between two questions only: a job that came in answer
// to one that was given up would wait for AckWait.
func (w *worker) work(ctx context.Context) {
	for ctx.Err() == nil {
		msg, err := w.jobs.Next(jetstream.FetchMaxWait(time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			continue // there is none
		}
		if err == nil {
			err = w.take(ctx, msg)
		}
		if err != nil {
			w.log.Warn("the queue", "error", err)
			select { // before it is asked again
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// take does a job, if who asked for it may still have it done. The error is of the queue alone.
func (w *worker) take(ctx context.Context, msg jetstream.Msg) error {
	j, err := job.Read(msg.Data())
	if err != nil {
		w.log.Error("a job that is none", "error", err)
		return msg.TermWithReason(err.Error()) // nobody can do it, ever
	}
	err = w.tokens.RecheckIdentity(ctx, j.For)
	switch {
	case errors.Is(err, token.ErrUnavailable): // nobody can tell now, which is no refusal
		w.tell(j, "postponed: "+token.Cause(err))
		return msg.NakWithDelay(postpone)
	case err != nil: // revoked or expired: a real service lets the user know
		w.tell(j, "refused: "+token.Cause(err))
		return msg.TermWithReason(token.Cause(err))
	}

	// The job itself. One that takes longer than AckWait calls msg.InProgress now and then, and
	// RecheckIdentity again before anybody sees what it has done. A job can come twice, when the
	// worker dies here: it must do no harm.
	w.log.Info("working", "report", j.Report, "for", j.For.Subject)

	acknowledged, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := msg.DoubleAck(acknowledged); err != nil {
		return err
	}
	w.tell(j, "done")
	return nil
}

// closers end what was started, the last first.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() error {
	var errs []error
	for i := len(*c) - 1; i >= 0; i-- {
		errs = append(errs, (*c)[i]())
	}
	*c = nil
	return errors.Join(errs...)
}
