package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A target is what an action is for. Each action looks at what it needs.
type target struct {
	Device  int    `json:"device"`
	User    string `json:"user"`
	Service string `json:"service"`
	Policy  string `json:"policy"`
}

// An action is what a button does. It returns what happened, in a sentence or two.
type action func(ctx context.Context, w *world, t target) (what string, err error)

// actions are the buttons by name. Why things happen so, and where to read on, is in explain.go.
var actions = map[string]action{
	"login":         logIn,
	"add":           addDevice,
	"logout":        logOut,
	"others":        logOutOthers,
	"password":      changePassword,
	"ban":           ban,
	"lift":          liftBan,
	"key":           compromiseKey,
	"steal-cookie":  stealCookie,
	"steal-refresh": stealRefresh,
	"remove":        remove,
	"policy":        setPolicy,
	"cut":           cut,
	"mend":          mend,
	"restart":       restart,
	"stop":          stopNATS,
	"start":         startNATS,
	"rollback":      rollBack,
	"fork":          fork,
	"remake":        remakeMirror,
}

// act presses a button: one at a time.
func (w *world) act(ctx context.Context, name string, t target) (string, error) {
	do, ok := actions[name]
	if !ok {
		return "", fmt.Errorf("there is no action %q", name)
	}
	w.acting.Lock()
	defer w.acting.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	what, err := do(ctx, w, t)
	if err != nil {
		return "", err
	}
	e := explanations[name]
	w.story.explain(said{Title: e.title, What: what, Why: e.why, Docs: e.docs})
	w.say("%s: %s", e.title, what)
	return what, nil
}

// errSay is a refusal that the page shows as it is.
type errSay string

func (e errSay) Error() string { return string(e) }

// loggedIn finds the target's device, which has to have a session.
func (w *world) loggedIn(t target) (*device, error) {
	d := w.device(t.Device)
	switch {
	case d == nil:
		return nil, errSay("Choose a device first.")
	case d.thief:
		return nil, errSay("A thief has a copied token and no session: choose one of the user’s devices.")
	case d.isOver():
		return nil, errSay(d.name() + " is logged out: log it in first.")
	}
	return d, nil
}

func (d *device) isOver() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over || d.token == ""
}

func (w *world) of(user string, but string) []*device {
	return w.those(func(d *device) bool { return d.user == user && (but == "" || d.sessionID() != but) })
}

func (w *world) inSession(sid string) []*device {
	return w.those(func(d *device) bool { return d.sessionID() == sid })
}

func (d *device) sessionID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session
}

// settles waits a moment for something that the auth service does in any case. Where it cannot reach
// the bus, it goes on trying for some time.
func (w *world) settles(ctx context.Context, do func(context.Context) int) (status int) {
	done := make(chan int, 1)
	w.work.Go(func() { done <- do(w.ctx) })
	select {
	case status = <-done:
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
	}
	return status
}

const untold = " The services cannot be told now: the auth service keeps the event and goes on trying. Services that cannot prove themselves up to date answer 503 after 4 s, unless their policy says otherwise."

// toldBy completes what is said by how the auth service answered: it could tell the services, or not.
func toldBy(status int, what, then string) (string, error) {
	switch status {
	case http.StatusNoContent:
		return what + then, nil
	case 0, http.StatusConflict:
		return what + untold, nil
	case http.StatusServiceUnavailable:
		return "", errSay("The auth service answers 503: its own replica cannot prove itself, so it cannot know whether this very session was revoked, and does nothing.")
	}
	return "", fmt.Errorf("the auth service answers %d", status)
}

func logIn(ctx context.Context, w *world, t target) (string, error) {
	d := w.device(t.Device)
	if d == nil || d.thief {
		return "", errSay("Choose one of a user’s devices first.")
	}
	switch status := d.login(ctx, w.auth.users.password(d.user)); {
	case status == http.StatusNoContent:
		return d.name() + " logged in and has a new session.", nil
	case status == http.StatusUnprocessableEntity:
		return "", errSay(capital(d.user) + " is banned: the login is refused.")
	case status == http.StatusServiceUnavailable || status == 0:
		return "", errSay("The auth service cannot know at the moment who was banned, so nobody can log in.")
	default:
		return "", fmt.Errorf("the auth service answers %d", status)
	}
}

var labels = []string{"laptop", "phone", "tablet", "watch", "television", "car"}

func addDevice(ctx context.Context, w *world, t target) (string, error) {
	if len(w.those(func(*device) bool { return true })) >= most {
		return "", errSay("There is no room for another device: remove one.")
	}
	if w.auth.users.password(t.User) == "" {
		return "", errSay("There is no such user.")
	}
	has := map[string]bool{}
	for _, d := range w.of(t.User, "") {
		has[d.label] = true
	}
	for _, label := range labels {
		if !has[label] {
			d := w.addDevice(t.User, label, false)
			what, err := logIn(ctx, w, target{Device: d.id})
			if err != nil {
				w.removeDevice(d)
			}
			return what, err
		}
	}
	return "", errSay("That user has all devices there are.")
}

func remove(ctx context.Context, w *world, t target) (string, error) {
	d := w.device(t.Device)
	if d == nil {
		return "", errSay("Choose a device first.")
	}
	w.removeDevice(d)
	return d.name() + " is gone from the table. Nothing was revoked.", nil
}

func logOut(ctx context.Context, w *world, t target) (string, error) {
	d, err := w.loggedIn(t)
	if err != nil {
		return "", err
	}
	if err := w.keepBackup(ctx); err != nil {
		return "", err
	}
	w.chase.begin("Logout of "+d.name(), len(w.services), w.inSession(d.sessionID()))
	status := w.settles(ctx, func(ctx context.Context) int { return d.post(ctx, "/session/logout", nil) })
	return toldBy(status, d.name()+" logged out, and its session is over.", " Its access token, good for another quarter of an hour by its dates, is refused by all.")
}

func logOutOthers(ctx context.Context, w *world, t target) (string, error) {
	d, err := w.loggedIn(t)
	if err != nil {
		return "", err
	}
	if err := w.keepBackup(ctx); err != nil {
		return "", err
	}
	others := w.of(d.user, d.sessionID())
	w.chase.begin("Logout everywhere but on "+d.name(), len(w.services), others)
	status := w.settles(ctx, func(ctx context.Context) int { return d.post(ctx, "/session/logout-others", nil) })
	d.take()
	return toldBy(status, fmt.Sprintf("One event ended every session of %s but the one on the %s, which has new secrets.", capital(d.user), d.label), "")
}

func changePassword(ctx context.Context, w *world, t target) (string, error) {
	d, err := w.loggedIn(t)
	if err != nil {
		return "", err
	}
	if err := w.keepBackup(ctx); err != nil {
		return "", err
	}
	old, next := w.auth.users.password(d.user), w.auth.users.invent(d.user)
	w.chase.begin("Password change on "+d.name(), len(w.services), w.of(d.user, d.sessionID()))
	status := w.settles(ctx, func(ctx context.Context) int {
		return d.post(ctx, "/password", url.Values{"current": {old}, "new": {next}})
	})
	d.take()
	what, err := toldBy(status, fmt.Sprintf("%s changed the password on the %s, which stays logged in; all other sessions ended.", capital(d.user), d.label), "")
	if err != nil {
		return "", err
	}
	if w.triesToLogIn(ctx, d.user, old) {
		return "", errors.New("the old password still logs in")
	}
	return what + " The old password was tried and is refused.", nil
}

// triesToLogIn is somebody else with a password.
func (w *world) triesToLogIn(ctx context.Context, user, password string) bool {
	client := &http.Client{Transport: w.transport}
	return post(ctx, client, w.auth.url+"/login", url.Values{"name": {user}, "password": {password}}) != http.StatusUnprocessableEntity
}

func (w *world) userOf(t target) (string, error) {
	if d := w.device(t.Device); d != nil {
		return d.user, nil
	}
	return "", errSay("Choose a device of the user first.")
}

func ban(ctx context.Context, w *world, t target) (string, error) {
	user, err := w.userOf(t)
	if err != nil {
		return "", err
	}
	if err := w.keepBackup(ctx); err != nil {
		return "", err
	}
	w.chase.begin("Ban of "+capital(user), len(w.services), w.of(user, ""))
	status := w.settles(ctx, func(ctx context.Context) int {
		if err := w.auth.ban(ctx, user); err != nil {
			return http.StatusConflict
		}
		return http.StatusNoContent
	})
	what, err := toldBy(status, capital(user)+" is banned: every session ended and no login passes.", "")
	if err == nil && w.triesToLogIn(ctx, user, w.auth.users.password(user)) {
		return "", errors.New("a banned user can log in")
	}
	return what, err
}

func liftBan(ctx context.Context, w *world, t target) (string, error) {
	user, err := w.userOf(t)
	if err != nil {
		return "", err
	}
	w.auth.users.ban(user, false)
	return capital(user) + " may log in again. What was revoked stays revoked: there is no un-revoke, only a new login.", nil
}

func compromiseKey(ctx context.Context, w *world, t target) (string, error) {
	if err := w.keepBackup(ctx); err != nil {
		return "", err
	}
	w.chase.begin("Key compromise", len(w.services), w.those(func(*device) bool { return true }))
	status := w.settles(ctx, func(ctx context.Context) int {
		if err := w.auth.keyCompromised(ctx); err != nil {
			return http.StatusConflict
		}
		return http.StatusNoContent
	})
	return toldBy(status, "The signing key was revoked, and with it every token that it has signed, for all users.", " The announced key took over; sessions live on, so devices refresh and are accepted again, and thieves are not.")
}

func stealCookie(ctx context.Context, w *world, t target) (string, error) {
	d, err := w.loggedIn(t)
	if err != nil {
		return "", err
	}
	if len(w.those(func(*device) bool { return true })) >= most {
		return "", errSay("There is no room for another row: remove one.")
	}
	thief := w.addDevice(d.user, d.label, true)
	thief.has(d.accessToken())
	return "A thief copied the cookie with the access token of " + d.name() + ", and is accepted: nobody can tell a copy from the original. Log the device out, and the copy dies with it.", nil
}

func stealRefresh(ctx context.Context, w *world, t target) (string, error) {
	d, err := w.loggedIn(t)
	if err != nil {
		return "", err
	}
	if err := w.keepBackup(ctx); err != nil {
		return "", err
	}
	at, _ := url.Parse(w.auth.url)
	jar, _ := cookiejar.New(nil)
	jar.SetCookies(at, secured(d.client.Jar.Cookies(at)))
	thief := &http.Client{Jar: jar, Transport: w.transport}
	if !d.renew(ctx) {
		return "", errSay("The device could not refresh its session now.")
	}
	// A client that has lost the answer may ask again within the window. A thief comes later.
	select {
	case <-time.After(grace + retention.MaxSkew + 100*time.Millisecond):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	w.chase.begin("Replay of a refresh token of "+d.name(), len(w.services), w.inSession(d.sessionID()))
	status := w.settles(ctx, func(ctx context.Context) int { return post(ctx, thief, w.auth.url+"/session/refresh", nil) })
	if status == http.StatusOK || status == http.StatusNoContent {
		return "", errors.New("the stolen refresh token was exchanged")
	}
	if status == http.StatusUnauthorized {
		status = http.StatusNoContent
	}
	return toldBy(status, d.name()+" exchanged its refresh token; a thief presented the used one. Two held it, nobody can tell who is who, so the session ended everywhere. The user has to log in again.", "")
}

// secured gives cookies that a jar has handed out the attributes back that it demands of their names.
func secured(all []*http.Cookie) []*http.Cookie {
	for _, c := range all {
		c.Secure, c.HttpOnly, c.Path = true, true, "/"
	}
	return all
}

func (w *world) service(t target) (*service, error) {
	for _, s := range w.services {
		if s.name == t.Service {
			return s, nil
		}
	}
	return nil, errSay("There is no such service.")
}

func setPolicy(ctx context.Context, w *world, t target) (string, error) {
	s, err := w.service(t)
	if err != nil {
		return "", err
	}
	for i, p := range policies {
		if p.name == t.Policy {
			s.policy.Store(int32(i))
			return fmt.Sprintf("%s now judges by revoke.%s. %s", s.name, p.policy, p.says), nil
		}
	}
	return "", errSay("There is no such policy.")
}

func cut(ctx context.Context, w *world, t target) (string, error) {
	s, err := w.service(t)
	if err != nil {
		return "", err
	}
	s.link.cut()
	return s.name + " is cut off from NATS. It goes on answering from its replica for as long as that is proven, 4 s here; then its policy decides.", nil
}

func mend(ctx context.Context, w *world, t target) (string, error) {
	s, err := w.service(t)
	if err != nil {
		return "", err
	}
	s.link.mend()
	return s.name + " can reach NATS again. It connects by itself, reads what it has missed, and is fresh.", nil
}

func restart(ctx context.Context, w *world, t target) (string, error) {
	s, err := w.service(t)
	if err != nil {
		return "", err
	}
	s.stop()
	if err := s.start(ctx); err != nil {
		return "", err
	}
	return s.name + " was restarted with an empty memory. It answers 503 until it has read the log to an end that is proven, and then knows everything again.", nil
}

func stopNATS(ctx context.Context, w *world, t target) (string, error) {
	if err := w.broker.stop(); err != nil {
		return "", err
	}
	return "NATS is stopped. Requests are answered from memory while the replicas are proven, 4 s here, and by each service’s policy after that. What is known to be revoked stays refused in any case.", nil
}

func startNATS(ctx context.Context, w *world, t target) (string, error) {
	if err := w.broker.start(ctx); err != nil {
		return "", err
	}
	return "NATS runs again. Everybody connects by itself; what could not be published meanwhile is published now.", nil
}

// keepBackup takes the backup that a later rollback restores: the stream as it was before the event
// that comes now.
func (w *world) keepBackup(ctx context.Context) error {
	if !w.broker.running() {
		return nil
	}
	return w.broker.backUp(ctx)
}

var errNoNATS = errSay("NATS is stopped: start it first.")

func rollBack(ctx context.Context, w *world, t target) (string, error) {
	if !w.broker.running() {
		return "", errNoNATS
	}
	if err := w.broker.rollBack(ctx, false); err != nil {
		return "", err
	}
	w.setForked(false)
	return "The server was given back the stream as it was before the last revocation, and its mirror was made anew. The services still refuse what they know, and the auth service notices the loss and publishes again what it had published.", nil
}

// fork restores a backup and leaves the mirror as it was. An event that was in neither the backup nor
// anybody’s memory shows that the logs differ.
func fork(ctx context.Context, w *world, t target) (string, error) {
	if !w.broker.running() {
		return "", errNoNATS
	}
	if err := w.broker.backUp(ctx); err != nil {
		return "", err
	}
	receipt, err := w.auth.member.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: "a-session-of-nobody", Reason: "demo"})
	if err != nil {
		return "", err
	}
	if err := w.broker.waitMirror(ctx, receipt.Sequence); err != nil { // or it would lack what the stream loses
		return "", err
	}
	if err := w.broker.rollBack(ctx, true); err != nil {
		return "", err
	}
	w.setForked(true)
	return "The stream was restored from a backup, and its mirror was left as it was: it holds another log now, under the same numbers, and NATS reports no error. search, which follows it, notices by the digests in the heartbeats and says so.", nil
}

func remakeMirror(ctx context.Context, w *world, t target) (string, error) {
	if !w.broker.running() {
		return "", errNoNATS
	}
	if err := w.broker.remakeMirror(ctx); err != nil {
		return "", err
	}
	w.setForked(false)
	return "The mirror was made anew from the stream. search reads it from the start and is fresh again.", nil
}

func (w *world) setForked(forked bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forked = forked
}
