package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A trial plays through what is expected of the three APIs.
type trial struct {
	*world
	out      io.Writer
	patience time.Duration
	carol    *issue.Token // of her login, after everything
}

func (t *trial) play(ctx context.Context) error {
	login := func(user, session string, after revoke.Receipt) (string, error) {
		issued, err := t.issuer.Issue(ctx, issue.Request{Subject: user, Client: "web", Session: session, Audience: []string{"orders"}, After: after})
		if err != nil {
			return "", err
		}
		return issued.Raw(), nil
	}
	laptopSession, phoneSession, tabletSession := rand.Text(), rand.Text(), rand.Text()
	raw := map[string]string{}
	for name, session := range map[string]string{"laptop": laptopSession, "phone": phoneSession, "tablet": tabletSession} {
		var err error
		if raw[name], err = login("alice", session, revoke.Receipt{}); err != nil {
			return err
		}
	}
	bob, err := login("bob", rand.Text(), revoke.Receipt{})
	if err != nil {
		return err
	}

	t.say("The issuer's keys cannot be had yet: it answers 503, then with a page. All three answer 503, for nobody can know.")
	for _, keys := range []int32{keysBusy, keysPage} {
		t.keys.Store(keys)
		if err := t.all(ctx, "bob's", bob, 503); err != nil {
			return err
		}
	}
	t.keys.Store(keysThere)

	t.say("Alice logs in on a laptop, a phone and a tablet, Bob on one device: Go, Node and Python accept all.")
	for _, name := range []string{"laptop", "phone", "tablet"} {
		if err := t.all(ctx, "alice's "+name, raw[name], 200); err != nil {
			return err
		}
	}
	if err := t.all(ctx, "bob's", bob, 200); err != nil {
		return err
	}

	t.say("Node publishes: Alice's session on the laptop has ended.")
	began := time.Now()
	seq, err := t.publish(map[string]any{"kind": "session", "value": laptopSession, "reason": "logout"})
	if err != nil {
		return fmt.Errorf("node publishes: %w", err)
	}
	if err := t.refused(ctx, "alice's laptop", raw["laptop"], began); err != nil {
		return err
	}
	if err := t.expires(ctx, seq); err != nil {
		return err
	}

	t.say("Node publishes: a token with an exp in the year 2286 is revoked.")
	if seq, err = t.publish(map[string]any{"kind": "token", "value": "for-ever", "until": 9999999999_000}); err != nil {
		return fmt.Errorf("node publishes: %w", err)
	}
	if err := t.expires(ctx, seq); err != nil {
		return err
	}

	t.say("Go publishes: Alice has changed her password on the tablet, whose session goes on.")
	began = time.Now()
	receipt, err := t.auth.Publish(ctx, revoke.Event{Kind: revoke.KindSubject, Value: "alice", Keep: []string{tabletSession}, Reason: "password_change"})
	if err != nil {
		return fmt.Errorf("go publishes: %w", err)
	}
	if err := t.refused(ctx, "alice's phone", raw["phone"], began); err != nil {
		return err
	}
	anew, err := login("alice", rand.Text(), receipt)
	if err != nil {
		return err
	}
	for name, raw := range map[string]string{"alice's tablet": raw["tablet"], "alice's new login": anew, "bob's": bob} {
		if err := t.all(ctx, name, raw, 200); err != nil {
			return err
		}
	}

	t.say("Node publishes: Bob is banned.")
	began = time.Now()
	if _, err := t.publish(map[string]any{"kind": "subject", "value": "bob", "reason": "ban"}); err != nil {
		return fmt.Errorf("node publishes: %w", err)
	}
	if err := t.refused(ctx, "bob's", bob, began); err != nil {
		return err
	}

	t.say("Heartbeats: Go finds that Node holds the same log.")
	if err := t.until(ctx, "Go agrees with a digest of Node's", func(context.Context) error {
		if s := t.list.Stats(revoke.Now()); s.Agreed == 0 || s.Disputed > 0 {
			return fmt.Errorf("agreed %d, disputed %d", s.Agreed, s.Disputed)
		}
		return nil
	}); err != nil {
		return err
	}
	if said := t.stderr.String(); strings.Contains(said, "disagrees") {
		return fmt.Errorf("node does not agree with a digest of Go's:\n%s", said)
	}

	t.say("NATS stops: within %v nobody knows, and all answer 503. What is known to be revoked stays refused.", maxStaleness)
	if err := t.bus.Close(); err != nil {
		return err
	}
	if err := t.all(ctx, "alice's tablet", raw["tablet"], 503); err != nil {
		return err
	}
	if err := t.all(ctx, "bob's", bob, 401); err != nil {
		return err
	}
	t.say("NATS is back, with its disk: all go on.")
	if err := t.startBus(ctx, t.address); err != nil {
		return err
	}
	for name, raw := range map[string]string{"alice's tablet": raw["tablet"], "alice's new login": anew} {
		if err := t.all(ctx, name, raw, 200); err != nil {
			return err
		}
	}
	if err := t.all(ctx, "bob's", bob, 401); err != nil {
		return err
	}
	t.say("NATS has lost its disk. The APIs refuse whom they know, and go on; the publishers bring back what they have published.")
	if err := t.loseDisk(ctx); err != nil {
		return err
	}
	for name, raw := range map[string]string{"alice's laptop": raw["laptop"], "alice's phone": raw["phone"], "bob's": bob} {
		if err := t.all(ctx, name, raw, 401); err != nil {
			return err
		}
	}
	if err := t.all(ctx, "alice's tablet", raw["tablet"], 200); err != nil {
		return err
	}

	began = time.Now()
	if _, err := t.publish(map[string]any{"kind": "issuer", "reason": "drill"}); err != nil {
		return fmt.Errorf("node publishes: %w", err)
	}
	t.say("Node publishes the red button: everybody's tokens.")
	if err := t.refused(ctx, "alice's new login", anew, began); err != nil {
		return err
	}
	if err := t.until(ctx, "the stream holds the laptop's session again", t.heldAgain); err != nil {
		return err
	}

	t.say("Carol logs in after that: Go, Node and Python accept her, as everybody who logs in anew.")
	// Node's cutoff has no Receipt here; none that it has made by now reaches further.
	drill := revoke.Event{Kind: revoke.KindIssuer, Issuer: t.issuerURL, Before: time.Now().Add(revoke.DefaultRetention().Slack())}
	if t.carol, err = t.issuer.Issue(ctx, issue.Request{
		Subject: "carol", Client: "web", Session: "s1", Audience: []string{"orders"}, After: revoke.Receipt{Event: drill},
	}); err != nil {
		return err
	}
	if err := t.all(ctx, "carol's", t.carol.Raw(), 200); err != nil {
		return err
	}
	fmt.Fprintln(t.out, "\nall expectations held")
	return nil
}

func (t *trial) say(format string, args ...any) { fmt.Fprintf(t.out, "\n"+format+"\n", args...) }

// all waits until every API answers with that status.
func (t *trial) all(ctx context.Context, what, raw string, status int) error {
	for _, a := range t.apis {
		err := t.until(ctx, fmt.Sprintf("%s answers %d to %s", a.name, status, what), func(ctx context.Context) error {
			return get(ctx, a, raw, status)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// refused waits until every API refuses a token, and prints how long that took.
func (t *trial) refused(ctx context.Context, what, raw string, began time.Time) error {
	var wg sync.WaitGroup
	took, errs := make([]time.Duration, len(t.apis)), make([]error, len(t.apis))
	for i, a := range t.apis {
		wg.Go(func() {
			errs[i] = t.until(ctx, fmt.Sprintf("%s refuses %s", a.name, what), func(ctx context.Context) error { return get(ctx, a, raw, 401) })
			took[i] = time.Since(began)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "  refused after")
	for i, a := range t.apis {
		fmt.Fprintf(t.out, "  %s %.1f ms", a.name, float64(took[i].Microseconds())/1000)
	}
	fmt.Fprintln(t.out)
	return nil
}

// expires looks at what Node has stored, as bus/WIRE.md advises.
func (t *trial) expires(ctx context.Context, seq uint64) error {
	nc, err := nats.Connect(t.bus.URL())
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, bus.DefaultStream)
	if err != nil {
		return err
	}
	m, err := stream.GetMsg(ctx, seq)
	if err != nil {
		return fmt.Errorf("what Node has stored: %w", err)
	}
	life, err := time.ParseDuration(m.Header.Get(jetstream.MsgTTLHeader) + "s")
	if err != nil || life < revoke.DefaultRetention().TokenLifetime {
		return fmt.Errorf("what Node has stored lives for %q: it has to be whole seconds, and longer than any token", m.Header.Get(jetstream.MsgTTLHeader))
	}
	if life > 2*revoke.MaxLifetime {
		return fmt.Errorf("what Node has stored lives for %v: the server drops at once what is to outlive the year 2262", life)
	}
	fmt.Fprintf(t.out, "  it leaves the stream after %v\n", life)
	return nil
}

// loseDisk stops the server, and starts it with an empty disk.
func (t *trial) loseDisk(ctx context.Context) error {
	if err := t.bus.Close(); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(t.dir, "nats")); err != nil {
		return err
	}
	return t.startBus(ctx, t.address)
}

// heldAgain looks for the event of kind session, which Node had published before the disk was lost.
func (t *trial) heldAgain(ctx context.Context) error {
	nc, err := nats.Connect(t.bus.URL())
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, bus.DefaultStream)
	if err != nil {
		return err
	}
	_, err = stream.GetLastMsgForSubject(ctx, bus.Subject(t.issuerURL, revoke.KindSession))
	return err
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

func get(ctx context.Context, a api, raw string, want int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+"/orders", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+raw)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("it answers %d", resp.StatusCode)
	}
	return err
}

// stay tells how to try things, until it is interrupted.
func (t *trial) stay(ctx context.Context) error {
	fmt.Fprintf(t.out, "\nTry it, and end it with Ctrl-C. A token of carol's, session s1, until %s:\n\ntoken=%s\n", t.carol.Claims().ExpiresAt().Format(time.TimeOnly), t.carol.Raw())
	for _, a := range t.apis {
		fmt.Fprintf(t.out, "curl -H \"Authorization: Bearer $token\" %s/orders\n", a.url)
	}
	<-ctx.Done()
	return nil
}
