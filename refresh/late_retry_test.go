package refresh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

const day = 24 * time.Hour

// A phone that slept through the answer is given a new successor, and the one that waited
// is burnt: anyone who presents it is a thief, since two held a successor of one token.
func TestLateRetry(t *testing.T) {
	for _, slept := range []time.Duration{13 * time.Second, time.Minute, 9 * time.Hour} {
		t.Run(slept.String(), func(t *testing.T) { lateRetry(t, slept) })
	}
}

func lateRetry(t *testing.T, slept time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		var told, replays []string
		s := newSystem(t, func(c *refresh.Config) {
			c.Lifetimes = refresh.Consumer
			c.OnLate = func(_ context.Context, x refresh.Session) { told = append(told, x.ID) }
			c.OnReplay = func(_ context.Context, x refresh.Session) { replays = append(replays, x.ID) }
		})
		g := s.login(t)
		waiting := s.refresh(t, g) // the answer is lost
		time.Sleep(slept)
		late := s.refresh(t, g)
		if late.RefreshToken() == waiting.RefreshToken() || late.RefreshToken() == g.RefreshToken() {
			t.Fatal("a late retry is handed the successor that waited")
		}
		if len(told) != 1 || told[0] != g.SessionID {
			t.Fatalf("the application was told of %v", told)
		}
		s.accepted(t, late)
		time.Sleep(11 * time.Second)
		if again := s.refresh(t, g); again.RefreshToken() != late.RefreshToken() { // this answer was lost, too
			t.Fatal("a retry of a late retry has another successor")
		}
		next := s.refresh(t, late)
		time.Sleep(time.Hour)
		next = s.refresh(t, next)
		s.refused(t, waiting, refresh.ErrReused)
		s.dead(t, next)
		s.refused(t, next, refresh.ErrEnded)
		if len(replays) != 1 || len(told) != 1 {
			t.Errorf("told of %v, of replays %v", told, replays)
		}
	})
}

// The ration: once a day and three times in a session's life; only of the immediate
// predecessor, whose successor nobody has presented; in HighSecurity only for sessions bound to
// a key, in Web for none.
func TestLateRation(t *testing.T) {
	bound := token.Binding{KeyThumbprint: strings.Repeat("A", 43)}
	for name, c := range map[string]struct {
		lifetimes refresh.Lifetimes
		binding   token.Binding
		steps     string // r: refresh, answered; l: refresh, the answer is lost; digits: hours that pass; !: the token before the last but one
		want      error  // of the last
	}{
		"once":                              {refresh.Consumer, token.Binding{}, "l9l", nil},
		"bound in Consumer":                 {refresh.Consumer, bound, "l9l", nil},
		"twice in a day":                    {refresh.Consumer, token.Binding{}, "l9l9l", refresh.ErrReused},
		"twice in a day, other tokens":      {refresh.Consumer, token.Binding{}, "l9r1l9l", refresh.ErrReused},
		"a day later":                       {refresh.Consumer, token.Binding{}, "l9l999l", nil},
		"three times":                       {refresh.Consumer, token.Binding{}, "l9l999l999l", nil},
		"four times":                        {refresh.Consumer, token.Binding{}, "l9l999l999l999l", refresh.ErrReused},
		"the successor was presented":       {refresh.Consumer, token.Binding{}, "rr9!", refresh.ErrReused},
		"Web":                               {refresh.Web, token.Binding{}, "l@l", refresh.ErrReused},
		"HighSecurity":                      {refresh.HighSecurity, token.Binding{}, "l@l", refresh.ErrReused},
		"HighSecurity, bound":               {refresh.HighSecurity, bound, "l@l", nil},
		"HighSecurity, bound, twice":        {refresh.HighSecurity, bound, "l@l@l", refresh.ErrReused},
		"HighSecurity, bound, presented it": {refresh.HighSecurity, bound, "rr@!", refresh.ErrReused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, func(cfg *refresh.Config) { cfg.Lifetimes = c.lifetimes })
				g := s.login(t, func(l *refresh.Login) { l.Binding = c.binding })
				before := []*refresh.Grant{g}
				for i, x := range c.steps {
					switch {
					case x >= '0' && x <= '9':
						time.Sleep(time.Duration(x-'0') * time.Hour)
						continue
					case x == '@':
						time.Sleep(time.Minute)
						continue
					case x == '!':
						g = before[len(before)-3]
					}
					if i == len(c.steps)-1 && c.want != nil {
						s.refused(t, g, c.want, boundTo(c.binding))
						s.refused(t, before[len(before)-1], refresh.ErrEnded, boundTo(c.binding))
						return
					}
					next := s.refresh(t, g, boundTo(c.binding))
					if before = append(before, next); x == 'r' {
						g = next
					}
				}
			})
		})
	}
}

// Anyone who cannot prove the key has no late retry, and costs the session none.
func TestLateRetryProvesTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bound := token.Binding{KeyThumbprint: strings.Repeat("A", 43)}
		s := newSystem(t, func(cfg *refresh.Config) { cfg.Lifetimes = refresh.HighSecurity })
		g := s.login(t, func(l *refresh.Login) { l.Binding = bound })
		s.refresh(t, g, boundTo(bound))
		time.Sleep(time.Minute)
		s.refused(t, g, refresh.ErrPossession)
		s.refused(t, g, refresh.ErrClient, boundTo(bound), byClient("other"))
		s.refresh(t, s.refresh(t, g, boundTo(bound)), boundTo(bound))
	})
}

// A late retry that the application cannot answer is none: it may be tried again.
func TestLateRetryDuringOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down error
		s := newSystem(t, func(cfg *refresh.Config) {
			cfg.Lifetimes = refresh.Consumer
			cfg.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) { return refresh.Answer{}, down }
		})
		g := s.login(t)
		s.refresh(t, g)
		time.Sleep(day)
		down = errors.New("no database")
		for range 20 {
			s.refused(t, g, refresh.ErrAsk)
			time.Sleep(time.Minute)
		}
		down = nil
		s.refresh(t, s.refresh(t, g))
	})
}

// The ration is full again when LateEvery has passed since the last late retry, to the
// millisecond.
func TestLateEveryToTheMillisecond(t *testing.T) {
	for missing, want := range map[time.Duration]error{0: nil, time.Millisecond: refresh.ErrReused} {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t, func(c *refresh.Config) { c.Lifetimes = refresh.Consumer })
			g := s.login(t)
			s.refresh(t, g)
			time.Sleep(time.Hour)
			g = s.refresh(t, g) // late
			time.Sleep(time.Hour)
			s.refresh(t, g)
			time.Sleep(23*time.Hour - missing)
			if want != nil {
				s.refused(t, g, want)
				return
			}
			s.refresh(t, g)
		})
	}
}
