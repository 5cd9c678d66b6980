package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A day is what happens to a system, and what is expected of it. After an error it does nothing
// more.
type day struct {
	*system
	out      io.Writer
	patience time.Duration // for each step
	refusal  time.Duration // for services to refuse what was revoked
	err      error
	held     int
}

// A login is a user with an access token.
type login struct{ user, token string }

var nobody login // sends no token

// client asks the services. clicks logs in and out, each time over a new connection: a request that
// changes something is not sent again by itself where an old one turns out to be dead.
var (
	client = &http.Client{Transport: &http.Transport{}}
	clicks = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
)

// begin starts everything.
func (d *day) begin(ctx context.Context) {
	d.step(ctx, "Everything starts: a nats-server with the rights of production, the auth service, the APIs.", func(ctx context.Context) error {
		if err := d.setUp(ctx); err != nil {
			return err
		}
		if err := d.startAuth(ctx); err != nil {
			return err
		}
		for _, a := range d.apis {
			if err := d.startAPI(ctx, a); err != nil {
				return err
			}
		}
		for _, a := range d.apis {
			if err := d.await(ctx, a.name+" is ready", a.url+"/ready", nobody, http.StatusOK); err != nil {
				return err
			}
		}
		return nil
	})
}

// invite tells what to do with what runs.
func (d *day) invite() {
	fmt.Fprintf(d.out, "\nRunning, until ctrl-C; logs are in %s. Try:\n\n", d.data)
	fmt.Fprintf(d.out, "token=$(curl -s -d user=alice -d password=wonderland %s/login | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n", d.authURL)
	for _, a := range d.apis {
		fmt.Fprintf(d.out, "curl -H \"Authorization: Bearer $token\" %s%s\n", a.url, a.path)
	}
	fmt.Fprintf(d.out, "curl -X POST -H \"Authorization: Bearer $token\" %s/oauth/logout\n", d.authURL)
}

// bad is the day.
func (d *day) bad(ctx context.Context) {
	var alice, bob login
	orders, billing := d.apis[0], d.apis[1]
	d.step(ctx, "Alice and Bob log in, and use both services.", func(ctx context.Context) (err error) {
		if alice, err = d.login(ctx, "alice", "wonderland"); err != nil {
			return err
		}
		if bob, err = d.login(ctx, "bob", "can we fix it"); err != nil {
			return err
		}
		return d.everywhere(ctx, map[login]int{alice: http.StatusOK, bob: http.StatusOK})
	})

	d.step(ctx, "Alice logs out.", func(ctx context.Context) error {
		took, err := d.logout(ctx, alice)
		if err != nil {
			return err
		}
		for i, a := range d.apis {
			d.say("%s refuses her token %.1f ms after the click", a.name, float64(took[i])/float64(time.Millisecond))
		}
		return d.everywhere(ctx, map[login]int{alice: http.StatusUnauthorized, bob: http.StatusOK})
	})
	both := map[login]int{alice: http.StatusUnauthorized, bob: http.StatusOK}

	d.step(ctx, "The billing service crashes (kill -9) and is started again.", func(ctx context.Context) error {
		billing.kill()
		if err := d.startAPI(ctx, billing); err != nil {
			return err
		}
		if err := d.await(ctx, "billing is ready again", billing.url+"/ready", nobody, http.StatusOK); err != nil {
			return err
		}
		return d.everywhere(ctx, both)
	})

	d.step(ctx, "The auth service is down. The others do not need it.", func(ctx context.Context) error {
		d.auth.kill()
		if err := d.everywhere(ctx, both); err != nil {
			return err
		}
		if err := d.startAuth(ctx); err != nil {
			return err
		}
		if err := d.everywhere(ctx, both); err != nil { // whose keys are still the same
			return err
		}
		_, err := d.login(ctx, "alice", "wonderland")
		if err == nil {
			d.say("auth is back with the same keys and sessions; Alice logs in")
		}
		return err
	})

	d.step(ctx, "NATS crashes (kill -9). What the services know is proven for some seconds, then they say that they cannot know.", func(ctx context.Context) error {
		d.nats.kill()
		if err := d.await(ctx, "orders refuses Alice's old token at once", orders.url+orders.path, alice, http.StatusUnauthorized); err != nil {
			return err
		}
		for _, a := range d.apis {
			if err := d.await(ctx, a.name+" answers 503 to Bob, with Retry-After", a.url+a.path, bob, http.StatusServiceUnavailable); err != nil {
				return err
			}
		}
		if err := d.everywhere(ctx, map[login]int{alice: http.StatusUnauthorized, bob: http.StatusServiceUnavailable}); err != nil {
			return err
		}
		return d.await(ctx, "orders is ready all the same: a failure of the bus must not empty the load balancer", orders.url+"/ready", nobody, http.StatusOK)
	})

	d.step(ctx, "Meanwhile the billing service is restarted, gently. It has a state file.", func(ctx context.Context) error {
		if err := billing.stop(); err != nil {
			return err
		}
		if err := d.startAPI(ctx, billing); err != nil {
			return err
		}
		for _, c := range []struct {
			what, path string
			as         login
			status     int
		}{
			{"billing still refuses Alice's old token", billing.path, alice, http.StatusUnauthorized},
			{"billing answers 503 to Bob", billing.path, bob, http.StatusServiceUnavailable},
			{"billing is not ready", "/ready", nobody, http.StatusServiceUnavailable},
		} {
			if err := d.await(ctx, c.what, billing.url+c.path, c.as, c.status); err != nil {
				return err
			}
		}
		return nil
	})

	d.step(ctx, "NATS is started again. Nobody else is.", func(ctx context.Context) error {
		if err := d.startNATS(ctx); err != nil {
			return err
		}
		for _, a := range d.apis {
			if err := d.await(ctx, a.name+" accepts Bob again", a.url+a.path, bob, http.StatusOK); err != nil {
				return err
			}
		}
		if err := d.await(ctx, "billing is ready", billing.url+"/ready", nobody, http.StatusOK); err != nil {
			return err
		}
		if err := d.everywhere(ctx, both); err != nil {
			return err
		}
		_, err := d.logout(ctx, bob)
		if err != nil {
			return err
		}
		d.say("Bob logs out, and is refused everywhere")
		return nil
	})

	d.step(ctx, "Everything is told to end (SIGTERM).", func(context.Context) error {
		if err := d.stop(); err != nil {
			return err
		}
		d.say("every process has ended with exit code 0")
		return nil
	})
}

// step does one thing, within the patience that there is.
func (d *day) step(ctx context.Context, what string, do func(context.Context) error) {
	if d.err != nil {
		return
	}
	fmt.Fprintf(d.out, "\n%s\n", what)
	within, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	if d.err = do(within); d.err == nil {
		d.held++
	}
}

func (d *day) say(format string, args ...any) { fmt.Fprintf(d.out, "  "+format+"\n", args...) }

func (d *day) verdict() error {
	if d.err != nil {
		return fmt.Errorf("%w; logs are in %s", d.err, d.data)
	}
	fmt.Fprintf(d.out, "\nall %d steps went as they should\n", d.held)
	return nil
}

// await asks until the answer is that one.
func (d *day) await(ctx context.Context, what, url string, as login, status int) error {
	err := until(ctx, what, func() error {
		got, err := ask(ctx, url, as)
		if err == nil && got != status {
			err = fmt.Errorf("it answers %d, not %d", got, status)
		}
		return err
	})
	if err == nil {
		d.say("%s", what)
	}
	return err
}

// everywhere asks every service with every token, again only where the answer is to try again.
func (d *day) everywhere(ctx context.Context, want map[login]int) error {
	for _, a := range d.apis {
		for as, status := range want {
			err := until(ctx, fmt.Sprintf("%s answers %d to %s", a.name, status, as.user), func() error {
				got, err := ask(ctx, a.url+a.path, as)
				if err == nil && got != status {
					err = fmt.Errorf("it answers %d", got)
					if got != http.StatusServiceUnavailable {
						err = permanent{err}
					}
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *day) login(ctx context.Context, user, password string) (as login, err error) {
	form := url.Values{"user": {user}, "password": {password}}.Encode()
	err = until(ctx, user+" logs in", func() error {
		r, err := http.NewRequestWithContext(ctx, "POST", d.authURL+"/login", strings.NewReader(form))
		if err != nil {
			return permanent{err}
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := clicks.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK:
		case http.StatusServiceUnavailable: // try again
			return errors.New(resp.Status)
		default:
			return permanent{errors.New(resp.Status)}
		}
		var grant struct {
			AccessToken string `json:"access_token"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&grant); err != nil {
			return permanent{errors.New("the answer is no JSON")}
		}
		as = login{user, grant.AccessToken}
		return nil
	})
	return as, err
}

// logout ends a session, while every service is asked with its token over and over. It returns when
// each began to refuse, counted from the click.
func (d *day) logout(ctx context.Context, of login) ([]time.Duration, error) {
	asked, cancel := context.WithTimeout(ctx, d.refusal)
	defer cancel()
	refused := make([]time.Time, len(d.apis))
	failed := make([]error, len(d.apis))
	var asking sync.WaitGroup
	for i, a := range d.apis {
		asking.Go(func() {
			failed[i] = until(asked, a.name+" refuses the token of a session that has ended", func() error {
				got, err := ask(asked, a.url+a.path, of)
				if err == nil && got != http.StatusUnauthorized {
					err = fmt.Errorf("it answers %d, not 401", got)
				}
				return err
			})
			refused[i] = time.Now()
		})
	}
	clicked := time.Now()
	err := until(ctx, of.user+" logs out", func() error {
		r, err := http.NewRequestWithContext(ctx, "POST", d.authURL+"/oauth/logout", nil)
		if err != nil {
			return permanent{err}
		}
		r.Header.Set("Authorization", "Bearer "+of.token)
		resp, err := clicks.Do(r)
		if err != nil {
			return err
		}
		resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusNoContent:
			return nil
		case http.StatusServiceUnavailable, http.StatusConflict: // try again
			return errors.New(resp.Status)
		}
		return permanent{errors.New(resp.Status)}
	})
	asking.Wait()
	took := make([]time.Duration, len(refused))
	for i := range refused {
		took[i] = refused[i].Sub(clicked)
	}
	return took, errors.Join(append(failed, err)...)
}

// ask returns the status of the answer to a request with that token.
func ask(ctx context.Context, url string, as login) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return 0, err
	}
	if as != nobody {
		r.Header.Set("Authorization", "Bearer "+as.token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	if resp.StatusCode == http.StatusServiceUnavailable && as != nobody && resp.Header.Get("Retry-After") == "" {
		return 0, errors.New("it answers 503 without Retry-After")
	}
	return resp.StatusCode, nil
}

// A permanent error is not tried again.
type permanent struct{ error }

// until tries until it works, or ctx ends.
func until(ctx context.Context, what string, try func() error) error {
	var last error // before there was no time left
	for {
		err := try()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if p, ok := errors.AsType[permanent](err); ok {
			return fmt.Errorf("not so: %s: %w", what, p.error)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not so: %s: %w: %w", what, ctx.Err(), last)
		case <-time.After(time.Millisecond):
		}
	}
}
