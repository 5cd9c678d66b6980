package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
)

// Five tabs wake on an expired cookie and send four requests each: one refresh, no 401, and
// all tabs are given the same refresh token.
func TestManyRequestsOneRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		time.Sleep(16 * time.Minute)
		open := make(chan struct{})
		s.store.set(open, nil)
		lines := make(chan []string, 20)
		for range 20 {
			r, w := a.request("GET", "/page"), httptest.NewRecorder()
			go func() {
				s.ServeHTTP(w, r)
				if w.Code != 200 {
					t.Errorf("answered %d", w.Code)
				}
				lines <- w.Result().Header["Set-Cookie"]
			}()
		}
		synctest.Wait() // all are there, and none has been answered
		if len(lines) != 0 {
			t.Fatalf("%d were answered before the store was", len(lines))
		}
		s.store.set(nil, nil)
		close(open)
		first := <-lines
		for range 19 {
			if next := <-lines; !slices.Equal(first, next) || len(next) != 2 {
				t.Errorf("given %d cookies, not those of the first", len(next))
			}
		}
		if n := s.sessions.Status().Refresh.Done; n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
}

// A request that comes when the refresh is done, with the cookies of before, is answered within
// the window: with the same line for the refresh token, whatever the time and the
// instance. Outside of it the session is over.
func TestRetryIsByteForByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		other, err := web.NewBrowser(web.BrowserConfig{Sessions: s.sessions, Verifier: s.verifier, Client: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		a := s.loggedIn(t)
		time.Sleep(16*time.Minute + 123*time.Millisecond)
		before := a.clone()
		first := refreshLine(t, a.get("/page").Header["Set-Cookie"])
		for i := range 4 {
			time.Sleep(2300 * time.Millisecond)
			late := before.clone()
			if i%2 == 1 {
				late.h = other.Handler()
			}
			r := late.post("/session/refresh")
			if status(t, "retry", r, 200); refreshLine(t, r.Header["Set-Cookie"]) != first {
				t.Errorf("retry %d is given another refresh cookie", i)
			}
		}
		status(t, "the browser goes on", a.get("/page"), 200)
		time.Sleep(time.Minute)
		status(t, "retry after the window", before.get("/page"), 401)
		status(t, "and the session is over", a.post("/session/refresh"), 401)
		if s.replayed != 1 {
			t.Errorf("%d replays reported", s.replayed)
		}
	})
}

func refreshLine(t *testing.T, lines []string) string {
	t.Helper()
	i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(strings.SplitN(l, "=", 2)[0], "-refresh") })
	if i < 0 || len(lines) != 2 {
		t.Fatalf("%d cookies set", len(lines))
	}
	return lines[i]
}

// The refresh goes on when the browser that began it hangs up, and when it does, others get
// what it brought; one that hangs up while it waits takes nobody with it.
func TestBrowserHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		time.Sleep(16 * time.Minute)
		open := make(chan struct{})
		s.store.set(open, nil)
		codes := make(chan int, 3)
		send := func(hangUp bool) {
			r, w := a.request("GET", "/page"), httptest.NewRecorder()
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			go func() { s.ServeHTTP(w, r.WithContext(ctx)); codes <- w.Code }()
			synctest.Wait()
			if hangUp {
				cancel()
				synctest.Wait()
			}
		}
		send(true)
		send(true)
		if c := <-codes; c != 503 {
			t.Errorf("who waited and hung up: %d", c)
		}
		send(false)
		s.store.set(nil, nil)
		close(open)
		<-codes // who began it and hung up
		if c := <-codes; c != 200 {
			t.Errorf("who waited: %d", c)
		}
		if n := s.sessions.Status().Refresh.Done; n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
}

// What nobody can tell is 503 with Retry-After, and the cookies stay.
func TestTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		time.Sleep(16 * time.Minute)
		s.store.set(nil, errors.New("no store"))
		for _, r := range []func() (string, int, string){
			func() (string, int, string) {
				r := a.get("/page")
				return "page", r.StatusCode, r.Header.Get("Retry-After")
			},
			func() (string, int, string) {
				r := a.post("/session/refresh")
				return "refresh", r.StatusCode, r.Header.Get("Retry-After")
			},
			func() (string, int, string) {
				r := a.post("/session/logout")
				return "logout", r.StatusCode, r.Header.Get("Retry-After")
			},
		} {
			if what, code, wait := r(); (what != "logout" && code != 503 || what == "logout" && code != 503 && code != 409) || code == 503 && wait == "" {
				t.Errorf("%s: %d, Retry-After %q", what, code, wait)
			}
		}
		s.store.set(nil, nil)
		if a.cookie("-refresh") != nil {
			status(t, "once the store is back", a.get("/page"), 200)
		}
	})
}

// An access token that has grown too large at a refresh is given to nobody, and neither is its
// refresh token: the session ends, and the log says what is too large.
func TestTooLargeAtRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		s.claims = map[string]any{"groups": strings.Repeat("g", 2000)}
		time.Sleep(16 * time.Minute)
		status(t, "that fits", a.get("/page"), 200)
		s.claims = map[string]any{"groups": strings.Repeat("secret", 600)}
		time.Sleep(16 * time.Minute)
		r := a.get("/page")
		status(t, "that does not", r, 401)
		if n := len(r.Header["Set-Cookie"]); n != 0 {
			t.Errorf("%d cookies set", n)
		}
		if log := s.logged.String(); !strings.Contains(log, "groups 3602") || strings.Contains(log, "secretsecret") {
			t.Error("the log does not name the claim, or shows it")
		}
		if list, err := s.sessions.Sessions(t.Context(), "user-1"); err != nil || len(list) != 0 {
			t.Errorf("%d sessions, error %v", len(list), err)
		}
		if s.replayed != 0 {
			t.Error("it is told as a theft")
		}
	})
}

// A refresh that was slow and ends after the logout brings nobody back.
func TestSlowRefreshAfterLogout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, delay := range []string{"before the refresh", "after it"} {
			s := newShop(t)
			a := s.loggedIn(t)
			time.Sleep(16 * time.Minute)
			slow := a.clone()
			if delay == "after it" { // the answer is written, and read after the logout
				status(t, "refresh", slow.get("/page"), 200)
			}
			status(t, "logout", a.post("/session/logout"), 204)
			if delay == "before the refresh" {
				status(t, delay, slow.get("/page"), 401)
			}
			status(t, delay, slow.get("/page"), 401)
			status(t, delay, slow.post("/session/refresh"), 401)
			time.Sleep(20 * time.Minute)
			status(t, "much later", slow.get("/page"), 401)
		}
	})
}

// A refresh and a logout that are under way at once end with no session, whichever the store
// takes first, and whatever cookies the browser is left with.
func TestRefreshBesideLogout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 20 {
			s := newShop(t)
			a := s.loggedIn(t)
			time.Sleep(16 * time.Minute)
			hold := make(chan struct{})
			s.store.set(hold, nil)
			slow := a.clone()
			done := make(chan int, 2)
			go func() { done <- slow.get("/page").StatusCode }()
			go func() { done <- a.post("/session/logout").StatusCode }()
			synctest.Wait() // both wait for the store
			if len(done) != 0 {
				t.Fatal("one did not wait for the store")
			}
			s.store.set(nil, nil)
			close(hold)
			if one, other := <-done, <-done; one >= 500 || other >= 500 {
				t.Fatalf("answered %d and %d", one, other)
			}
			for _, b := range []*agent{a, slow} {
				status(t, "a page", b.get("/page"), 401)
				status(t, "a refresh", b.post("/session/refresh"), 401)
			}
			if list, err := s.sessions.Sessions(t.Context(), "user-1"); err != nil || len(list) != 0 {
				t.Fatalf("%d sessions are left, error %v", len(list), err)
			}
		}
	})
}

// A panic of the application's hook is the request's that ran it; those that wait for it are
// told to try again, and the next refresh is as ever.
func TestHookPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open, panics := make(chan struct{}), true
		s := newShop(t, func(c *refresh.Config) {
			c.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) {
				if panics {
					<-open
					panic("the application's")
				}
				return refresh.Answer{}, nil
			}
		})
		a := s.loggedIn(t)
		time.Sleep(16 * time.Minute)
		outcomes := make(chan any, 2)
		for range 2 {
			r, w := a.request("GET", "/page"), httptest.NewRecorder()
			go func() {
				defer func() {
					if p := recover(); p != nil {
						outcomes <- p
					} else {
						outcomes <- w.Code
					}
				}()
				s.ServeHTTP(w, r)
			}()
			synctest.Wait()
		}
		close(open)
		synctest.Wait()
		got := []any{<-outcomes, <-outcomes}
		if !slices.Contains(got, any("the application's")) || !slices.Contains(got, any(503)) {
			t.Errorf("outcomes %v", got)
		}
		panics = false
		status(t, "the next", a.get("/page"), 200)
	})
}

// A Manager that is closed is no reason to log in again.
func TestClosedManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		time.Sleep(16 * time.Minute)
		if err := s.sessions.Close(); err != nil {
			t.Fatal(err)
		}
		status(t, "closed", a.get("/page"), 503)
	})
}

// No secret is in a log line or an answer, whatever happens.
func TestNothingSecretIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		secrets := []string{a.cookie("session").Value, a.cookie("-refresh").Value}
		var said strings.Builder
		say := func(r string) { said.WriteString(r) }
		time.Sleep(16 * time.Minute)
		old := a.clone()
		for range 2 {
			say(body(a.get("/page")))
			say(body(a.post("/session/refresh")))
			secrets = append(secrets, a.cookie("session").Value, a.cookie("-refresh").Value)
		}
		say(body(a.get("/session/sessions")))
		say(body(old.clone().get("/page")))
		time.Sleep(time.Minute)
		say(body(old.get("/page"))) // a replay
		say(body(a.get("/page")))
		say(fmt.Sprintf("%v %+v %#v %s", s.Browser, s.Browser, s.Browser, s.Browser))
		said.WriteString(s.logged.String())
		for _, secret := range secrets {
			for part := range strings.SplitSeq(secret, ".") {
				if len(part) > 20 && strings.Contains(said.String(), part) && !strings.HasPrefix(part, "eyJhbGciOi") {
					t.Error("a part of a token is told")
				}
			}
		}
		if !strings.Contains(said.String(), "used again") {
			t.Error("nothing was logged: does this test look at the right thing?")
		}
	})
}
