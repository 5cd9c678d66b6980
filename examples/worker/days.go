package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/examples/worker/internal/job"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// days are what happens to an application and its worker, and what is expected.
type days struct {
	out  io.Writer
	log  *slog.Logger
	data string

	tune func(*token.VerifierConfig) // lets a test weaken the worker, to see that this is noticed

	mu       sync.Mutex
	outcomes map[string]string // of each report, the last
	seen     chan struct{}     // closed at the next
}

func (d *days) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

func (d *days) play(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := d.first(ctx); err != nil {
		return err
	}
	d.say("\nEverything is stopped, the NATS server too, and started again the next day.")
	if err := d.second(ctx); err != nil {
		return err
	}
	d.say("\neverything went as it should")
	return nil
}

// first is the day on which jobs are queued.
func (d *days) first(ctx context.Context) (err error) {
	var open closers
	defer func() { err = errors.Join(err, open.close()) }()
	server, app, err := d.start(ctx, &open)
	if err != nil {
		return err
	}
	w, err := d.worker(ctx, server, server, app)
	if err != nil {
		return err
	}
	laptop, err := loginAs(ctx, app, "alice")
	if err != nil {
		return errors.Join(err, w.close())
	}
	d.say("Alice asks for a report, and the worker does it.")
	if err := errors.Join(ask(ctx, app, laptop, "sales"), d.wait(ctx, map[string]string{"sales": "done"}), w.close()); err != nil {
		return err
	}

	d.say("\nThe worker is away. Alice asks for one on her laptop and one on her phone, Bob and Carol for one each.")
	for _, r := range []struct{ user, report string }{{"", "stock"}, {"alice", "taxes"}, {"bob", "wages"}, {"carol", "costs"}} {
		as := laptop
		if r.user != "" {
			if as, err = loginAs(ctx, app, r.user); err != nil {
				return err
			}
		}
		if err := ask(ctx, app, as, r.report); err != nil {
			return err
		}
	}
	d.say("Alice changes her password on the laptop: that session is kept, the phone's is not. Bob is banned.")
	if _, err := app.sessions.LogoutAll(ctx, "alice", refresh.Keep(laptop.session), refresh.Because("password change")); err != nil {
		return err
	}
	_, err = app.sessions.LogoutAll(ctx, "bob", refresh.Because("banned"))
	return err
}

// second is the day on which a worker finds them.
func (d *days) second(ctx context.Context) (err error) {
	var open closers
	defer func() { err = errors.Join(err, open.close()) }()
	server, app, err := d.start(ctx, &open)
	if err != nil {
		return err
	}
	d.say("\nThe worker is back, reaches the queue, and does not reach the revocations.")
	toBus := &cable{server: server}
	w, err := d.worker(ctx, server, toBus, app)
	if err != nil {
		return err
	}
	open.add(w.close)
	if err := d.wait(ctx, map[string]string{"stock": "postponed: stale", "taxes": "postponed: stale", "wages": "postponed: stale", "costs": "postponed: stale"}); err != nil {
		return err
	}
	d.say("\nIt reaches them.")
	toBus.plugged.Store(true)
	return d.wait(ctx, map[string]string{"stock": "done", "taxes": "refused: revoked", "wages": "refused: revoked", "costs": "done"})
}

// start starts a server and the application over what there is on the disk.
func (d *days) start(ctx context.Context, open *closers) (*embedded.Server, *app, error) {
	server, err := embedded.Start(ctx, embedded.Config{Dir: filepath.Join(d.data, "nats"), Logger: d.log})
	if err != nil {
		return nil, nil, err
	}
	open.add(server.Close)
	a, err := startApp(ctx, server, d.data, "127.0.0.1:0", d.log)
	if err == nil {
		open.add(a.close)
	}
	return server, a, err
}

func (d *days) worker(ctx context.Context, queue *embedded.Server, toBus nats.InProcessConnProvider, a *app) (*worker, error) {
	d.mu.Lock()
	d.outcomes, d.seen = map[string]string{}, make(chan struct{})
	d.mu.Unlock()
	tell := func(j job.Job, outcome string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.outcomes[j.Report] = outcome
		close(d.seen)
		d.seen = make(chan struct{})
	}
	return startWorker(ctx, workerConfig{
		queue: queue, revocations: toBus, keysURL: a.keys(), stateFile: filepath.Join(d.data, "worker.state"), log: d.log, tell: tell, tune: d.tune,
	})
}

// wait waits until each report has come to its end, and says how.
func (d *days) wait(ctx context.Context, want map[string]string) error {
	for {
		d.mu.Lock()
		got, seen := maps.Clone(d.outcomes), d.seen
		d.mu.Unlock()
		if maps.Equal(got, want) {
			for _, report := range slices.Sorted(maps.Keys(want)) {
				d.say("  %s %s", report, want[report])
			}
			return nil
		}
		for report, outcome := range got {
			if outcome != want[report] && !strings.HasPrefix(outcome, "postponed") {
				return fmt.Errorf("%s is %s, not %s", report, outcome, want[report])
			}
		}
		select {
		case <-seen:
		case <-ctx.Done():
			return fmt.Errorf("the reports are %v, not %v: %w", got, want, ctx.Err())
		}
	}
}

// A cable leads to a server, once it is plugged in.
type cable struct {
	server  *embedded.Server
	plugged atomic.Bool
}

func (c *cable) InProcessConn() (net.Conn, error) {
	if !c.plugged.Load() {
		return nil, errors.New("the cable is not plugged in")
	}
	return c.server.InProcessConn()
}

// A session is a login's access token and the id of its session.
type session struct{ token, session string }

func loginAs(ctx context.Context, a *app, user string) (session, error) {
	form := url.Values{"user": {user}, "password": {passwords[user]}}
	body, err := post(ctx, a.url+"/login", "", form, http.StatusOK)
	if err != nil {
		return session{}, fmt.Errorf("login of %s: %w", user, err)
	}
	var grant struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &grant); err != nil {
		return session{}, fmt.Errorf("login of %s: no JSON", user)
	}
	all, err := a.sessions.Sessions(ctx, user)
	if err != nil {
		return session{}, err
	}
	return session{grant.AccessToken, all[0].ID}, nil
}

func ask(ctx context.Context, a *app, as session, report string) error {
	_, err := post(ctx, a.url+"/reports/"+report, as.token, nil, http.StatusAccepted)
	return err
}

// post returns the body of an answer with that status.
func post(ctx context.Context, url, token string, form url.Values, status int) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != status {
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(resp.Body)
}
