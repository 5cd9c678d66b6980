package refresh

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/revoke/revoketest"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// busPublisher publishes on a bus in memory.
type busPublisher struct{ bus *revoketest.Bus }

func (p busPublisher) Publish(_ context.Context, e revoke.Event) (revoke.Receipt, error) {
	e, err := p.bus.Publish(e)
	return revoke.Receipt{ID: e.ID, Event: e}, err
}

// onBus makes a Manager whose replica and clock are a member's of bus.
func onBus(t *testing.T, bus *revoketest.Bus, change ...func(*Config)) (*Manager, *revoketest.Member) {
	t.Helper()
	member, err := bus.Join(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: simRing(t)})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Issuer: issuer, Store: NewMemoryStore(), Revocations: member.List(), Publisher: busPublisher{bus}, Lifetimes: Web}
	for _, c := range change {
		c(&cfg)
	}
	m, err := newManager(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.now = member.Now
	m.mint = func(_ context.Context, r issue.Request) (minted, error) {
		return minted{"token", r.IssuedAt.Add(r.Lifetime)}, nil // the Issuer's clock is this machine's
	}
	return m, member
}

// A Manager whose clock is off by more than clocks may differ takes no session for expired
// and mints nothing until the clock is set: its users try again, perhaps at an instance
// whose clock is right, and are not told to log in.
func TestClockIsOff(t *testing.T) {
	for name, c := range map[string]struct {
		off  time.Duration
		want error
	}{
		"61 minutes ahead":  {61 * time.Minute, ErrClock},
		"61 minutes behind": {-61 * time.Minute, ErrClock},
		"3 s ahead":         {3 * time.Second, ErrClock},
		"as far as allowed": {2 * time.Second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				bus := revoketest.NewBus(revoketest.Config{})
				m, member := onBus(t, bus, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
				bus.Advance(10 * time.Second)
				g := m.mustLogin(t)
				keep := m.mustLogin(t)
				member.SetSkew(c.off)
				bus.Advance(10 * time.Second)
				_, err := m.Refresh(t.Context(), Request{Token: g.RefreshToken(), Client: "web"})
				_, loginErr := m.Login(t.Context(), Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: m.now().Time()})
				_, againErr := m.Reauthenticate(t.Context(), keep.SessionID, Login{AuthTime: m.now().Time()})
				for call, err := range map[string]error{"Refresh": err, "Login": loginErr, "Reauthenticate": againErr} {
					if !errors.Is(err, c.want) || err == nil != (c.want == nil) || errors.Is(err, ErrLoginAgain) || err != nil && !errors.Is(err, ErrTryAgain) {
						t.Errorf("%s: %v, want %v", call, err, c.want)
					}
				}
				if off := m.Status().ClockAhead; (off == 0) != (c.want == nil) || (c.off-off).Abs() > 2*time.Second && off != 0 {
					t.Errorf("Status tells of %s", off)
				}
				if n := strings.Count(log.String(), "clock is off"); (n == 1) != (c.want != nil) {
					t.Errorf("logged %d times: %s", n, &log)
				}
				if c.want == nil {
					return
				}
				if err := m.Logout(t.Context(), keep.SessionID); err != nil { // which needs no clock
					t.Error(err)
				}
				member.SetSkew(0)
				bus.Advance(10 * time.Second)
				if _, err := m.Refresh(t.Context(), Request{Token: g.RefreshToken(), Client: "web"}); err != nil {
					t.Errorf("once the clock is set: %v", err)
				}
			})
		})
	}
}
