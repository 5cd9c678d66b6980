package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A trial plays through what is expected of the three ways in.
type trial struct {
	*world
	out      io.Writer
	patience time.Duration
}

func (t *trial) login(ctx context.Context, user, session string) (string, error) {
	issued, err := t.issuer.Issue(ctx, issue.Request{Subject: user, Client: "web", Session: session, Audience: []string{"shop"}})
	if err != nil {
		return "", err
	}
	return issued.Raw(), nil
}

func (t *trial) play(ctx context.Context) error {
	laptopSession := rand.Text()
	laptop, err := t.login(ctx, "alice", laptopSession)
	if err != nil {
		return err
	}
	phone, err := t.login(ctx, "alice", rand.Text())
	if err != nil {
		return err
	}
	t.say("Alice logs in on a laptop and a phone. Through the gateway, nginx and caddy the upstream hears who she is, whatever she sends besides.")
	for _, e := range t.entries {
		if err := t.until(ctx, e.name+" lets the laptop through", func(ctx context.Context) error { return e.get(ctx, laptop, 200, "hello alice") }); err != nil {
			return err
		}
		if err := e.get(ctx, phone, 200, "hello alice"); err != nil {
			return fmt.Errorf("NOT AS EXPECTED: %s: the phone: %w", e.name, err)
		}
		if err := e.get(ctx, "", 401, ""); err != nil {
			return fmt.Errorf("NOT AS EXPECTED: %s: nobody: %w", e.name, err)
		}
	}

	t.say("At the upstream itself her token is worth nothing, nor is any header.")
	direct := entry{"the upstream", "http://" + t.upstream, http.DefaultClient}
	for what, raw := range map[string]string{"her token": laptop, "nobody": ""} {
		if err := direct.get(ctx, raw, 401, ""); err != nil {
			return fmt.Errorf("NOT AS EXPECTED: the upstream, %s: %w", what, err)
		}
	}

	t.say("She opens an event stream through the gateway, and logs out on the laptop.")
	ended, err := t.stream(ctx, laptop)
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := t.auth.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: laptopSession, Reason: "logout"}); err != nil {
		return err
	}
	var wg sync.WaitGroup
	took, errs := make([]time.Duration, len(t.entries)), make([]error, len(t.entries))
	for i, e := range t.entries {
		wg.Go(func() {
			errs[i] = t.until(ctx, e.name+" refuses the laptop", func(ctx context.Context) error { return e.get(ctx, laptop, 401, "") })
			took[i] = time.Since(began)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for i, e := range t.entries {
		fmt.Fprintf(t.out, "  %-8s refuses after %.1f ms\n", e.name, float64(took[i].Microseconds())/1000)
	}
	select {
	case at := <-ended:
		fmt.Fprintf(t.out, "  %-8s ended after %.1f ms\n", "stream", float64(at.Sub(began).Microseconds())/1000)
	case <-time.After(t.patience):
		return errors.New("NOT AS EXPECTED: the event stream goes on")
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, e := range t.entries {
		if err := e.get(ctx, phone, 200, "hello alice"); err != nil {
			return fmt.Errorf("NOT AS EXPECTED: %s: the phone goes on: %w", e.name, err)
		}
	}
	fmt.Fprintln(t.out, "\nall expectations held")
	return nil
}

func (t *trial) say(format string, args ...any) { fmt.Fprintf(t.out, "\n"+format+"\n", args...) }

// stream opens the event stream through the gateway, and tells when it ends.
func (t *trial) stream(ctx context.Context, raw string) (<-chan time.Time, error) {
	gateway := t.entries[0]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, gateway.url+"/events", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+raw)
	resp, err := gateway.client.Do(req)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewReader(resp.Body)
	if first, err := lines.ReadString('\n'); resp.StatusCode != 200 || err != nil || first != "data: tick\n" {
		resp.Body.Close()
		return nil, fmt.Errorf("NOT AS EXPECTED: the event stream: %d, %q, %v", resp.StatusCode, first, err)
	}
	ended := make(chan time.Time, 1)
	go func() {
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, lines)
		ended <- time.Now()
	}()
	return ended, nil
}

// until asks again until f has no error.
func (t *trial) until(ctx context.Context, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, t.patience)
	defer cancel()
	last := errors.New("it was not asked")
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("NOT AS EXPECTED: %s; %w", what, last)
		case <-time.After(time.Millisecond):
		}
	}
}

// get asks for the orders, as a client that also claims to be somebody else.
func (e entry) get(ctx context.Context, raw string, status int, says string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/orders?page=2", nil)
	if err != nil {
		return err
	}
	if raw != "" {
		req.Header.Set("Authorization", "Bearer "+raw)
	}
	req.Header.Set("X-Auth-Subject", "admin")
	req.Header.Set("X-Upstream-Authorization", "Bearer "+raw)
	req.Header.Set("Cookie", "user=admin")
	resp, err := e.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	switch {
	case err != nil:
		return err
	case resp.StatusCode != status:
		return fmt.Errorf("it answers %d", resp.StatusCode)
	case says != "" && strings.TrimSpace(string(body)) != says:
		return fmt.Errorf("it says %q", body)
	case resp.Header.Get("X-Upstream-Authorization") != "":
		return errors.New("it tells the client what is for the upstream")
	}
	return nil
}

// stay issues a token to try things with, until it is interrupted.
func (t *trial) stay(ctx context.Context) error {
	raw, err := t.login(ctx, "carol", "s1")
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "\nTry it, and end it with Ctrl-C:\n\ntoken=%s\ncurl -H \"Authorization: Bearer $token\" %s/orders\n", raw, t.entries[0].url)
	for _, name := range []string{"nginx", "caddy"} {
		fmt.Fprintf(t.out, "curl -H \"Authorization: Bearer $token\" --unix-socket %s http://shop.example.com/orders\n", filepath.Join(t.dir, name+".sock"))
	}
	<-ctx.Done()
	return nil
}
