package web_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
)

// Every cookie that is ever set, deletions among them, has the attributes that its name's prefix
// demands (RFC 6265bis section 4.1.3): a browser judges a deletion by them, too.
func TestCookieAttributes(t *testing.T) {
	for _, layout := range []web.Layout{web.Passing, web.Separate} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t, func(c *web.BrowserConfig) { c.Layout, c.Name = layout, "shop" })
			s.page = func(w http.ResponseWriter, r *http.Request) {
				if _, err := s.LogoutOthers(w, r); err != nil {
					t.Error(err)
				}
			}
			a := s.agent(t)
			var lines []string
			note := func(r *http.Response) { lines = append(lines, r.Header["Set-Cookie"]...) }
			note(a.post("/login"))
			note(a.post("/page"))
			time.Sleep(16 * time.Minute)
			note(a.post("/session/refresh"))
			twice := func(r *http.Request) { r.Header["Cookie"] = append(r.Header["Cookie"], r.Header["Cookie"]...) }
			note(a.post("/login", twice))
			note(a.post("/session/logout"))
			if len(lines) != 12 {
				t.Fatalf("%d cookies were set", len(lines))
			}
			for _, line := range lines {
				c, err := http.ParseSetCookie(line)
				if err != nil {
					t.Fatal(err)
				}
				name, path := "__Host-Http-shop", "/"
				if strings.Contains(c.Name, "refresh") {
					name = "__Host-Http-shop-refresh"
					if layout == web.Separate {
						name, path = "__Secure-shop-refresh", "/session/"
					}
				}
				if c.Name != name || !c.Secure || !c.HttpOnly || c.Path != path || c.Domain != "" || c.SameSite != http.SameSiteLaxMode || len(c.Unparsed) != 0 {
					t.Errorf("cookie %s has Path %q, Domain %q, SameSite %d, Secure %t, HttpOnly %t", c.Name, c.Path, c.Domain, c.SameSite, c.Secure, c.HttpOnly)
				}
				if c.Value != "" && c.MaxAge == 0 && c.Expires.IsZero() || c.MaxAge > 86400 || c.Expires.After(time.Now().Add(24*time.Hour)) {
					t.Errorf("cookie %s lives for %d s or until %s", c.Name, c.MaxAge, c.Expires)
				}
			}
		})
	}
}

// The agent of these tests judges cookies as the vectors of RFC 6265bis say a browser does.
func TestAgentJudgesPrefixes(t *testing.T) {
	data, err := os.ReadFile("../../../shared/vectors/cookies/cookie_prefix.json")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("no vectors of cookies' prefixes beside this checkout")
	} else if err != nil {
		t.Fatal(err)
	}
	var vectors struct{ Reject, Accept []string }
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Reject) < 10 || len(vectors.Accept) < 5 {
		t.Fatalf("%d and %d vectors", len(vectors.Reject), len(vectors.Accept))
	}
	r, err := http.NewRequest("GET", "https://site.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for want, lines := range map[bool][]string{false: vectors.Reject, true: vectors.Accept} {
		for _, line := range lines {
			c, err := http.ParseSetCookie(line)
			if err != nil {
				t.Fatal(err)
			}
			if why := refusedByBrowser(c, r); (why == "") != want {
				t.Errorf("%s: refused as %q", line, why)
			}
		}
	}
}

// Two cookies of one name are no session, whichever comes first: one of them is somebody
// else's. Names that are not ours to the last byte are other cookies. A login mends it.
func TestTwoCookiesOfOneName(t *testing.T) {
	s := newShop(t)
	a, victim := s.loggedIn(t), s.loggedIn(t)
	access, refresh := "__Host-Http-session="+a.cookie("session").Value, "__Host-Http-session-refresh="+a.cookie("-refresh").Value
	theirs := "__Host-Http-session=" + victim.cookie("session").Value
	theirRefresh := "__Host-Http-session-refresh=" + victim.cookie("-refresh").Value
	for _, x := range []struct {
		name   string
		lines  []string
		status int
	}{
		{"one of each", []string{access + "; " + refresh}, 200},
		{"one of each, in two lines", []string{access, refresh}, 200},
		{"among others", []string{"a=b; " + access + ";c=\"d;" + refresh + "; =e; f"}, 200},
		{"the access token alone", []string{access}, 200},
		{"the refresh token alone", []string{refresh}, 200},
		{"two access tokens", []string{access + "; " + theirs}, 401},
		{"the other way round", []string{theirs + "; " + access}, 401},
		{"in two lines", []string{theirs, access}, 401},
		{"with the refresh token", []string{access + "; " + theirs + "; " + refresh}, 401},
		{"the same twice", []string{access + "; " + access}, 401},
		{"an empty one beside it", []string{access + "; __Host-Http-session="}, 401},
		{"two refresh tokens", []string{refresh + "; " + theirRefresh}, 401},
		{"two refresh tokens beside an access token", []string{access + "; " + refresh + "; " + theirRefresh}, 401},
		{"another case", []string{strings.ToLower(access)}, 401},
		{"upper case", []string{strings.Replace(access, "__Host-Http-", "__HOST-HTTP-", 1)}, 401},
		{"another case beside it", []string{access + "; " + strings.Replace(theirs, "__Host-Http-", "__HOST-Http-", 1)}, 200},
		{"the older prefix", []string{strings.Replace(access, "Http-", "", 1)}, 401},
		{"no prefix", []string{strings.TrimPrefix(access, "__Host-Http-")}, 401},
		{"a blank beyond ASCII", []string{"\u2000" + access}, 401},
		{"a blank beyond ASCII beside it", []string{access + "; \u2000" + theirs}, 200},
		{"nameless", []string{"=" + access}, 401},
		{"nameless beside it", []string{"=" + theirs + "; " + access}, 200},
		{"quoted", []string{strings.Replace(access, "=", `="`, 1) + `"`}, 401},
		{"a comma", []string{"a=b, " + access}, 401},
		{"a tab", []string{"a=b;\t" + access}, 200},
	} {
		r := a.clone().get("/page", func(r *http.Request) { r.Header["Cookie"] = x.lines })
		if status(t, x.name, r, x.status); x.status == 401 && len(r.Header["Set-Cookie"]) != 0 {
			t.Errorf("%s: cookies set", x.name)
		}
	}
	twice := func(r *http.Request) { r.Header["Cookie"] = []string{access + "; " + refresh, theirs} }
	status(t, "refresh with two", a.clone().post("/session/refresh", twice), 401)
	for _, path := range []string{"/login", "/session/logout"} {
		b := a.clone()
		b.jar = append(b.jar, &kept{Cookie: &http.Cookie{Name: "__Host-Http-session", Value: "planted", Path: "/", Secure: true, Partitioned: true}})
		status(t, path, b.post(path), 204)
		if path == "/login" {
			status(t, "after a new login", b.get("/page"), 200)
		} else if len(b.jar) != 0 {
			t.Errorf("%d cookies are left after the logout", len(b.jar))
		}
	}
}

// Two cookies of one name are no session, and a logout or a new login with them ends the user's all
// the same: who plants a second one must not keep it alive.
func TestPlantedCookieKeepsNoSession(t *testing.T) {
	for layout, planted := range map[web.Layout]string{web.Passing: "__Host-Http-session", web.Separate: "__Secure-session-refresh"} {
		for _, path := range []string{"/session/logout", "/login"} {
			for _, first := range []bool{false, true} {
				s := newShop(t, func(c *web.BrowserConfig) { c.Layout = layout })
				a := s.loggedIn(t)
				sid := a.sessions().Sessions[0].ID
				s.login = func(l *refresh.Login) { l.Subject = "user-2" }
				status(t, path, a.post(path, func(r *http.Request) {
					lines := r.Header["Cookie"]
					if first {
						lines = append([]string{planted + "=planted"}, lines...)
					} else {
						lines = append(lines, planted+"=planted")
					}
					r.Header["Cookie"] = append(lines, strings.Split(strings.Repeat("a=b;", 40), ";")...)
				}), 204)
				list, err := s.sessions.Sessions(t.Context(), "user-1")
				if err != nil || len(list) != 0 {
					t.Errorf("%v, %s, planted first %t: %d sessions are left (one is %t), error %v", layout, path, first, len(list), len(list) > 0 && list[0].ID == sid, err)
				}
			}
		}
	}
}

// A token that is too large for a cookie is refused when its claims are chosen, by the names of
// those that take the room; one that just fits does.
func TestTooLargeAtLogin(t *testing.T) {
	s := newShop(t)
	const name = len("__Host-Http-session")
	largest, smallest := 0, 1<<20
	for n := 2500; n < 3000 && smallest == 1<<20; n++ {
		s.login = func(l *refresh.Login) {
			l.Subject = fmt.Sprint("user-", n)
			l.Claims = map[string]any{"groups": strings.Repeat("a", n), "other": "secret-value"}
		}
		a := s.agent(t)
		r := a.post("/login")
		err := s.began[len(s.began)-1]
		if err == nil {
			largest = n
			if size := name + len(a.cookie("session").Value); size > 4096 {
				t.Fatalf("a cookie of %d bytes", size)
			}
			status(t, "login", r, 204)
			continue
		}
		smallest = n
		status(t, "login", r, 500)
		if !errors.Is(err, web.ErrTooLarge) || !strings.Contains(err.Error(), fmt.Sprintf("groups %d", n+2)) || strings.Contains(err.Error(), "secret-value") || strings.Contains(err.Error(), "aaaa") {
			t.Errorf("error %v", err)
		}
		if len(a.jar) != 0 || len(r.Header["Set-Cookie"]) != 0 {
			t.Errorf("%d cookies set", len(a.jar))
		}
	}
	if largest != smallest-1 {
		t.Errorf("the largest that fits has %d, the smallest that does not %d", largest, smallest)
	}
	for n, want := range map[int]int{largest: 1, smallest: 0} {
		if list, err := s.sessions.Sessions(t.Context(), fmt.Sprint("user-", n)); err != nil || len(list) != want {
			t.Errorf("%d sessions are left, error %v, want %d", len(list), err, want)
		}
	}
}
