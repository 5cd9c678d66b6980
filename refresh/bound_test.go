package refresh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A session that is bound to its device is refreshed by proofs alone, each for the challenge
// that the answer before brought, and its refresh token rotates when it comes along.
func TestBoundSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		login := s.login(t, offering)
		if list, err := s.Sessions(t.Context(), "user-1"); err != nil || list[0].DeviceBound {
			t.Fatalf("%v, %v", list, err)
		}
		b, first := s.register(t, login)
		if list, err := s.Sessions(t.Context(), "user-1"); err != nil || !list[0].DeviceBound {
			t.Fatalf("%v, %v", list, err)
		}
		if a, c := first.DeviceOffer(); a != "" || c != "" {
			t.Error("what is bound is offered again")
		}
		if id, c := login.DeviceSession(); id != "" || c != "" {
			t.Error("a login says that it is bound")
		}
		tokens := map[string]bool{b.token: true}
		for range 20 {
			time.Sleep(13 * time.Minute)
			g := s.use(t, b)
			if tokens[b.token] || g.RefreshToken() == "" {
				t.Fatal("a refresh token that came along did not rotate")
			}
			tokens[b.token] = true
			time.Sleep(13 * time.Minute)
			if g := s.use(t, b, alone); g.RefreshToken() != "" {
				t.Fatal("a refresh token for a browser that sent none")
			}
		}
		// One that is not the session's, or nothing at all, is passed over.
		other := s.login(t)
		for _, token := range []string{other.RefreshToken(), "htr1_x", strings.ToUpper(b.token)} {
			if g := s.use(t, b, func(p *refresh.DeviceProof) { p.Token = token }); g.RefreshToken() != "" {
				t.Fatal("another refresh token rotates")
			}
		}
		s.refresh(t, other)
	})
}

// The id of the session, as its browser knows it, is not guessed from the id that is in its
// tokens.
func TestBoundSessionIsNamedByItsBrowser(t *testing.T) {
	s := newSystem(t)
	b, first := s.bind(t)
	other, _ := s.bind(t)
	for name, id := range map[string]string{
		"empty": "", "the sid": first.SessionID, "another's": other.id, "cut": b.id[:len(b.id)-1], "longer": b.id + "A", "quoted": `"` + b.id + `"`,
		"half another's": b.id[:21] + other.id[21:], "zeros": first.SessionID[:21] + strings.Repeat("A", 22), "a session that never was": strings.Repeat("A", 43),
	} {
		_, err := s.RefreshBound(t.Context(), b.next(func(p *refresh.DeviceProof) { p.Session = id }))
		if want := id != other.id; want != errors.Is(err, refresh.ErrUnknown) || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.unusable(t, b.next(func(p *refresh.DeviceProof) { p.Client = "app" }), refresh.ErrClient)
	if _, err := s.RefreshBound(t.Context(), b.next(func(p *refresh.DeviceProof) { p.Client = "" })); !errors.Is(err, refresh.ErrRequest) {
		t.Error(err)
	}
	s.use(t, b)
}

// By the application's word a browser that has lost its key goes on with its refresh token.
// The session stays bound: the next use is judged as the first.
func TestUnboundByTheApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := map[bool]int{}
		s := newSystem(t, func(c *refresh.Config) {
			c.OnUnbound = func(_ context.Context, x refresh.Session, answered bool) { told[answered]++ }
		})
		fallen := func(r *refresh.Request) { r.InsecureUnbound = true }
		login := s.login(t, offering)
		plain := s.login(t)
		s.refresh(t, plain, fallen) // which is bound to nothing
		b, _ := s.register(t, login)
		g := s.refresh(t, login, fallen)
		s.accepted(t, g)
		s.refused(t, g, refresh.ErrPossession)
		if again := s.refresh(t, login, fallen); again.RefreshToken() != g.RefreshToken() {
			t.Error("a retry within the window is given another successor")
		}
		b.token = g.RefreshToken()
		s.use(t, b)
		s.refused(t, g, refresh.ErrPossession)
		if told[true] != 2 || told[false] != 2 {
			t.Errorf("the application was told %v", told)
		}
		time.Sleep(time.Minute)
		s.refused(t, login, refresh.ErrReused, fallen) // judged like any other
		s.unusable(t, b.next(), refresh.ErrReused)
	})
}
