package refresh_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A session that is over while the services do not know it is told of in the log at each use, and
// not once they do.
func TestPendingEndIsLogged(t *testing.T) {
	var logged bytes.Buffer
	s := newSystem(t, func(c *refresh.Config) { c.Logger = slog.New(slog.NewTextHandler(&logged, nil)) })
	g := s.login(t)
	s.fail = errors.New("bus down")
	if err := s.Logout(t.Context(), g.SessionID); !errors.Is(err, refresh.ErrPending) {
		t.Fatal(err)
	}
	for range 2 {
		logged.Reset()
		s.refused(t, g, refresh.ErrEnded)
		if n := strings.Count(logged.String(), "the services do not know it yet"); n != 1 || !strings.Contains(logged.String(), "sid="+g.SessionID) {
			t.Errorf("logged %d times: %s", n, &logged)
		}
	}
	s.fail = nil
	s.refused(t, g, refresh.ErrEnded) // which tells the services
	logged.Reset()
	s.refused(t, g, refresh.ErrEnded)
	if strings.Contains(logged.String(), "do not know") {
		t.Errorf("logged: %s", &logged)
	}
	s.dead(t, g)
}
