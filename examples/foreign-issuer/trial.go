package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// A trial plays through what is expected of the service.
type trial struct {
	*world
	out      io.Writer
	patience time.Duration
}

func (t *trial) play(ctx context.Context, stay bool) error {
	laptop, phone, bob := t.browser("alice"), t.browser("alice"), t.browser("bob")
	t.say("Alice logs in at the provider, on a laptop and a phone, and Bob does: the service accepts their tokens.")
	for _, b := range []*browser{laptop, phone, bob} {
		if err := b.login(ctx); err != nil {
			return fmt.Errorf("%s logs in: %w", b.user, err)
		}
		if err := t.answers(ctx, b.user+"'s token", b.access, 200); err != nil {
			return err
		}
	}
	claims := func(b *browser) (*token.Claims, error) { return t.verifier.Verify(ctx, b.access) }

	t.say("One token of the laptop leaks: we revoke its jti. The laptop refreshes, and goes on.")
	c, err := claims(laptop)
	if err != nil {
		return err
	}
	leaked := laptop.access
	if err := t.revoke(ctx, revoke.Event{Kind: revoke.KindToken, Value: c.ID(), Until: c.ExpiresAt(), Reason: "leaked"}, leaked); err != nil {
		return err
	}
	if err := laptop.renew(ctx); err != nil {
		return err
	}
	if err := t.answers(ctx, "the laptop's next token", laptop.access, 200); err != nil {
		return err
	}

	t.say("We end the laptop's session: its sid. What the provider still refreshes is refused as well; the phone goes on.")
	if c, err = claims(laptop); err != nil {
		return err
	}
	if c.SessionID() == "" {
		return errors.New("NOT AS EXPECTED: the provider's tokens have no sid")
	}
	if err := t.revoke(ctx, revoke.Event{Kind: revoke.KindSession, Value: c.SessionID(), Reason: "logout"}, laptop.access); err != nil {
		return err
	}
	if err := laptop.renew(ctx); err != nil {
		return err
	}
	if err := t.answers(ctx, "what the laptop has refreshed", laptop.access, 401); err != nil {
		return err
	}
	if err := t.answers(ctx, "the phone's token", phone.access, 200); err != nil {
		return err
	}

	t.say("With her password, but in the same browser, she gets the same sid again: refused, until the provider has ended its session too.")
	if err := laptop.login(ctx); err != nil {
		return err
	}
	if err := t.answers(ctx, "the laptop's login", laptop.access, 401); err != nil {
		return err
	}
	if err := laptop.logout(ctx); err != nil {
		return err
	}
	if err := laptop.login(ctx); err != nil {
		return err
	}
	if err := t.answers(ctx, "the laptop's login after the provider's logout", laptop.access, 200); err != nil {
		return err
	}

	t.say("Alice's password was stolen: we revoke all that she was issued until now, her sub.")
	began := time.Now()
	if err := t.revoke(ctx, revoke.Event{Kind: revoke.KindSubject, Value: "alice", Reason: "password_change"}, phone.access, laptop.access); err != nil {
		return err
	}
	if err := t.answers(ctx, "bob's token", bob.access, 200); err != nil {
		return err
	}
	// The provider's iat are whole seconds, so that a cutoff covers the next ones, too.
	if err := t.until(ctx, "a new token of alice's is accepted", func(ctx context.Context) error {
		if err := phone.renew(ctx); err != nil {
			return err
		}
		return t.get(ctx, phone.access, 200)
	}); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "  a token issued %.1f s later is accepted\n", time.Since(began).Seconds())

	if stay {
		fmt.Fprintf(t.out, "\nTry it, and end it with Ctrl-C:\n\ntoken=%s\ncurl -H \"Authorization: Bearer $token\" %s/orders\ncurl %s/.well-known/openid-configuration\n", bob.access, t.service, t.issuer)
		<-ctx.Done()
		return nil
	}
	t.say("The provider stops. The service verifies on, and we go on revoking.")
	t.stop()
	if err := t.answers(ctx, "bob's token", bob.access, 200); err != nil {
		return err
	}
	if err := t.revoke(ctx, revoke.Event{Kind: revoke.KindSubject, Value: "bob", Reason: "ban"}, bob.access); err != nil {
		return err
	}
	fmt.Fprintln(t.out, "\nall expectations held")
	return nil
}

func (t *trial) say(format string, args ...any) { fmt.Fprintf(t.out, "\n"+format+"\n", args...) }

// revoke publishes an event, and waits until the service refuses those tokens.
func (t *trial) revoke(ctx context.Context, e revoke.Event, tokens ...string) error {
	began := time.Now()
	if _, err := t.revoker.Publish(ctx, e); err != nil {
		return err
	}
	for _, raw := range tokens {
		if err := t.answers(ctx, fmt.Sprintf("a token whose %v was revoked", e.Kind), raw, 401); err != nil {
			return err
		}
	}
	fmt.Fprintf(t.out, "  refused after %.1f ms\n", float64(time.Since(began).Microseconds())/1000)
	return nil
}

// answers waits until the service answers with that status.
func (t *trial) answers(ctx context.Context, what, raw string, status int) error {
	return t.until(ctx, fmt.Sprintf("the service answers %d to %s", status, what), func(ctx context.Context) error { return t.get(ctx, raw, status) })
}

// until asks again until f has no error.
func (t *trial) until(ctx context.Context, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, t.patience)
	defer cancel()
	last := errors.New("it was not asked")
	for wait := time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
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
		case <-time.After(wait):
		}
	}
}

func (t *trial) get(ctx context.Context, raw string, want int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.service+"/orders", nil)
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
