package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A world is everything that runs.
type world struct {
	broker    *broker
	auth      *auth
	services  []*service
	transport *http.Transport // the devices' connections
	chase     chaser
	story     story

	ctx    context.Context
	stop   context.CancelFunc
	work   sync.WaitGroup
	acting sync.Mutex // one button at a time

	mu      sync.Mutex
	devices []*device
	made    int // devices so far
	pulses  []pulse
	forked  bool
}

// most is how many rows the grid may have.
const most = 14

// start starts everything, with its data in a directory: the server and the stream, the auth
// service, the services, and users who are logged in.
func start(ctx context.Context, dir string) (_ *world, err error) {
	w := &world{transport: &http.Transport{MaxIdleConnsPerHost: 4 * most, IdleConnTimeout: time.Minute}}
	w.ctx, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if w.broker, err = startBroker(ctx, dir); err != nil {
		return nil, err
	}
	if w.auth, err = startAuth(ctx, "nats://"+w.broker.address, dir); err != nil {
		return nil, err
	}
	for i, name := range serviceNames {
		s, err := startService(ctx, name, i == len(serviceNames)-1, w.broker, w.auth.url)
		if err != nil {
			return nil, err
		}
		w.services = append(w.services, s)
	}
	for _, s := range w.services {
		if err := s.running().member.WaitFresh(ctx); err != nil {
			return nil, err
		}
	}
	for _, at := range []struct{ user, label string }{
		{"alice", "laptop"}, {"alice", "phone"}, {"alice", "tablet"}, {"bob", "laptop"}, {"bob", "phone"}, {"carol", "laptop"}, {"carol", "phone"},
	} {
		if d := w.addDevice(at.user, at.label, false); d.login(ctx, w.auth.users.password(at.user)) != http.StatusNoContent {
			return nil, errors.New("nobody can log in")
		}
	}
	if err := w.broker.backUp(ctx); err != nil {
		return nil, err
	}
	for _, s := range w.services {
		w.work.Go(func() { w.watch(s) })
	}
	w.work.Go(func() { w.pulseOn(w.ctx) })
	w.say("Everything runs: a NATS server, an auth service, three services, seven devices.")
	return w, nil
}

func (w *world) close() {
	w.stop()
	for _, s := range w.services {
		s.stop()
		s.link.close()
	}
	if w.auth != nil {
		w.auth.close.all()
	}
	w.work.Wait()
	w.transport.CloseIdleConnections()
	if w.broker != nil {
		w.broker.stop()
	}
}

// watch tells when a service's replica can vouch for its answers, and when it no longer can.
func (w *world) watch(s *service) {
	for last := ""; ; {
		if a := s.running(); a != nil {
			for st, err := a.member.Status(), error(nil); err == nil; st, err = a.member.WaitChange(w.ctx, st) {
				is := st.State.String()
				if st.State != revoke.StateFresh {
					is += " (" + st.Reason.String() + ")"
				}
				if is != last && last != "" {
					w.say("%s is %s.", s.name, is)
				}
				last = is
			}
		}
		select {
		case <-time.After(100 * time.Millisecond): // it is restarted
		case <-w.ctx.Done():
			return
		}
	}
}

func (w *world) say(format string, a ...any) { w.story.say(format, a...) }

// saw notes an answer for the chase. It reports whether the device is to call again at once.
func (w *world) saw(d *device, service int, raw string, began time.Time, got answer) bool {
	again, ended := w.chase.saw(d, service, raw, began, got)
	if ended {
		r := w.chase.result()
		w.say("%s: all %d combinations of device and service were refused %s after the click.", r.Title, r.Total, inWords(r.Last))
	}
	return again
}

func (w *world) addDevice(user, label string, thief bool) *device {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := newDevice(w.ctx, w, user, label, thief)
	w.made++
	d.id = w.made
	at := len(w.devices) // behind the user's others
	for i, o := range w.devices {
		if o.user == user {
			at = i + 1
		}
	}
	w.devices = slices.Insert(w.devices, at, d)
	return d
}

func (w *world) removeDevice(d *device) {
	d.stop()
	w.chase.forget(d)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.devices = slices.DeleteFunc(w.devices, func(o *device) bool { return o == d })
}

func (w *world) device(id int) *device {
	for _, d := range w.those(func(d *device) bool { return d.id == id }) {
		return d
	}
	return nil
}

// those are the devices for which is holds.
func (w *world) those(is func(*device) bool) (all []*device) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.devices {
		if is(d) {
			all = append(all, d)
		}
	}
	return all
}

// closers are what to close at the end, the last first.
type closers struct {
	mu  sync.Mutex
	fns []func() error
}

func (c *closers) add(f func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fns = append(c.fns, f)
}

func (c *closers) all() {
	c.mu.Lock()
	fns := c.fns
	c.fns = nil
	c.mu.Unlock()
	for _, f := range slices.Backward(fns) {
		if err := f(); err != nil {
			log.Error("closing", "error", err)
		}
	}
}

// serve serves until the function that it returns is called.
func serve(l net.Listener, h http.Handler) (stop func() error) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() { srv.Serve(l); close(done) }()
	return func() error {
		err := srv.Close()
		<-done
		return err
	}
}
