package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// A trial knows what every service is to answer to every token, and asks. After an
// error it does nothing more.
type trial struct {
	out          io.Writer
	auth         *auth
	services     []*service
	grants       []*grant
	patience     time.Duration // for refusals
	rows         []string      // of the table
	held, broken int           // expectations
	err          error
}

// A grant is an access token that was issued.
type grant struct {
	name, raw, jti string
	expires        time.Time
	revoked        bool
}

func (t *trial) say(text string) {
	if t.err == nil {
		fmt.Fprintf(t.out, "\n%s\n", text)
	}
}

// login has a token issued, which is to be accepted from now on.
func (t *trial) login(ctx context.Context, user, device, session string) *grant {
	issued, err := t.auth.issue(ctx, user, session)
	if err != nil {
		t.err = err
		return &grant{}
	}
	claims := issued.Claims()
	g := &grant{name: user + "'s " + device, raw: issued.Raw(), jti: claims.ID(), expires: claims.ExpiresAt()}
	t.grants = append(t.grants, g)
	return g
}

// rotate makes a new signing key and returns the one that it replaces.
func (t *trial) rotate(ctx context.Context) *token.Key {
	old := t.auth.ring.Active()
	if _, err := t.auth.ring.Rotate(ctx); err != nil {
		t.err = err
	}
	return old
}

func (t *trial) expect(ok bool, format string, args ...any) {
	if ok {
		t.held++
		return
	}
	t.broken++
	fmt.Fprintf(t.out, "  NOT AS EXPECTED: "+format+"\n", args...)
}

// check asks every service about every token.
func (t *trial) check(ctx context.Context) {
	if t.err != nil {
		return
	}
	for _, s := range t.services {
		accepted, refused := 0, 0
		for _, g := range t.grants {
			want := http.StatusOK
			if g.revoked {
				want = http.StatusUnauthorized
			}
			got, err := s.get(ctx, g.raw)
			if t.err = ctx.Err(); t.err != nil {
				return
			}
			t.expect(err == nil && got == want, "%s answers %d to %s, not %d (error: %v)", s.name, got, g.name, want, err)
			switch got {
			case http.StatusOK:
				accepted++
			case http.StatusUnauthorized:
				refused++
			}
		}
		fmt.Fprintf(t.out, "  %-8s accepts %d and refuses %d of %d tokens\n", s.name, accepted, refused, len(t.grants))
	}
}

// revoke publishes e while every service is asked about the doomed tokens over and
// over, and measures when each refused them. Then it checks every token.
func (t *trial) revoke(ctx context.Context, what string, e revoke.Event, doomed ...*grant) {
	if t.err != nil {
		return
	}
	asking, cancel := context.WithTimeout(ctx, t.patience)
	defer cancel()
	refused := make([]time.Time, len(t.services))
	var connected, done sync.WaitGroup
	for i, s := range t.services {
		connected.Add(1)
		done.Go(func() {
			_, _ = s.get(asking, doomed[0].raw)
			connected.Done()
			refused[i] = s.awaitRefusal(asking, doomed)
		})
	}
	connected.Wait()
	began := time.Now()
	_, t.err = t.auth.bus.Publish(ctx, e)
	acknowledged := time.Now()
	if t.err != nil {
		cancel()
	}
	if done.Wait(); t.err == nil {
		t.err = ctx.Err()
	}
	if t.err != nil {
		return
	}
	row := fmt.Sprintf("%-12s%13s", what, since(began, acknowledged))
	for i, s := range t.services {
		t.expect(!refused[i].IsZero(), "%s goes on accepting %s for %s", s.name, doomed[0].name, t.patience)
		row += fmt.Sprintf("%10s", since(began, refused[i]))
	}
	last := slices.MaxFunc(refused, time.Time.Compare)
	if slices.ContainsFunc(refused, time.Time.IsZero) {
		last = time.Time{}
	}
	t.rows = append(t.rows, row+fmt.Sprintf("%12s", since(began, last)))
	for _, g := range doomed {
		g.revoked = true
	}
	t.check(ctx)
}

// awaitRefusal asks until each of the tokens has been refused, and returns when that
// was: the zero time if ctx ended first.
func (s *service) awaitRefusal(ctx context.Context, tokens []*grant) time.Time {
	for _, g := range tokens {
		for status := 0; status != http.StatusUnauthorized; status, _ = s.get(ctx, g.raw) {
			if ctx.Err() != nil {
				return time.Time{}
			}
		}
	}
	return time.Now()
}

func since(began, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%.2f", float64(t.Sub(began))/float64(time.Millisecond))
}

// verdict prints the table and returns nil if every expectation held.
func (t *trial) verdict() error {
	if t.err != nil {
		return t.err
	}
	fmt.Fprint(t.out, "\nMilliseconds from just before Publish until it was acknowledged and until each service refused; one sample each:\n\n")
	fmt.Fprintf(t.out, "%-12s%13s", "revoked", "acknowledged")
	for _, s := range t.services {
		fmt.Fprintf(t.out, "%10s", s.name)
	}
	fmt.Fprintf(t.out, "%12s\n", "everywhere")
	for _, r := range t.rows {
		fmt.Fprintln(t.out, r)
	}
	if t.broken > 0 {
		return fmt.Errorf("%d of %d expectations did not hold", t.broken, t.broken+t.held)
	}
	fmt.Fprintf(t.out, "\nall %d expectations held\n", t.held)
	return nil
}
