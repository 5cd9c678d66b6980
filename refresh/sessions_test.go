package refresh_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What is over is on no page of devices, also while the services do not know it.
func TestPendingIsNotListed(t *testing.T) {
	s := newSystem(t)
	stays, g := s.login(t), s.login(t)
	s.fail = errors.New("bus down")
	if err := s.Logout(t.Context(), g.SessionID); !errors.Is(err, refresh.ErrPending) {
		t.Fatal(err)
	}
	if list, err := s.Sessions(t.Context(), g.Subject); err != nil || len(list) != 1 || list[0].ID != stays.SessionID {
		t.Errorf("%v, %v", list, err)
	}
}

func TestReauthenticate(t *testing.T) {
	s := newSystem(t)
	old := s.login(t, func(l *refresh.Login) {
		l.Claims, l.ACR, l.Device = map[string]any{"role": "admin"}, "bronze", refresh.Device{Label: "phone"}
	})
	g, err := s.Reauthenticate(t.Context(), old.SessionID, refresh.Login{AuthTime: time.Now(), ACR: "gold"})
	if err != nil {
		t.Fatal(err)
	}
	c := s.accepted(t, g)
	if role, _ := c.Claim("role"); g.SessionID == old.SessionID || c.ACR() != "gold" || c.Subject() != "user-1" || string(role) != `"admin"` || !c.HasScope("write") {
		t.Errorf("reauthenticated as %v", c)
	}
	s.dead(t, old)
	s.refused(t, old, refresh.ErrEnded)
	for want, l := range map[error]refresh.Login{
		refresh.ErrLogin: {Subject: "user-2", AuthTime: time.Now()},
		refresh.ErrEnded: {AuthTime: time.Now(), Client: "web"},
	} {
		sid := g.SessionID
		if want == refresh.ErrEnded {
			sid = old.SessionID
		}
		if _, err := s.Reauthenticate(t.Context(), sid, l); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	s.accepted(t, g)
}

// A session that an operator ends while its user is authenticated again has no heir.
func TestReauthenticateAnEndedOne(t *testing.T) {
	store := &endedMeanwhile{}
	s := newSystem(t, func(c *refresh.Config) { store.Store, c.Store = c.Store, store })
	g := s.login(t)
	store.end = func() {
		if err := s.Revoke(t.Context(), g.SessionID, "stolen laptop", "operator"); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrEnded) {
		t.Errorf("%v, want ErrEnded", err)
	}
	if left, err := s.Sessions(t.Context(), "user-1"); err != nil || len(left) != 0 {
		t.Errorf("sessions left: %v, %v", left, err)
	}
}

// Nor has one that somebody revoked on the bus.
func TestReauthenticateARevokedOne(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	if err := s.list.Apply(revoke.Now(), revoke.Event{Issuer: issuerName, Kind: revoke.KindSession, Value: g.SessionID}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrEnded) {
		t.Errorf("%v, want ErrEnded", err)
	}
}

// The devices page, and the limit of sessions.
func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *refresh.Config) { c.MaxSessions = 3 })
		var grants []*refresh.Grant
		for i := range 5 {
			grants = append(grants, s.login(t, func(l *refresh.Login) {
				l.Device = refresh.Device{Label: fmt.Sprint("device ", i), Address: "192.0.2.1"}
			}))
			time.Sleep(time.Second)
		}
		s.dead(t, grants[0])
		s.dead(t, grants[1])
		s.accepted(t, grants[2])
		s.refresh(t, grants[3], func(r *refresh.Request) { r.Device = refresh.Device{Label: "moved"} })
		list, err := s.Sessions(t.Context(), "user-1")
		if err != nil || len(list) != 3 || list[0].ID != grants[4].SessionID || list[1].Device.Label != "moved" || list[2].Device.Address != "192.0.2.1" ||
			!list[1].LastUsed.After(list[1].Created) || list[0].Client != "web" {
			t.Fatalf("%+v, %v", list, err)
		}
		if list, err := s.Sessions(t.Context(), "nobody"); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
		time.Sleep(2 * time.Hour)
		if list, err := s.Sessions(t.Context(), "user-1"); err != nil || len(list) != 0 {
			t.Errorf("expired ones are shown: %v, %v", list, err)
		}
	})
}
