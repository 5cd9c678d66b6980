package refresh

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

type simUser struct {
	name    string
	version int       // of the password
	banned  time.Time // when a cutoff was published for him last
	half    time.Time // when a logout everywhere failed last: the store may not have its cutoff

	ending, endings int // logouts everywhere under way, and begun so far
	clients         []*simClient
}

// A simClient is one session as its holder sees it.
type simClient struct {
	user    *simUser
	sid     string
	refresh string
	tokens  []string // access tokens that were given out, no matter to whom
	version int      // of the password at its check
	checked time.Time

	first  time.Time // when the present refresh token was presented first; zero: not yet
	lost   int       // answers lost for it
	busy   bool      // a call of the client's is under way
	cause  string    // why it may be over
	dead   time.Time // since when it has to be, by the caller's knowledge; zero: not
	banned time.Time // by the denylist alone, since then
	gone   bool      // its client knows that it is over

	offer         [2]string // to bind it to its device: authorization and challenge
	id, challenge string    // once it is bound

	retired map[string]retirement // refresh tokens, and since when they must be worth nothing
}

// A retirement is when a token is worth nothing, unless something has failed since it
// was used: that time does not count.
type retirement struct {
	at       time.Time
	failures int // before; -1: failures make no difference

	// Of a token that a logout everywhere has replaced: when the newest access token of the
	// session so far was issued.
	newest time.Time
}

// newest returns when the newest access token of the session was issued, but for one.
func (s *sim) newest(c *simClient, but string) (at time.Time) {
	for name, t := range s.minted {
		if t.sid == c.sid && name != but && t.identity.IssuedAt.After(at) {
			at = t.identity.IssuedAt
		}
	}
	return at
}

func (c *simClient) blame(why string) {
	if c.cause == "" {
		c.cause = why
	}
}

// login: the password is checked somewhere between the reading of AuthTime and the
// call.
func (s *sim) login(u *simUser) {
	in := s.any()
	recheck, offered := s.chance(50), s.chance(40)
	s.start("login", func() {
		began, ending, endings := s.now(), u.ending, u.endings
		before := in.m.Now().Time()
		s.pause()
		c := &simClient{user: u, retired: map[string]retirement{}, version: u.version, checked: s.now()}
		s.pause()
		l := Login{Subject: u.name, Client: "web", Audience: []string{"api"}, AuthTime: before, BindDevice: offered}
		if recheck {
			l.Recheck = func(context.Context) error {
				s.pause()
				if u.version != c.version {
					return errSim
				}
				c.checked = s.now()
				return nil
			}
		}
		g, err := in.Login(s.t.Context(), l)
		switch {
		case errors.Is(err, ErrSuperseded):
			s.counts.superseded++
			return
		case err != nil:
			s.legal(err)
			return
		}
		s.counts.logins++
		c.sid, c.refresh, c.tokens = g.SessionID, g.RefreshToken(), []string{g.AccessToken()}
		c.offer[0], c.offer[1] = g.DeviceOffer()
		if ending > 0 || endings != u.endings {
			c.blame("logged in at the time of a logout everywhere")
		}
		if began.Sub(u.banned) < 8*time.Second || began.Sub(u.half) < 8*time.Second {
			c.blame("logged in within MaxSkew of a cutoff that the instance did not know")
		}
		u.clients = append(u.clients, c)
		s.note("login %s by %d as %s, iat %s", c.sid[:4], in.name, u.name, s.minted[g.AccessToken()].identity.IssuedAt.Format("05.000"))
	})
}

func (s *sim) legal(err error) {
	if !errors.Is(err, ErrLoginAgain) && !errors.Is(err, ErrTryAgain) {
		s.violation("an error of no family: %v", err)
	}
	if errors.Is(err, ErrLoginAgain) && errors.Is(err, ErrTryAgain) {
		s.violation("an error of both families: %v", err)
	}
	if errors.Is(err, ErrPending) {
		s.counts.pending++
	}
}

// use presents a refresh token, the client's present one or, as a thief, an old copy.
func (s *sim) use(c *simClient, refreshToken string, thief bool) {
	if c.id != "" && !thief {
		s.useBound(c)
		return
	}
	in, bound := s.any(), c.id != ""
	if !thief {
		c.busy = true
		if c.first.IsZero() {
			c.first = s.now()
		}
	}
	retired, failures := c.retired[refreshToken], s.failures
	first, lose := c.first, s.chance(12) && c.lost < 2
	s.start("refresh", func() {
		began, proven := s.now(), in.Revocations().Status(in.m.Now()).Proven
		dead, stale := c.dead, s.stale
		g, err := in.Refresh(s.t.Context(), Request{Token: refreshToken, Client: "web"})
		if !thief {
			c.busy = false
		}
		if err != nil {
			s.legal(err)
			if errors.Is(err, ErrTryAgain) {
				s.failures++
			}
			if bound && errors.Is(err, ErrPossession) {
				s.counts.worthless++
			}
			s.note("refresh %s by %d, thief %t: %v", c.sid[:4], in.name, thief, err)
			if !thief && errors.Is(err, ErrLoginAgain) {
				c.gone = true
				if errors.Is(err, ErrEnded) && errors.Is(err, revoke.ErrRevoked) {
					s.counts.denied++
				}
				if late := s.now().Sub(first) > 8*time.Second; c.cause == "" && !late {
					s.violation("session %s: an honest client is logged out: %v", c.sid, err)
				} else if c.cause == "" {
					c.blame("lost answers for longer than the window")
				}
			}
			return
		}
		s.note("refresh %s by %d, thief %t, began %s, iat %s", c.sid[:4], in.name, thief, began.Format("05.000"), s.minted[g.AccessToken()].identity.IssuedAt.Format("05.000"))
		s.counts.refreshes++
		if bound {
			s.violation("session %s: a token of a bound session is good without a proof", c.sid)
		}
		if g.SessionID != c.sid {
			s.violation("session %s: the grant is of another", c.sid)
		}
		c.tokens = append(c.tokens, g.AccessToken())
		// A retry in the window writes nothing, so that an old answer of the store can have it
		// answered: with a token that the services refuse, see finish.
		if !dead.IsZero() && began.After(dead) && s.stale == stale {
			s.violation("session %s: refreshed after it had been ended", c.sid)
		}
		if !retired.at.IsZero() && began.After(retired.at) && (retired.failures < 0 || retired.failures == s.failures) {
			switch {
			case retired.failures >= 0 || s.current.stale == 0:
				s.violation("session %s: refreshed with a token that had been used up", c.sid)
			case s.minted[g.AccessToken()].identity.IssuedAt.After(retired.newest):
				s.violation("session %s: refreshed anew with a token that had been replaced", c.sid)
			default:
				// An old answer of the store has had a retry in the window answered, which writes
				// nothing: with an access token dated like those from before, of a session that
				// was kept, and with a successor that is worth as little.
				s.counts.outdated++
				c.retired[g.RefreshToken()] = retired
				s.use(c, g.RefreshToken(), true)
			}
		}
		// The replica had been told of the ban, as far as it knew itself.
		if !c.banned.IsZero() && !proven.IsZero() && s.truth(in, proven).After(c.banned) {
			s.violation("session %s: refreshed by an instance that knew of the ban", c.sid)
		}
		if thief {
			return
		}
		if lose {
			s.counts.lost++
			c.lost++
			return
		}
		if refreshToken != c.refresh {
			return // a logout everywhere has brought another meanwhile
		}
		if g.RefreshToken() != c.refresh {
			// After the window, by the clocks of any two instances.
			c.retired[c.refresh] = retirement{at: s.now().Add(simLifetimes.Grace + 5*time.Second), failures: failures}
		}
		c.refresh, c.first, c.lost = g.RefreshToken(), time.Time{}, 0
	})
}

// truth converts an instance's instant to true time: MaxSkew is far more than what is
// lost by it.
func (s *sim) truth(in *simInstance, i revoke.Instant) time.Time {
	return s.now().Add(-in.m.Now().Since(i)).Add(-5 * time.Millisecond)
}

func (m *Manager) Revocations() *revoke.List { return m.cfg.Revocations }

func (s *sim) logout(c *simClient) {
	in := s.any()
	c.blame("logout")
	s.start("logout", func() {
		err := in.Logout(s.t.Context(), c.sid)
		s.note("logout %s by %d: %v", c.sid[:4], in.name, err)
		if err != nil {
			s.legal(err)
			return
		}
		s.counts.logouts++
		s.kill(c, s.now())
	})
}

func (s *sim) kill(c *simClient, at time.Time) {
	if c.dead.IsZero() {
		c.dead = at
	}
}

// everywhere changes the password, from a session that is kept or from none.
func (s *sim) everywhere(u *simUser, keep *simClient) {
	in := s.any()
	u.version++
	u.ending++
	u.endings++
	began := s.now()
	version := u.version
	for _, c := range u.clients {
		if c != keep {
			c.blame("logout everywhere")
		}
	}
	var options []LogoutAllOption
	if keep != nil {
		keep.busy = true
		keep.version = version
		options = append(options, Keep(keep.sid))
	}
	s.start("everywhere", func() {
		g, err := in.LogoutAll(s.t.Context(), u.name, options...)
		u.ending--
		s.note("everywhere %s by %d: %v %v", u.name, in.name, g, err)
		if keep != nil {
			keep.busy = false
		}
		if err != nil {
			s.legal(err)
			u.half = s.now()
			if keep != nil {
				keep.first = time.Time{}
				// It may have new secrets that never arrived.
				keep.blame("the new grant was lost")
			}
			return
		}
		s.counts.everywhere++
		for _, c := range u.clients {
			if c != keep && c.checked.Before(began) && c.version < version {
				s.kill(c, s.now())
			}
		}
		if keep == nil {
			return
		}
		if g == nil {
			if keep.cause == "" {
				s.violation("session %s: was to be kept, and has no grant", keep.sid)
			}
			return
		}
		s.counts.renewed++
		keep.retired[keep.refresh] = retirement{s.now(), -1, s.newest(keep, g.AccessToken())}
		keep.refresh, keep.first, keep.lost = g.RefreshToken(), time.Time{}, 0
		keep.tokens = append(keep.tokens, g.AccessToken())
	})
}

// ban publishes a cutoff, past every Manager.
func (s *sim) ban(u *simUser) {
	for _, c := range u.clients {
		c.blame("ban")
	}
	sessions := slices.Clone(u.clients)
	if _, err := s.bus.Publish(revoke.Event{Issuer: "https://auth.example.com", Kind: revoke.KindSubject, Value: u.name, Until: time.Time{}}); err != nil {
		s.t.Fatal(err)
	}
	s.counts.bans++
	u.banned = s.now()
	s.note("ban %s", u.name)
	for _, c := range sessions {
		if c.banned.IsZero() {
			c.banned = s.now()
		}
	}
}

func (s *sim) clients(want func(*simClient) bool) (list []*simClient) {
	for _, u := range s.users {
		for _, c := range u.clients {
			if want(c) {
				list = append(list, c)
			}
		}
	}
	return list
}

func (s *sim) oneOf(list []*simClient) *simClient {
	if len(list) == 0 {
		return nil
	}
	return list[s.rng.IntN(len(list))]
}
