package issue_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A simInstance is one instance of the auth service, with a link of its own to the
// store.
type simInstance struct {
	sim    *simulation
	name   string
	ring   atomic.Pointer[issue.Keyring] // nil while it is down
	issuer *issue.Issuer
	down   time.Time // until when the process does not run

	mu      sync.Mutex
	skew    time.Duration
	ahead   time.Duration // beyond what is allowed
	lag     time.Duration // of what it reads, which is not allowed
	reads   []simRead
	cut     time.Time // until when the link is cut
	deposed time.Time // until when its reads go to a leader that was deposed
	crash   bool      // the process died within a call
	chaos   bool
	rand    *rand.Rand
	lastGot time.Time // when Load last succeeded
}

func (i *simInstance) now() revoke.Instant {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := revoke.Now()
	return revoke.Instant{Wall: now.Wall + int64(i.skew+i.ahead), Mono: now.Mono}
}

var errSim = errors.New("the network ate it")

// fails says what becomes of a call, of which one in odds fails: "" is well.
func (i *simInstance) fails(odds int) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.crash:
		return "crashed"
	case time.Now().Before(i.cut):
		return []string{"refused", "hangs"}[i.rand.IntN(2)]
	case !i.chaos || i.rand.IntN(odds) > 0:
		return ""
	}
	return []string{"refused", "hangs", "ack lost", "late", "crash before", "crash after"}[i.rand.IntN(6)]
}

func (i *simInstance) Load(ctx context.Context, key string) (recordstore.Record, error) {
	switch i.fails(10) {
	case "refused", "crashed":
		return recordstore.Record{}, errSim
	case "hangs":
		<-ctx.Done()
		return recordstore.Record{}, ctx.Err()
	}
	at := time.Now()
	i.travel()
	record, err := i.sim.store.Load(ctx, key)
	if old, ok := i.sim.deposed(i, at); ok && err == nil {
		record = old
	}
	i.travel()
	i.mu.Lock()
	defer i.mu.Unlock()
	if err == nil {
		i.lastGot = at
	}
	if i.lag > 0 && err == nil && i.ring.Load() != nil {
		i.reads = append(i.reads, simRead{at, record})
		for len(i.reads) > 1 && time.Since(i.reads[1].at) > i.lag {
			i.reads = i.reads[1:]
		}
		return i.reads[0].record, nil
	}
	return record, err
}

type simRead struct {
	at     time.Time
	record recordstore.Record
}

func (i *simInstance) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	how := i.fails(3)
	i.mu.Lock()
	delay := time.Duration(i.rand.Int64N(int64(40*time.Minute) >> i.rand.IntN(8)))
	i.mu.Unlock()
	i.sim.count("save " + how)
	switch how {
	case "refused", "crashed":
		return 0, errSim
	case "hangs":
		<-ctx.Done()
		return 0, ctx.Err()
	case "late": // what was sent arrives, when nobody waits for it any more
		value := slices.Clone(value)
		go func() {
			time.Sleep(delay)
			n, err := i.sim.store.Save(context.Background(), key, value, revision, expires)
			i.sim.wrote(n, value, err)
			if err == nil {
				i.sim.count("late save took effect")
			}
		}()
		return 0, errSim
	case "crash before":
		i.die()
		return 0, errSim
	}
	i.travel()
	defer i.travel()
	n, err := i.sim.store.Save(ctx, key, value, revision, expires)
	i.sim.wrote(n, value, err)
	switch how {
	case "ack lost":
		return 0, errSim
	case "crash after":
		i.die()
		return 0, errSim
	}
	if errors.Is(err, recordstore.ErrConflict) {
		i.sim.count("conflict")
	}
	return n, err
}

// simLag is how old what a leader shows may be that was deposed and has not heard of it,
// and simLead how long it goes on so.
const simLag, simLead = 25 * time.Second, 3 * time.Minute

// wrote notes what the store holds from now on.
func (s *simulation) wrote(revision uint64, value []byte, err error) {
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, simRead{time.Now(), recordstore.Record{Value: slices.Clone(value), Revision: revision}})
}

// deposed returns what the store held simLag ago, if i has such a leader now.
func (s *simulation) deposed(i *simInstance, at time.Time) (recordstore.Record, bool) {
	i.mu.Lock()
	if i.chaos && i.rand.IntN(40) == 0 {
		i.deposed = at.Add(simLead)
	}
	behind := at.Before(i.deposed)
	i.mu.Unlock()
	if !behind {
		return recordstore.Record{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := len(s.history) - 1; n >= 0; n-- {
		if !s.history[n].at.After(at.Add(-simLag)) {
			if n < len(s.history)-1 {
				s.seen["read from a deposed leader"]++
			}
			return s.history[n].record, true
		}
	}
	return recordstore.Record{}, false
}

// travel is the time that a message takes.
func (i *simInstance) travel() {
	i.mu.Lock()
	d := time.Duration(i.rand.Int64N(int64(2 * time.Second)))
	i.mu.Unlock()
	time.Sleep(d)
}

func (i *simInstance) die() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.crash = true
}

func (s *simulation) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[what]++
}

// run lets an instance live: it opens, crashes, is cut off, its clock is set.
func (i *simInstance) run() {
	s := i.sim
	i.mu.Lock()
	crashed := i.crash
	if s.rand.IntN(200) == 0 {
		i.skew = time.Duration(s.rand.Int64N(int64(simSkew))) - simSkew/2
	}
	if s.rand.IntN(150) == 0 && s.chaos {
		i.cut = time.Now().Add(time.Duration(s.rand.Int64N(int64(3 * s.alone))))
	}
	i.mu.Unlock()
	if i.ring.Load() != nil && (crashed || s.chaos && s.rand.IntN(300) == 0) {
		i.ring.Swap(nil).Close()
		i.down = time.Now().Add(time.Duration(s.rand.Int64N(int64(10 * time.Minute))))
		s.count("crash")
	}
	if i.ring.Load() != nil || time.Now().Before(i.down) {
		return
	}
	i.open()
}

// open starts the process.
func (i *simInstance) open() {
	s := i.sim
	i.mu.Lock()
	i.crash = false
	i.mu.Unlock()
	cfg := simConfig()
	cfg.SetClock(i.now)
	ring, err := issue.OpenKeyring(context.Background(), i, cfg)
	if err != nil {
		s.count("open failed")
		return
	}
	i.issuer, err = issue.NewIssuer(issue.Config{Issuer: forge.Issuer, Keys: ring, Lifetime: simLifetime})
	if err != nil {
		s.t.Error(err)
	}
	i.ring.Store(ring)
}

// byHand does what an operator does now and then.
func (i *simInstance) byHand() {
	s := i.sim
	if i.ring.Load() == nil {
		return
	}
	switch s.rand.IntN(150) {
	case 0:
		s.count("rotated by hand")
		i.ring.Load().Rotate(context.Background())
	case 1:
		// Over a link that works, so that the test knows what to excuse.
		i.mu.Lock()
		chaos := i.chaos
		i.chaos, i.cut = false, time.Time{}
		i.mu.Unlock()
		keys := i.ring.Load().Status().Keys
		k := keys[s.rand.IntN(len(keys))]
		s.removed[k.Key.ID()] = true
		if i.ring.Load().Remove(context.Background(), k.Key.ID()) == nil {
			s.count("removed " + string(k.State))
			s.gone[k.Key.ID()] = time.Now()
			for _, k := range i.ring.Load().Status().Keys {
				if k.State == issue.KeyActive && k.Key.ID() != i.ring.Load().Active().ID() {
					s.t.Error("two keys are active")
				}
			}
			// The ring may have moved on since keys was read.
			_, ripe, _ := simConfig().Timing()
			active := i.ring.Load().Active().ID()
			if !slices.ContainsFunc(keys, func(k issue.KeyStatus) bool {
				return k.Key.ID() == active && (k.State == issue.KeyActive || !k.Since.IsZero() && time.Since(k.Since) > time.Duration(ripe)+simSkew)
			}) {
				s.count("took over too young")
				s.young[active] = time.Now().Add(10 * time.Minute)
			}
		}
		i.mu.Lock()
		i.chaos = chaos
		i.mu.Unlock()
	}
}

// issue signs a token and holds every verifier to knowing its key.
func (i *simInstance) issue() {
	s := i.sim
	if i.ring.Load() == nil {
		return
	}
	i.mu.Lock()
	r := forge.Request()
	r.IssuedAt = time.Now().Add(min(i.skew, 2*time.Second)).Truncate(time.Millisecond) // no issuer writes more
	away := time.Since(i.lastGot)
	i.mu.Unlock()
	issued, err := i.issuer.Issue(context.Background(), r)
	switch {
	case errors.Is(err, token.ErrKeysUnavailable):
		s.count("stopped signing")
		if away < s.alone-simSkew {
			s.violation("stopped signing %v after it had read the store", away)
		}
		return
	case err != nil:
		s.t.Fatal(err)
	case away > s.alone:
		s.violation("still signs, long after it read the store")
	}
	kid := i.kid(issued)
	// What a verifier whose clock is behind takes, with the largest leeway.
	until := issued.Claims().ExpiresAt().Add(revoke.MaxLeeway + simSkew/2)
	if until.After(s.liveUntil[kid]) {
		s.liveUntil[kid] = until
	}
	for n, v := range s.verifiers {
		_, err := s.remotes[n].Lookup(context.Background(), kid, token.EdDSA)
		if err == nil && s.rand.IntN(4) == 0 {
			_, err = v.Verify(context.Background(), issued.Raw())
		}
		switch {
		case err == nil:
			s.count("verified")
		case errors.Is(err, token.ErrUnavailable), errors.Is(err, token.ErrUnknownKey) && s.cutOff(s.remotes[n]):
			s.count("cannot verify")
		case s.excused(kid):
		default:
			s.violation("verifier %d refuses a new token: %v", n, err)
		}
	}
}

// cutOff reports whether no server has answered a verifier for as long as it may keep
// what it has. It calls unknown then what that does not hold.
func (s *simulation) cutOff(remote *token.RemoteKeySet) bool {
	st := remote.Status()
	return st.Err != nil && st.Age > simMaxAge
}

func (i *simInstance) kid(issued *issue.Token) string { return issued.Claims().Identity().Key }

func (s *simulation) excused(kid string) bool {
	return s.removed[kid] || time.Now().Before(s.young[kid])
}
