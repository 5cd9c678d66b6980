package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A device is a client of the services: somebody's browser, or a thief with what was stolen from
// one. It goes on calling all services with the access token that it has, revoked or not.
type device struct {
	id    int
	user  string
	label string
	thief bool // has a copied access token and nothing else

	world  *world
	client *http.Client // with the cookies of a browser
	stop   context.CancelFunc
	hurry  []chan struct{} // one a service: call at once

	another chan struct{} // there is another token

	mu      sync.Mutex
	token   string // the access token
	session string
	over    bool // the session is: there will be no other token
	answers []answer
	stream  string // "open", or why it is not
	hangUp  context.CancelFunc
	tried   time.Time
}

const (
	pace    = 150 * time.Millisecond // between two calls of one service
	chasing = 2 * time.Millisecond   // while somebody waits for the refusal
)

func newDevice(ctx context.Context, w *world, user, label string, thief bool) *device {
	jar, _ := cookiejar.New(nil) // never fails
	ctx, stop := context.WithCancel(ctx)
	d := &device{
		user: user, label: label, thief: thief, world: w, stop: stop, answers: make([]answer, len(w.services)), stream: "closed",
		client: &http.Client{Jar: jar, Transport: w.transport}, another: make(chan struct{}, 1),
	}
	for range w.services {
		d.hurry = append(d.hurry, make(chan struct{}, 1))
	}
	for i := range w.services {
		w.work.Go(func() { d.callOn(ctx, i) })
	}
	w.work.Go(func() { d.listenOn(ctx) })
	w.work.Go(func() { d.renewOn(ctx) })
	return d
}

// callOn calls one service for as long as the device is there.
func (d *device) callOn(ctx context.Context, i int) {
	s := d.world.services[i]
	for ctx.Err() == nil {
		wait := pace
		if raw := d.accessToken(); raw != "" {
			began := time.Now()
			got := s.ask(ctx, d.client, raw)
			if ctx.Err() != nil {
				return
			}
			d.saw(i, raw, got)
			if d.world.saw(d, i, raw, began, got) {
				wait = chasing
			}
		}
		select {
		case <-time.After(wait):
		case <-d.hurry[i]:
		case <-ctx.Done():
		}
	}
}

func (d *device) saw(i int, raw string, got answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if raw == d.token && d.answers[i] != got {
		d.answers[i] = got
	}
}

// callNow has the device call without waiting for its time.
func (d *device) callNow() {
	for _, c := range d.hurry {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// listenOn keeps a stream of events open at the first service.
func (d *device) listenOn(ctx context.Context) {
	ended := "" // the token whose stream has ended for good
	for ctx.Err() == nil {
		if raw := d.accessToken(); raw != "" && raw != ended {
			one, stop := context.WithCancel(ctx)
			d.hangUpBy(stop)
			why := listen(one, d.client, d.world.services[0].url(), raw, func() { d.setStream(raw, "open") })
			stop()
			if ctx.Err() != nil {
				return
			}
			d.setStream(raw, why)
			if why == "revoked" || why == "refused" {
				ended = raw
			}
		}
		select {
		case <-time.After(4 * pace):
		case <-d.another:
		case <-ctx.Done():
		}
	}
}

// hangUpBy names what ends the stream when the device has another token.
func (d *device) hangUpBy(stop context.CancelFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hangUp = stop
}

func (d *device) setStream(raw, is string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if raw != d.token || d.stream == is || d.stream == "revoked" && is == "refused" {
		return
	}
	if was := d.stream; was == "open" && is == "revoked" {
		d.world.say("%s: the event stream ended, since the token is revoked.", d.name())
	}
	d.stream = is
}

// renewOn does what a good client does: refused with 401 it asks for another access token, once, and
// shortly before its own ends. It gives up when it is told that the session is over.
func (d *device) renewOn(ctx context.Context) {
	for ctx.Err() == nil {
		if d.mayRenew() {
			d.renew(ctx)
		}
		select {
		case <-time.After(4 * pace):
		case <-ctx.Done():
		}
	}
}

func (d *device) mayRenew() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.thief || d.over || d.token == "" || time.Since(d.tried) < 2*time.Second {
		return false
	}
	if slices.Contains(d.answers, refused) && !d.world.chase.waits(d, d.token) {
		return true
	}
	return time.Until(expiry(d.token)) < time.Minute
}

// renew exchanges the refresh token. A thief may have been quicker.
func (d *device) renew(ctx context.Context) bool {
	d.mu.Lock()
	d.tried = time.Now()
	d.mu.Unlock()
	status := d.post(ctx, "/session/refresh", nil)
	switch status {
	case http.StatusOK, http.StatusNoContent:
		d.take()
		d.world.say("%s refreshed its session and has a new access token.", d.name())
		return true
	case http.StatusUnauthorized:
		d.end()
	}
	return false
}

// end notes that the session is over.
func (d *device) end() {
	d.mu.Lock()
	was := d.over
	d.over = true
	d.mu.Unlock()
	if !was {
		d.world.say("%s is logged out: the auth service gives it no other token.", d.name())
	}
}

// login logs in with what the person knows as the password.
func (d *device) login(ctx context.Context, password string) int {
	status := d.post(ctx, "/login", url.Values{"name": {d.user}, "password": {password}, "device": {d.label}})
	if status == http.StatusNoContent {
		d.take()
	}
	return status
}

// take takes the access token out of the cookies. What a page of the shop would do is to let its
// server call the others: web.Browser.AccessToken.
func (d *device) take() {
	at, _ := url.Parse(d.world.auth.url)
	for _, c := range d.client.Jar.Cookies(at) {
		if c.Name == accessCookie {
			d.has(c.Value)
		}
	}
}

const accessCookie = "__Host-Http-session"

// has gives the device another access token.
func (d *device) has(raw string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if raw == d.token {
		return
	}
	d.world.chase.forget(d)
	d.token, d.session, d.over, d.stream = raw, sessionOf(raw), false, "closed"
	clear(d.answers)
	if d.hangUp != nil {
		d.hangUp()
	}
	select {
	case d.another <- struct{}{}:
	default:
	}
	d.callNow()
}

// post sends a form to the auth service as a page of its own would, and returns the status: 0 if
// there was no answer.
func (d *device) post(ctx context.Context, path string, form url.Values) int {
	return post(ctx, d.client, d.world.auth.url+path, form)
}

func post(ctx context.Context, client *http.Client, url string, form url.Values) int {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(form.Encode()))
	if err != nil {
		return 0
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Accept", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (d *device) accessToken() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.token
}

// name is how the log calls the device.
func (d *device) name() string {
	if d.thief {
		return "The thief with " + possessive(d.user) + " cookie"
	}
	return possessive(d.user) + " " + d.label
}

func capital(user string) string    { return strings.ToUpper(user[:1]) + user[1:] }
func possessive(user string) string { return capital(user) + "’s" }

// claimsOf returns the payload of a JWT as it stands, verified by nobody.
func claimsOf(raw string) []byte {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil
	}
	b, _ := base64.RawURLEncoding.DecodeString(parts[1])
	return b
}

// expiry is when an access token expires.
func expiry(raw string) time.Time {
	var claims struct {
		Expires int64 `json:"exp"`
	}
	_ = json.Unmarshal(claimsOf(raw), &claims)
	return time.Unix(claims.Expires, 0)
}
