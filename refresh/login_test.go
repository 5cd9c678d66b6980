package refresh_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// A session ends with its last access token at the latest: the exp that is signed, not only
// the one in the Grant.
func TestNoTokenOutlivesItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *refresh.Config) {
			c.Lifetimes.Absolute, c.Lifetimes.Idle, c.Lifetimes.Access = 20*time.Minute, 20*time.Minute, 15*time.Minute
		})
		g := s.login(t)
		for range 3 {
			if exp := s.accepted(t, g).ExpiresAt(); exp.After(g.SessionExpires) || !exp.Equal(g.AccessExpires) {
				t.Errorf("exp %s, the session ends %s, the grant says %s", exp, g.SessionExpires, g.AccessExpires)
			}
			time.Sleep(6 * time.Minute)
			g = s.refresh(t, g)
		}
		if left := time.Until(s.accepted(t, g).ExpiresAt()); left > 2*time.Minute {
			t.Errorf("the last token lives for %s, the session for two minutes", left)
		}
	})
}

func TestLoginRefusals(t *testing.T) {
	s := newSystem(t)
	good := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
	for field, change := range map[string]func(*refresh.Login){
		"Subject":     func(l *refresh.Login) { l.Subject = "" },
		"Client":      func(l *refresh.Login) { l.Client = "" },
		"Audience":    func(l *refresh.Login) { l.Audience = nil },
		"AuthTime":    func(l *refresh.Login) { l.AuthTime = time.Time{} },
		"future":      func(l *refresh.Login) { l.AuthTime = time.Now().Add(time.Minute) },
		"longer":      func(l *refresh.Login) { l.AuthTime = time.Now().Add(-25 * time.Hour) },
		"Subject has": func(l *refresh.Login) { l.Subject = strings.Repeat("x", 513) },
		"Client is":   func(l *refresh.Login) { l.Client = "caf\xe9" },
		"Tenant has":  func(l *refresh.Login) { l.Tenant = strings.Repeat("x", 513) },
		"Claims":      func(l *refresh.Login) { l.Claims = map[string]any{"x": strings.Repeat("x", 17<<10)} },
		// What no token can say: trying again, as ErrMint says, is useless.
		"Audience holds": func(l *refresh.Login) { l.Audience = []string{""} },
		"Scope holds":    func(l *refresh.Login) { l.Scope = []string{"read write"} },
		"Binding":        func(l *refresh.Login) { l.Binding = token.Binding{KeyThumbprint: "x"} },
		"claim iss":      func(l *refresh.Login) { l.Claims = map[string]any{"iss": "x"} },
		"MaxTokenBytes":  func(l *refresh.Login) { l.Claims = map[string]any{"x": strings.Repeat("x", 15<<10)} },
	} {
		l := good
		change(&l)
		refused := func(err error) bool {
			return errors.Is(err, refresh.ErrLogin) && strings.Contains(err.Error(), field) &&
				!errors.Is(err, refresh.ErrTryAgain) && !errors.Is(err, refresh.ErrLoginAgain)
		}
		if _, err := s.Login(t.Context(), l); !refused(err) {
			t.Errorf("%s: %v", field, err)
		}
		// No session is lost by it.
		g := s.login(t)
		if _, err := s.Reauthenticate(t.Context(), g.SessionID, l); !refused(err) && l.Subject == good.Subject && l.Client == good.Client && l.Audience != nil {
			t.Errorf("%s, in authenticating again: %v", field, err)
		} else if err != nil {
			s.refresh(t, g)
		}
	}
	if _, err := s.Login(t.Context(), good); err != nil {
		t.Error(err)
	}
	good.Subject, good.Client, good.Tenant = strings.Repeat("s", 512), strings.Repeat("c", 512), strings.Repeat("t", 512)
	if _, err := s.Login(t.Context(), good); err != nil {
		t.Error(err)
	}
}

// A session is refreshed until its last second, which is the shortest life of a token, and not
// beyond.
func TestLastSecondOfASession(t *testing.T) {
	for left, want := range map[time.Duration]error{
		time.Second + time.Millisecond: nil, time.Second: nil, time.Second - time.Millisecond: refresh.ErrSessionExpired,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t, func(c *refresh.Config) {
				c.Lifetimes = refresh.Lifetimes{Idle: time.Hour, Absolute: time.Hour, Access: 10 * time.Second}
			})
			g := s.login(t)
			time.Sleep(time.Hour - left)
			if want != nil {
				s.refused(t, g, want)
				return
			}
			if next := s.refresh(t, g); next.AccessExpires.After(g.SessionExpires) {
				t.Errorf("with %s left the token ends %s, the session %s", left, next.AccessExpires, g.SessionExpires)
			}
		})
	}
}

// Claims have at most 16 KiB as JSON; what is refused beyond is their size, and below it at most
// that of the token.
func TestClaimsAtTheLimit(t *testing.T) {
	s := newSystem(t)
	for over, want := range map[int]string{0: "MaxTokenBytes", 1: "field Claims have 16385 bytes"} {
		_, err := s.Login(t.Context(), refresh.Login{
			Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now(),
			Claims: map[string]any{"x": strings.Repeat("x", 16<<10-len(`{"x":""}`)+over)},
		})
		if !errors.Is(err, refresh.ErrLogin) || !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes over: %v, want %q", over, err, want)
		}
	}
}

// What is no session id has no successor, nor has a session whose time is over.
func TestReauthenticateWhatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		for _, sid := range []string{"", "x", strings.Repeat("A", 21), strings.Repeat("A", 23), strings.Repeat("A", 21) + "\n"} {
			if _, err := s.Reauthenticate(t.Context(), sid, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrLogin) {
				t.Errorf("%q: %v", sid, err)
			}
		}
		if _, err := s.Reauthenticate(t.Context(), strings.Repeat("A", 22), refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrUnknown) {
			t.Errorf("of no session: %v", err)
		}
		for late, want := range map[time.Duration]error{0: nil, time.Millisecond: refresh.ErrSessionExpired} {
			g := s.login(t)
			time.Sleep(refresh.Web.Idle + late)
			if _, err := s.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, want) {
				t.Errorf("%s after its end: %v, want %v", late, err, want)
			}
		}
	})
}
