package refresh_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// A proof that is missing, another key's, another session's, stale or a replay brings another
// challenge, ends nothing, and is no theft.
func TestProofsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *refresh.Config) {
			c.OnReplay = func(context.Context, refresh.Session) { t.Error("taken for a theft") }
		})
		b, _ := s.bind(t)
		other, _ := s.bind(t)
		login := s.login(t, offering)
		used := b.next()
		s.use(t, b)
		long := b.challenge
		_, offered := login.DeviceOffer()
		for name, p := range map[string]refresh.DeviceProof{
			"none":                     b.next(func(p *refresh.DeviceProof) { p.Proof = "" }),
			"used before":              used,
			"another key's":            b.next(func(p *refresh.DeviceProof) { p.Proof = other.proof(b.challenge) }),
			"another session's":        b.next(func(p *refresh.DeviceProof) { p.Proof = b.proof(other.challenge) }),
			"made up":                  b.next(func(p *refresh.DeviceProof) { p.Proof = b.proof(strings.Repeat("A", len(b.challenge))) }),
			"empty":                    b.next(func(p *refresh.DeviceProof) { p.Proof = b.proof("") }),
			"a registration's":         b.next(func(p *refresh.DeviceProof) { p.Proof = b.registration("", b.challenge) }),
			"a registration challenge": b.next(func(p *refresh.DeviceProof) { p.Proof = b.proof(offered) }),
			"not signed":               b.next(func(p *refresh.DeviceProof) { p.Proof = p.Proof[:strings.LastIndexByte(p.Proof, '.')+1] }),
		} {
			s.challenged(t, b, p)
			s.use(t, b)
			if t.Failed() {
				t.Fatal(name)
			}
		}
		s.challenged(t, b, b.next(func(p *refresh.DeviceProof) { p.Proof = b.proof(long) }))
		s.use(t, b)
		// Any number of challenges of one state are good, each for a while, and all of them once.
		first := b.challenge
		time.Sleep(time.Minute)
		s.challenged(t, b, b.next(func(p *refresh.DeviceProof) { p.Proof = "" }))
		second := b.challenge
		b.challenge = first
		s.use(t, b)
		s.challenged(t, b, b.next(func(p *refresh.DeviceProof) { p.Proof = b.proof(second) }))
		// The access token's life and a while.
		time.Sleep(refresh.Web.Access + 5*time.Minute + 2*time.Second)
		s.use(t, b)
		time.Sleep(refresh.Web.Access + 5*time.Minute + 2*time.Second + time.Millisecond)
		s.challenged(t, b, b.next())
		s.use(t, b)
		if n := s.Status().RefreshBound.TryAgain["challenge"]; n != 13 {
			t.Errorf("%d proofs were asked for, by the status", n)
		}
	})
}

// A thief who has the whole cookie jar and no key gets nothing, whatever is in it, and
// changes nothing: the device goes on.
func TestThiefWithoutTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		s := newSystem(t, func(c *refresh.Config) {
			c.Lifetimes = refresh.Consumer
			c.OnReplay = func(context.Context, refresh.Session) { t.Error("taken for a theft") }
			c.OnUnbound = func(_ context.Context, x refresh.Session, answered bool) {
				told = append(told, fmt.Sprint(x.ID, answered))
			}
		})
		login := s.login(t, offering)
		b, first := s.register(t, login)
		jar := []string{login.RefreshToken()}
		tries := 0
		steal := func() {
			t.Helper()
			for _, token := range jar {
				for _, change := range []func(*refresh.Request){func(*refresh.Request) {}, boundTo(token2binding)} {
					_, err := s.Refresh(t.Context(), request(token, change))
					if !errors.Is(err, refresh.ErrPossession) || errors.Is(err, refresh.ErrTryAgain) {
						t.Fatalf("a stolen token: %v", err)
					}
					tries++
				}
			}
			thief := &bound{deviceKey: newDeviceKey(t), id: b.id, challenge: b.challenge}
			if _, err := s.RefreshBound(t.Context(), thief.next()); !errors.As(err, new(*refresh.ChallengeError)) {
				t.Fatalf("with a key of his own: %v", err)
			}
			if _, err := s.BindDevice(t.Context(), thief.registering(login)); !errors.Is(err, refresh.ErrPossession) {
				t.Fatalf("a key of his own is bound: %v", err)
			}
		}
		steal()
		for i := range 10 {
			s.browse(t, b)
			jar = append(jar, b.token)
			steal()
			time.Sleep(time.Duration(i) * time.Hour)
			steal()
		}
		s.browse(t, b)
		s.accepted(t, s.use(t, b))
		if len(told) != tries || told[0] != first.SessionID+"false" {
			t.Errorf("the application was told %d times of %d: %v", len(told), tries, told[:min(3, len(told))])
		}
	})
}

var token2binding = token.Binding{KeyThumbprint: strings.Repeat("A", 43)}

// A refresh token that was used up, and comes along with a good proof, is replaced: the browser
// has lost an answer, whenever that was. Nobody is convicted, and the ration is not touched.
func TestUsedTokenWithAProof(t *testing.T) {
	for _, slept := range []time.Duration{0, 5 * time.Second, time.Minute, 20 * time.Hour} {
		t.Run(slept.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				late := false
				s := newSystem(t, func(c *refresh.Config) {
					c.Lifetimes = refresh.Consumer
					c.OnReplay = func(context.Context, refresh.Session) { t.Error("taken for a theft") }
					c.OnLate = func(context.Context, refresh.Session) {
						if !late {
							t.Error("taken for a late retry")
						}
					}
				})
				b, _ := s.bind(t)
				for range 6 {
					old := b.token
					s.use(t, b)
					lost := b.token
					b.token = old
					time.Sleep(slept)
					s.browse(t, b)
					if same := b.token == lost; same != (slept < 10*time.Second) {
						t.Fatalf("after %s it has the same successor: %t", slept, same)
					}
					if b.token == old {
						t.Fatal("it did not rotate")
					}
				}
				oldest := b.token
				for range 20 { // more than are remembered
					s.use(t, b)
					time.Sleep(time.Minute)
				}
				b.token = oldest
				s.use(t, b)
				if b.token == oldest {
					t.Fatal("the oldest was not replaced")
				}
				fallen := func(r *refresh.Request) { r.InsecureUnbound = true }
				g, err := s.Refresh(t.Context(), request(b.token, fallen))
				if err != nil {
					t.Fatal(err)
				}
				s.accepted(t, g)
				late = true
				time.Sleep(time.Minute)
				if g, err = s.Refresh(t.Context(), request(b.token, fallen)); err != nil {
					t.Fatalf("the ration is used up: %v", err)
				}
				s.accepted(t, g)
			})
		})
	}
}

// The compare-and-set decides between two uses of one proof, also at two instances: one of
// them is given a token, and the other one a challenge.
func TestOneProofOneToken(t *testing.T) {
	store := refresh.NewMemoryStore()
	all := instances(t, store, 2)
	b, _ := all[0].bind(t)
	for range 30 {
		p := b.next(alone)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var won []*refresh.Grant
		for i := range 6 {
			wg.Go(func() {
				g, err := all[i%2].RefreshBound(t.Context(), p)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won = append(won, g)
				case !errors.As(err, new(*refresh.ChallengeError)):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d tokens for one proof", len(won))
		}
		b.take(won[0])
	}
}

// What bears a proof or a token shows neither.
func TestDeviceProofShowsNothing(t *testing.T) {
	s := newSystem(t)
	b, _ := s.bind(t)
	p := b.next()
	text := fmt.Sprintf("%v %+v %#v %s %q", p, p, p, p, p)
	encoded, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	text += string(encoded) + p.LogValue().String()
	for _, secret := range []string{p.Proof, p.Token, p.Session} {
		if strings.Contains(text, secret) {
			t.Errorf("%s", "a secret is shown")
		}
	}
	if !strings.Contains(text, "web") {
		t.Error("nothing is shown")
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	for _, r := range s.store.saved {
		for _, secret := range []string{p.Token, b.id, b.challenge, p.Proof} {
			if strings.Contains(string(r), secret) {
				t.Error("a secret is stored")
			}
		}
	}
}

// Why another proof is asked for is said: for who looks after a service in which browsers are
// sent in circles.
func TestChallengeErrorSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b, _ := s.bind(t)
		other, _ := s.bind(t)
		used := b.next()
		s.use(t, b)
		old := b.next()
		for _, c := range []struct {
			name, why string
			after     time.Duration
			proof     string
		}{
			{"none", "there is none", 0, ""},
			{"another key's", "signature", 0, other.proof(b.challenge)},
			{"used", "for a challenge that was used", 0, used.Proof},
			{"of another length", "for another challenge", 0, b.proof("x")},
			{"old", "too old", time.Hour - time.Second, old.Proof},
		} {
			time.Sleep(c.after)
			_, err := s.RefreshBound(t.Context(), b.next(func(p *refresh.DeviceProof) { p.Proof = c.proof }))
			if !errors.As(err, new(*refresh.ChallengeError)) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%s: %v, want %q", c.name, err, c.why)
			}
		}
	})
}
