package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// policy is what verifiers do while they are not fresh. A test breaks it, to see the
// run fail.
var policy = revoke.Deny()

const (
	pollEvery = 5 * time.Millisecond
	// wheelTick times wheelSlots is the longest delay of a second check.
	wheelTick  = 100 * time.Millisecond
	wheelSlots = 256
	// A verifier that was stopped does not make up for more than this in one go.
	maxCatchUp = 500
)

// A verifier follows the bus as a service does, and asks about tokens that it learns
// of from the publishers' histories, not from the bus: at the moment of the
// acknowledgement, some time later, and at random.
type verifier struct {
	cfg      childConfig
	clock    clock
	list     *revoke.List
	member   *bus.Member
	issuer   *issue.Issuer
	verifier *token.Verifier
	out      *recorder
	skew     time.Duration

	sources []*source
	known   int // events acknowledged
	wheel   [wheelSlots][]task
	slot    int
	checks  uint64
}

// A source is a publisher's history as far as it was read.
type source struct {
	publisher uint16
	file      *os.File
	offset    int64
	before    []int64 // by number
	acked     []uint32
}

type task struct {
	event  ref
	before int64
	role   role
}

func runVerifier(cfg childConfig, log *slog.Logger, commands <-chan string) error {
	v := &verifier{cfg: cfg, clock: newClock()}
	var err error
	if v.list, err = revoke.NewList(revoke.Config{MaxStaleness: cfg.MaxStaleness, TokenLifetime: lifetime, Logger: log}); err != nil {
		return err
	}
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		return err
	}
	if v.issuer, err = issue.NewIssuer(issue.Config{Issuer: issuerName, Keys: ring}); err != nil {
		return err
	}
	v.verifier, err = token.NewVerifier(token.VerifierConfig{
		Issuer: issuerName, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring,
		Revocations: v.list, WhenStale: policy,
	})
	if err != nil {
		return err
	}
	if v.out, err = newRecorder(fileName(cfg.Dir, "verifier", cfg.Incarnation), 20*time.Millisecond); err != nil {
		return err
	}
	v.member, err = join(cfg, log, bus.Config{List: v.list, Stream: cfg.Stream, NoHeartbeats: cfg.Stream == mirrorName})
	if err != nil {
		return err
	}
	defer v.member.Close()
	return v.run(commands)
}

func (v *verifier) run(commands <-chan string) error {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	var listed, turned, reported time.Time
	for {
		select {
		case c := <-commands:
			if d, ok := strings.CutPrefix(c, "skew "); ok {
				n, err := strconv.ParseInt(d, 10, 64)
				if err != nil {
					return err
				}
				v.skew = time.Duration(n)
				continue
			}
			if c != "stop" {
				return fmt.Errorf("no command %q", c)
			}
			if err := v.sweep(); err != nil {
				return err
			}
			return v.out.close()
		case <-poll.C:
		}
		now := time.Now()
		if now.Sub(listed) >= 200*time.Millisecond {
			listed = now
			if err := v.discover(); err != nil {
				return err
			}
		}
		fresh, err := v.read()
		if err != nil {
			return err
		}
		for i, t := range fresh {
			if len(fresh)-i > maxCatchUp {
				continue
			}
			if err := v.learned(t); err != nil {
				return err
			}
		}
		for range 2 { // when nothing is published, too
			if err := v.atRandom(); err != nil {
				return err
			}
		}
		if now.Sub(turned) >= wheelTick {
			turned = now
			v.slot = (v.slot + 1) % wheelSlots
			due := v.wheel[v.slot]
			v.wheel[v.slot] = due[:0]
			for _, t := range due {
				if err := v.check(t); err != nil {
					return err
				}
			}
		}
		if now.Sub(reported) >= reportEvery {
			reported = now
			s := v.member.Status()
			tell(report{At: v.clock.now(), State: s.State.String(), Reason: s.Reason.String(), Proven: v.clock.of(s.Proven),
				Checks: v.checks, Resubscribed: max(s.Subscriptions, 1) - 1})
		}
	}
}

// discover opens the histories of new publishers.
func (v *verifier) discover() error {
	list, err := histories(v.cfg.Dir, "publisher")
	if err != nil {
		return err
	}
	for _, n := range list[len(v.sources):] {
		f, err := os.Open(fileName(v.cfg.Dir, "publisher", n))
		if err != nil {
			return err
		}
		v.sources = append(v.sources, &source{publisher: uint16(n), file: f})
	}
	return nil
}

// read returns what was acknowledged since.
func (v *verifier) read() ([]task, error) {
	var fresh []task
	for _, s := range v.sources {
		var err error
		s.offset, err = eachRecord(s.file, s.offset, func(b []byte) error {
			p, err := decodePublication(b)
			if err != nil {
				return err
			}
			switch p.kind {
			case pubAttempt:
				s.before = append(s.before, p.before)
			case pubAcked:
				if int(p.number) >= len(s.before) {
					return fmt.Errorf("event %d acknowledged before it was sent", p.number)
				}
				s.acked = append(s.acked, p.number)
				v.known++
				fresh = append(fresh, task{event: ref{s.publisher, p.number}, before: s.before[p.number]})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

// learned checks the tokens of an event just acknowledged, and plans to again.
func (v *verifier) learned(t task) error {
	wants := t.event.wants()
	for _, r := range []role{oldToken, wants[rand.N(len(wants))]} {
		t.role = r
		later := (v.slot + 1 + rand.N(wheelSlots-1)) % wheelSlots
		v.wheel[later] = append(v.wheel[later], t)
		if r == oldToken || rand.N(4) == 0 {
			if err := v.check(t); err != nil {
				return err
			}
		}
	}
	if rand.N(4) == 0 {
		return v.atRandom()
	}
	return nil
}

// atRandom checks a token of any event so far.
func (v *verifier) atRandom() error {
	if v.known == 0 {
		return nil
	}
	i := rand.N(v.known)
	for _, s := range v.sources {
		if i < len(s.acked) {
			return v.check(s.task(s.acked[i]))
		}
		i -= len(s.acked)
	}
	return nil
}

func (s *source) task(n uint32) task {
	r := ref{s.publisher, n}
	wants := r.wants()
	t := task{event: r, before: s.before[n]}
	if rand.N(2) == 0 {
		t.role = wants[rand.N(len(wants))]
	}
	return t
}

// sweep asks about what was published, at last: all of it, or as much as ends in
// reasonable time.
func (v *verifier) sweep() error {
	if _, err := v.read(); err != nil {
		return err
	}
	const most = 200_000
	for _, s := range v.sources {
		for _, n := range s.acked {
			if v.known > most && rand.N(v.known) >= most {
				continue
			}
			if err := v.check(task{ref{s.publisher, n}, s.before[n], oldToken}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *verifier) check(t task) error {
	iat := t.role.issued(t.before)
	id := t.event.identity(t.role, iat)
	var raw string
	if kind, value := t.event.value(); kind == revoke.KindSession && t.event.number%block == 8 && t.role == oldToken {
		issued, err := v.issuer.Issue(context.Background(), issue.Request{
			Subject: id.Subject, Client: id.Client, Session: value, Audience: []string{"orders"}, Lifetime: 10 * time.Minute,
		})
		if err != nil {
			return err
		}
		raw, iat = issued.Raw(), issued.Claims().MintedAt().UnixMilli()
	}
	// From here to the answer nothing may come in between: the check begins now.
	now := revoke.Now()
	s := v.list.Status(now)
	var err error
	skewed := false
	if raw != "" {
		_, err = v.verifier.Verify(context.Background(), raw)
	} else {
		at := now
		at.Wall += int64(v.skew)
		skewed = v.skew != 0
		err = v.list.Check(at, &id, policy)
	}
	c := checked{
		begin: v.clock.of(now), proven: v.clock.of(s.Proven), event: t.event, role: t.role, iat: iat,
		took:  uint32(min(revoke.Now().Mono-now.Mono, 1<<32-1)),
		state: uint8(s.State), reason: uint8(s.Reason), whole: raw != "", skewed: skewed,
	}
	switch {
	case err == nil:
		c.answer = accepted
	case errors.Is(err, revoke.ErrRevoked):
		c.answer = revoked
	case errors.Is(err, revoke.ErrStale):
		c.answer = stale
	default:
		c.answer = failed
		fmt.Fprintln(os.Stderr, "check:", err)
	}
	v.checks++
	return v.out.add(c.encode)
}
