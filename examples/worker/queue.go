package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/examples/worker/internal/job"
)

const (
	queueStream  = "JOBS"
	queueSubject = "jobs.report"
)

// makeQueue makes the queue, on disk, if it is not there: a stream from which each message is gone
// once a worker has acknowledged it.
func makeQueue(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: queueStream, Subjects: []string{queueSubject}, Retention: jetstream.WorkQueuePolicy, MaxBytes: 64 << 20,
		Discard: jetstream.DiscardNew, // a full queue refuses: it drops no job
	})
	return err
}

// add queues a job. It is on disk when add returns nil.
func add(ctx context.Context, js jetstream.JetStream, j job.Job) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	_, err = js.Publish(ctx, queueSubject, data)
	return err
}

// jobs returns the worker's side of the queue, which all workers share.
func jobs(ctx context.Context, js jetstream.JetStream) (jetstream.Consumer, error) {
	return js.CreateOrUpdateConsumer(ctx, queueStream, jetstream.ConsumerConfig{
		Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy,
		AckWait:    30 * time.Second, // a job whose worker died is another's then
		MaxDeliver: -1,               // a job may be postponed any number of times
	})
}
