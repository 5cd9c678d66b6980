package refresh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A suited publisher takes what a bus does whose stream has this retention.
type suited struct {
	retention revoke.Retention
	taken     []revoke.Event
	refused   int
}

func (p *suited) Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error) {
	e, err := e.Complete(time.Now(), p.retention)
	if err != nil {
		p.refused++
		return revoke.Receipt{}, err
	}
	p.taken = append(p.taken, e)
	return revoke.Receipt{ID: e.ID, Event: e}, nil
}

// A stream may be made for tokens that live longer than those of one service. Its Manager's
// logouts are taken: for as long as the stream's tokens live where the List has followed
// it, and rather for too long than not where it has not.
func TestUntilSuitsTheStream(t *testing.T) {
	h := revoke.Retention{TokenLifetime: 3 * time.Hour, SessionLifetime: 90 * 24 * time.Hour}
	for name, follows := range map[string]bool{"followed": true, "not followed yet": false} {
		t.Run(name, func(t *testing.T) {
			p := &suited{retention: h}
			s := newSystemOf(t, revoke.Config{}, func(c *refresh.Config) { c.Publisher = p })
			f, err := replica.NewFeed(s.list)
			if err != nil {
				t.Fatal(err)
			}
			life := h.SessionLifetime
			if follows {
				life = h.TokenLifetime
				f.Begin(revoke.Now(), replica.LogInfo{Retention: h})
			}
			one := s.login(t)
			s.login(t)
			if err := s.Logout(t.Context(), one.SessionID); err != nil {
				t.Fatal(err)
			}
			if _, err := s.LogoutAll(t.Context(), "user-1"); err != nil {
				t.Fatal(err)
			}
			if len(p.taken) < 2 || (p.refused > 0) == follows {
				t.Errorf("%d events taken, %d refused", len(p.taken), p.refused)
			}
			for _, e := range p.taken {
				life := life
				if e.Kind == revoke.KindSubject { // told before the store has said anything
					life = h.SessionLifetime
				}
				if got := e.Until.Sub(e.At); got < life-time.Minute || got > life+time.Minute {
					t.Errorf("kind %s lives for %s, want %s", e.Kind, got, life)
				}
			}
			id := revoke.Identity{Issuer: issuerName, Session: one.SessionID, Subject: "user-1", IssuedAt: time.Now()}
			if err := s.list.Check(revoke.Now(), &id, revoke.InsecureAllow()); !errors.Is(err, revoke.ErrRevoked) {
				t.Errorf("not revoked here at once: %v", err)
			}
		})
	}
}

// Invariant 9: a reason that no event may have is refused before anything is done. Were
// it recorded, the session would be over in the store and no service would ever be told,
// and the subject could never again be logged out everywhere.
func TestReasonsThatNoEventTakes(t *testing.T) {
	long := strings.Repeat("x", revoke.MaxReasonBytes+1)
	for name, text := range map[string]string{"long": long, "no UTF-8": "caf\xe9"} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			g, keep := s.login(t), s.login(t)
			everywhere := func(o ...refresh.LogoutAllOption) error {
				_, err := s.LogoutAll(t.Context(), "user-1", append(o, refresh.Keep(keep.SessionID))...)
				return err
			}
			for call, err := range map[string]error{
				"Revoke, reason":     s.Revoke(t.Context(), g.SessionID, text, ""),
				"Revoke, actor":      s.Revoke(t.Context(), g.SessionID, "", text),
				"LogoutAll, reason":  everywhere(refresh.Because(text)),
				"LogoutAll, actor":   everywhere(refresh.By(text)),
				"LogoutAll, subject": func() error { _, err := s.LogoutAll(t.Context(), strings.Repeat(text, 8)); return err }(),
			} {
				if !errors.Is(err, revoke.ErrInvalidEvent) || errors.Is(err, refresh.ErrTryAgain) || errors.Is(err, refresh.ErrLoginAgain) {
					t.Errorf("%s: %v", call, err)
				}
			}
			g = s.refresh(t, g) // nothing was done
			if err := everywhere(refresh.Because(long[1:]), refresh.By(long[1:])); err != nil {
				t.Fatal(err)
			}
			s.dead(t, g)
			s.accepted(t, keep)
			if err := s.Revoke(t.Context(), keep.SessionID, long[1:], long[1:]); err != nil {
				t.Fatal(err)
			}
			s.dead(t, keep)
		})
	}
}
