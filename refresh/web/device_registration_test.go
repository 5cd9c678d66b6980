package web_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A registration that lacks something is refused, sets no cookie, and binds nothing.
func TestBoundRegistrationRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, binding())
		for name, headers := range map[string]func(d *device, authorization, challenge string) []string{
			"no proof": func(d *device, a, c string) []string { return nil }, // as of a browser that was given no challenge
			"another challenge": func(d *device, a, c string) []string {
				return []string{"Secure-Session-Response", d.registration(a, "x")}
			},
			"no authorization": func(d *device, a, c string) []string {
				return []string{"Secure-Session-Response", d.registration("", c)}
			},
			"an id": func(d *device, a, c string) []string {
				return []string{"Sec-Secure-Session-Id", "x", "Secure-Session-Response", d.proof(c)}
			},
		} {
			d := s.device(t)
			login := d.post("/login")
			m := registrationHeader.FindStringSubmatch(login.Header.Get("Secure-Session-Registration"))
			d.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			r := d.own(m[1], headers(d, m[3], m[2])...)
			status(t, name, r, 403)
			if len(r.Header["Set-Cookie"]) != 0 || r.Header.Get("Secure-Session-Challenge") != "" {
				t.Errorf("%s: answered with %v", name, r.Header)
			}
			status(t, "the same login, after "+name, d.register(login), 200)
			again := s.device(t)
			again.jar = d.jar
			status(t, "a second time", again.register(login), 403)
			time.Sleep(16 * time.Minute)
			status(t, "page", d.visit(), 200)
		}
		d := s.device(t)
		login := d.post("/login")
		s.store.set(nil, errors.New("no store"))
		status(t, "no store", d.register(login), 503)
		s.store.set(nil, nil)
		time.Sleep(16 * time.Minute)
		status(t, "not bound", d.agent.get("/page"), 200)
	})
}

// A sibling subdomain can have a browser register a key for the offer of a login of its own: the
// answer would log the user in as somebody else.
func TestRegistrationFromAnotherOrigin(t *testing.T) {
	s := newShop(t, binding())
	stranger := s.device(t) // logs in, and hands its offer to a page
	login := stranger.post("/login")
	m := registrationHeader.FindStringSubmatch(login.Header.Get("Secure-Session-Registration"))
	if m == nil {
		t.Fatal("nothing is offered")
	}
	user := s.device(t)
	var err error
	if user.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	for _, from := range []struct {
		site, origin string
		status       int
	}{
		{"same-site", "https://sibling." + host, 403},
		{"cross-site", "https://evil.example", 403},
		{"", "https://sibling." + host, 403},
		{"", "", 403},
		{"same-origin", origin, 200},
	} {
		r := user.own(m[1], "Secure-Session-Response", user.registration(m[3], m[2]), "Sec-Fetch-Site", from.site, "Origin", from.origin)
		status(t, fmt.Sprint(from), r, from.status)
		if n := len(r.Header["Set-Cookie"]); (n > 0) != (from.status == 200) {
			t.Errorf("%v: %d cookies are set", from, n)
		}
	}
}
