package sessions_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// With these set TestSessionsOnCluster goes on until there are so many refreshes, and
// writes an account of it to that file:
//
//	HYBRIDTOKEN_REFRESHES=100000 HYBRIDTOKEN_ACCOUNT=$PWD/../../refresh/natskv/ACCOUNT.md \
//		go test -count=1 -timeout 2h -run TestSessionsOnCluster .
const (
	refreshesEnv = "HYBRIDTOKEN_REFRESHES"
	accountEnv   = "HYBRIDTOKEN_ACCOUNT"
)

// Sessions on three real servers whose leader is killed, frozen and restarted under
// refreshes, some of them by two instances at a time, some given up by the client: one
// refresh token has one successor (invariant 8), the client that got one can use it, and no
// honest client is logged out.
func TestSessionsOnCluster(t *testing.T) {
	t.Parallel()
	r := newSessionRun(t)
	c := newProcessCluster(t)
	admin := rig.StoreConnection(t, c.urls())
	if err := natskv.CreateBucket(rig.Within(t), admin, natskv.BucketConfig{MaxBytes: 256 << 20}); err != nil {
		t.Fatal(err)
	}
	c.settled(rig.SessionsStream)
	r.open(c.urls())

	for i := range r.families {
		r.login(i)
	}
	r.began = time.Now()
	var workers sync.WaitGroup
	idle := make(chan *family, len(r.families))
	for _, f := range r.families {
		idle <- f
	}
	ctx, stop := context.WithCancel(t.Context())
	for range len(r.families) / 8 {
		workers.Go(func() {
			for ctx.Err() == nil {
				f := <-idle
				r.refresh(f, true)
				idle <- f
			}
		})
	}
	defer workers.Wait()
	defer stop()

	// One fault after the other, and time between them.
	for n := 0; n < len(sessionFaults) || r.acked() < r.want; n++ {
		r.until(r.acked() + r.pause)
		fault := sessionFaults[n%len(sessionFaults)]
		from := time.Now()
		fault.do(c, c.leader(rig.SessionsStream), r)
		undone := time.Now()
		c.settled(rig.SessionsStream)
		r.until(r.acked() + 20)
		r.note(fault.name, from, undone)
		if t.Failed() {
			break
		}
	}
	stop()
	workers.Wait()
	r.ended = time.Now()

	for _, f := range r.families { // everyone is still logged in
		r.refresh(f, false)
	}
	r.thieves()
	r.report()
}

// A family is one session and its honest client.
type family struct {
	user   string
	token  string // that the client has
	former string // of about the middle, used up
	uses   int
}

// A sessionRun is the whole of it. The grace window is longer than the servers' longest
// outage, as it has to be for clients that hang up and try again much later; the numbers
// of families leave each fewer refreshes within it than the 16 that a session may have.
type sessionRun struct {
	t        *testing.T
	want     int
	pause    int // refreshes between faults
	grace    time.Duration
	managers []*refresh.Manager
	families []*family

	began, ended time.Time

	mu     sync.Mutex
	acks   []time.Time // guarded by mu: when refreshes came back with a grant
	took   []time.Duration
	counts map[string]int
	bad    []string
	faults []sessionFault
}

// A sessionFault is what became of one.
type sessionFault struct {
	name         string
	lasted, calm time.Duration // until undone; the longest time without an acknowledged refresh
}

func newSessionRun(t *testing.T) *sessionRun {
	r := &sessionRun{t: t, want: 500, pause: 60, grace: 30 * time.Second, counts: map[string]int{}}
	n := 300
	if s := os.Getenv(refreshesEnv); s != "" {
		var err error
		if r.want, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
		n, r.pause = 1500, 2000
	}
	for i := range n {
		r.families = append(r.families, &family{user: fmt.Sprint("user-", i)})
	}
	return r
}

// open makes four instances of the service, each with a connection of its own.
func (r *sessionRun) open(urls string) {
	r.t.Helper()
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	if err != nil {
		r.t.Fatal(err)
	}
	iss, err := issue.NewIssuer(issue.Config{Issuer: rig.Issuer, Keys: ring})
	if err != nil {
		r.t.Fatal(err)
	}
	list := rig.NewList(r.t, revoke.Config{Local: true, MaxSkew: iss.Config().MaxSkew})
	lives := refresh.Web
	lives.Grace = r.grace
	for range 4 {
		s, err := natskv.New(rig.Within(r.t), rig.StoreConnection(r.t, urls, nats.PingInterval(2*time.Second)), natskv.Config{})
		if err != nil {
			r.t.Fatal(err)
		}
		m, err := refresh.NewManager(refresh.Config{
			Issuer: iss, Store: s, Revocations: list, Lifetimes: lives,
			OnGrace:  func(context.Context, refresh.Session) { r.count("answered within the grace window", 1) },
			OnReplay: func(context.Context, refresh.Session) { r.count("replays", 1) },
		})
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { m.Close() })
		r.managers = append(r.managers, m)
	}
}

func (r *sessionRun) any() *refresh.Manager { return r.managers[rand.IntN(len(r.managers))] }

func (r *sessionRun) count(what string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what] += n
}

func (r *sessionRun) violation(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad = append(r.bad, fmt.Sprintf(format, args...))
	r.t.Errorf(format, args...)
}

func (r *sessionRun) acked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.acks)
}

func (r *sessionRun) until(n int) {
	r.t.Helper()
	rig.Eventually(r.t, "refreshes go on", func() bool { return r.acked() >= n || r.t.Failed() })
}

func (r *sessionRun) login(i int) {
	r.t.Helper()
	f := r.families[i]
	g, err := r.any().Login(rig.Within(r.t), refresh.Login{Subject: f.user, Client: "web", Audience: []string{"orders"}, AuthTime: time.Now()})
	if err != nil {
		r.t.Fatal(err)
	}
	f.token = g.RefreshToken()
}

// generation is the secret that a refresh token has of its own, as text.
func generation(refreshToken string) string {
	_, body, _ := strings.Cut(refreshToken, "_")
	b, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || len(b) < 64 {
		return "no refresh token"
	}
	return string(b[len(b)-32:])
}

// refresh is what an honest client does: it presents its token until it is answered
// or told to log in again. If wild, it has the token presented twice at a time now and
// then, as two tabs of a browser do, or hangs up.
func (r *sessionRun) refresh(f *family, wild bool) {
	began := time.Now()
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), rig.Deadline)
		calls := 1
		if wild && try == 0 {
			switch rand.IntN(10) {
			case 0, 1:
				calls = 2
				r.count("presented twice at a time", 1)
			case 2:
				cancel()
				ctx, cancel = context.WithTimeout(context.Background(), rand.N(20*time.Millisecond))
				r.count("calls that the client gave up within 20 ms", 1)
			}
		}
		grants, errs := make([]*refresh.Grant, calls), make([]error, calls)
		var wg sync.WaitGroup
		for i := range calls {
			m := r.any()
			wg.Go(func() { grants[i], errs[i] = m.Refresh(ctx, refresh.Request{Token: f.token, Client: "web"}) })
		}
		wg.Wait()
		cancel()
		var got *refresh.Grant
		for i, g := range grants {
			switch err := errs[i]; {
			case err == nil && got != nil && generation(g.RefreshToken()) != generation(got.RefreshToken()):
				r.violation("%s: one refresh token has two successors", f.user)
			case err == nil:
				got = g
			case errors.Is(err, refresh.ErrLoginAgain):
				r.violation("%s: an honest client is logged out, %s after it first presented its token, try %d: %v", f.user, time.Since(began), try, err)
				return
			case says(err, "write not answered"):
				r.count("try again: write not confirmed", 1)
			case says(err, "session busy"):
				r.count("try again: busy", 1)
			case errors.Is(err, refresh.ErrTryAgain):
				r.count("try again: store", 1)
			default:
				r.violation("%s: %v", f.user, err)
				return
			}
		}
		if got != nil {
			now := time.Now()
			if f.uses++; f.uses%8 == 4 {
				f.former = f.token
			}
			f.token = got.RefreshToken()
			r.mu.Lock()
			r.acks, r.took = append(r.acks, now), append(r.took, now.Sub(began))
			r.mu.Unlock()
			return
		}
		<-time.After(rand.N(200 * time.Millisecond)) // as clients do
		if r.t.Failed() {
			return
		}
	}
}

// thieves shows that the judge could have seen something: a token that was used up
// ends its session once the window is over, and the latest is worth nothing then.
func (r *sessionRun) thieves() {
	r.t.Helper()
	if r.t.Failed() {
		return
	}
	timer := time.NewTimer(r.grace + 3*time.Second) // clocks differ by MaxSkew
	defer timer.Stop()
	<-timer.C
	convicted, doubtful := 0, 0
	for _, f := range r.families {
		if f.former == "" || convicted == 20 {
			continue
		}
		switch _, err := r.any().Refresh(rig.Within(r.t), refresh.Request{Token: f.former, Client: "web"}); {
		case errors.Is(err, refresh.ErrReused):
			convicted++
			if _, err := r.any().Refresh(rig.Within(r.t), refresh.Request{Token: f.token, Client: "web"}); !errors.Is(err, refresh.ErrEnded) {
				r.violation("%s: the latest token after a replay: %v; want ErrEnded", f.user, err)
			}
		case says(err, "retried too late"):
			doubtful++ // the store was down since its use: it is given nothing, and convicted later
		default:
			r.violation("%s: a token used up long ago: %v; want ErrReused", f.user, err)
		}
	}
	if convicted == 0 {
		r.violation("no thief was convicted, %d were in doubt", doubtful)
	}
	r.count("replays by thieves at the end", convicted)
	r.count("replays in doubt, given nothing", doubtful)
}

// sessionFaults are what is done to the servers, the bucket's leader among them.
var sessionFaults = []struct {
	name string
	do   func(c *processCluster, leader int, r *sessionRun)
}{
	{"leader killed", func(c *processCluster, leader int, r *sessionRun) {
		c.kill(leader)
		r.wait(rand.N(3 * time.Second))
		c.start(leader)
	}},
	{"leader frozen", func(c *processCluster, leader int, r *sessionRun) {
		c.freeze(leader)
		// Long enough for another to lead, so that two think they do when it wakes.
		r.wait(5*time.Second + rand.N(7*time.Second))
		c.thaw(leader)
	}},
	{"leader killed, back at once", func(c *processCluster, leader int, _ *sessionRun) {
		c.kill(leader)
		c.start(leader)
	}},
	{"leader frozen for a moment", func(c *processCluster, leader int, r *sessionRun) {
		c.freeze(leader)
		r.wait(rand.N(3 * time.Second))
		c.thaw(leader)
	}},
	{"leader restarted", func(c *processCluster, leader int, _ *sessionRun) {
		c.stop(leader)
		c.start(leader)
	}},
	{"leader and follower killed", func(c *processCluster, leader int, r *sessionRun) {
		c.kill(leader)
		c.kill((leader + 1) % 3)
		r.wait(rand.N(2 * time.Second))
		c.start(leader)
		c.start((leader + 1) % 3)
	}},
	{"all killed", func(c *processCluster, _ int, _ *sessionRun) {
		for i := range c.nodes {
			c.kill(i)
		}
		for i := range c.nodes {
			c.start(i)
		}
	}},
}

// wait lets a fault last.
func (r *sessionRun) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

func (r *sessionRun) note(name string, from, undone time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := sessionFault{name: name, lasted: undone.Sub(from)}
	last := from
	for _, at := range r.acks {
		if at.After(from) {
			f.calm = max(f.calm, at.Sub(last))
			last = at
		}
	}
	f.calm = max(f.calm, time.Since(last))
	r.faults = append(r.faults, f)
	r.t.Logf("%d refreshes; %s for %.1f s, none acknowledged for %.1f s", len(r.acks), name, f.lasted.Seconds(), f.calm.Seconds())
}

// report writes the account.
func (r *sessionRun) report() {
	r.t.Helper()
	slices.Sort(r.took)
	at := func(q float64) time.Duration {
		return r.took[int(q*float64(len(r.took)-1))].Round(100 * time.Microsecond)
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Account of a run of TestSessionsOnCluster\n")
	p("Three NATS servers, a process each, on one machine with 2 shared cores: one bucket, three replicas on file, sync always. Four instances of the service, %d sessions, a grace window of %s. "+
		"`HYBRIDTOKEN_REFRESHES=%d`; %.0f s.\n", len(r.families), r.grace, r.want, r.ended.Sub(r.began).Seconds())
	p("| | |\n| --- | ---: |")
	p("| violations: a refresh token with two successors, an honest client logged out, an acknowledged rotation lost | %d |", len(r.bad))
	p("| refreshes acknowledged | %d |", len(r.acks))
	p("| … a second, outages included | %.0f |", float64(len(r.acks))/r.ended.Sub(r.began).Seconds())
	p("| time from a client's first try to its grant: median, 99 %%, 99.9 %%, longest | %s, %s, %s, %s |", at(.5), at(.99), at(.999), at(1))
	keys := make([]string, 0, len(r.counts))
	for k := range r.counts {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		p("| %s | %d |", k, r.counts[k])
	}
	p("\n| fault | times | lasted, s | longest time without an acknowledged refresh, s: median | worst |\n| --- | ---: | ---: | ---: | ---: |")
	for _, kind := range sessionFaults {
		var lasted, calm []float64
		for _, f := range r.faults {
			if f.name == kind.name {
				lasted, calm = append(lasted, f.lasted.Seconds()), append(calm, f.calm.Seconds())
			}
		}
		if slices.Sort(lasted); len(lasted) > 0 {
			slices.Sort(calm)
			p("| %s | %d | %.1f to %.1f | %.1f | %.1f |", kind.name, len(lasted), lasted[0], lasted[len(lasted)-1], calm[len(calm)/2], calm[len(calm)-1])
		}
	}
	r.t.Log("\n" + b.String())
	if path := os.Getenv(accountEnv); path != "" {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			r.t.Error(err)
		}
	}
}
