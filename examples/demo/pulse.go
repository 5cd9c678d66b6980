package main

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A pulse is one measurement: a session that nobody uses is revoked, and its token is tried at every
// service until it is refused.
type pulse struct {
	N    int        `json:"n"`
	Each []*float64 `json:"each"` // ms from just before Publish to each service's refusal; null: none in time
}

const (
	pulseEvery    = 3 * time.Second
	pulsePatience = 2 * time.Second
	pulsesKept    = 30
	atOnce        = 10 // at the beginning, so that the chart is not empty
)

// pulseOn measures until ctx ends.
func (w *world) pulseOn(ctx context.Context) {
	client := &http.Client{Transport: w.transport}
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	for n := 1; ctx.Err() == nil; n++ {
		if w.broker.running() {
			if p, ok := w.pulse(ctx, client); ok {
				p.N = n
				w.mu.Lock()
				w.pulses = append(w.pulses, p)
				if len(w.pulses) > pulsesKept {
					w.pulses = w.pulses[1:]
				}
				w.mu.Unlock()
			}
		}
		if n < atOnce {
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *world) pulse(ctx context.Context, client *http.Client) (pulse, bool) {
	sid := rand.Text()
	t, err := w.auth.tokens.Issue(ctx, issue.Request{Subject: "pulse", Client: "demo", Session: sid, Audience: audience()})
	if err != nil {
		return pulse{}, false
	}
	asking, cancel := context.WithTimeout(ctx, pulsePatience)
	defer cancel()
	p := pulse{Each: make([]*float64, len(w.services))}
	var warm, done sync.WaitGroup
	refusedAt := make([]time.Time, len(w.services))
	for i, s := range w.services {
		warm.Add(1)
		done.Go(func() { refusedAt[i] = s.untilRefused(asking, client, t.Raw(), warm.Done) })
	}
	warm.Wait()
	began := time.Now()
	_, err = w.auth.member.Publish(asking, revoke.Event{Kind: revoke.KindSession, Value: sid, Reason: "pulse"})
	if err != nil {
		cancel()
	}
	done.Wait()
	for i, at := range refusedAt {
		if !at.IsZero() {
			ms := millis(at.Sub(began))
			p.Each[i] = &ms
		}
	}
	return p, ctx.Err() == nil
}

// untilRefused asks until the token is refused, and returns when it was: the zero time if it was not,
// or the service could not tell. It calls warm when the first answer is there.
func (s *service) untilRefused(ctx context.Context, client *http.Client, raw string, warm func()) time.Time {
	got := s.ask(ctx, client, raw)
	warm()
	for got == accepted && ctx.Err() == nil {
		if got = s.ask(ctx, client, raw); got == refused {
			return time.Now()
		}
		time.Sleep(time.Millisecond / 2)
	}
	return time.Time{}
}
