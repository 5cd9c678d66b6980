package refresh

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// This file is the part of [TestSimulation] in which sessions are bound to a key of their
// device. What must hold beside the rest:
//   - no refresh token gets anything without a proof once its session is bound
//   - no answer that was lost, and no thief who has tokens alone, logs the device out

var simDevice = sync.OnceValue(func() *ecdsa.PrivateKey {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return private
})

func simProof(t testing.TB, registration bool, payload string) string {
	header := `{"alg":"ES256","typ":"dbsc+jwt"}`
	if registration {
		point, err := simDevice().PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		text := base64.RawURLEncoding.EncodeToString
		header = fmt.Sprintf(`{"alg":"ES256","jwk":{"crv":"P-256","kty":"EC","x":%q,"y":%q},"typ":"dbsc+jwt"}`, text(point[1:33]), text(point[33:]))
	}
	in := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	sum := sha256.Sum256([]byte(in))
	r, s, err := ecdsa.Sign(rand.Reader, simDevice(), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return in + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// register binds the session, as its browser does after a login that offers it.
func (s *sim) register(c *simClient) {
	in := s.any()
	authorization, challenge := c.offer[0], c.offer[1]
	c.offer, c.busy = [2]string{}, true
	lose := s.chance(8)
	s.start("register", func() {
		dead, stale := c.dead, s.stale
		began := s.now()
		g, err := in.BindDevice(s.t.Context(), DeviceProof{Client: "web", Proof: simProof(s.t, true, fmt.Sprintf(`{"authorization":%q,"jti":%q}`, authorization, challenge))})
		c.busy = false
		s.note("register %s by %d: %v", c.sid[:4], in.name, err)
		switch {
		case err == nil && !lose:
			s.counts.bound++
			if !dead.IsZero() && began.After(dead) && s.stale == stale {
				s.violation("session %s: bound after it had been ended", c.sid)
			}
			c.id, c.challenge = g.DeviceSession()
			c.tokens = append(c.tokens, g.AccessToken())
			return
		case err == nil:
			c.tokens = append(c.tokens, g.AccessToken())
		case errors.Is(err, ErrPossession):
			s.violation("session %s: its browser cannot register: %v", c.sid, err)
		default:
			s.legal(err)
		}
		// It may be bound, and its browser does not know.
		c.blame("the answer to its registration was lost")
	})
}

// useBound refreshes by a proof.
func (s *sim) useBound(c *simClient) {
	in := s.any()
	c.busy = true
	lose := s.chance(12)
	token := ""
	if s.chance(60) {
		token = c.refresh
	}
	s.start("bound", func() {
		began, proven := s.now(), in.Revocations().Status(in.m.Now()).Proven
		dead, stale := c.dead, s.stale
		g, err := in.RefreshBound(s.t.Context(), DeviceProof{Session: c.id, Client: "web", Proof: simProof(s.t, false, fmt.Sprintf(`{"jti":%q}`, c.challenge)), Token: token})
		c.busy = false
		s.note("bound %s by %d, with a token %t: %v", c.sid[:4], in.name, token != "", err)
		if asks := (*ChallengeError)(nil); errors.As(err, &asks) {
			s.counts.challenged++
			if asks.Session != c.id {
				s.violation("session %s: another is asked for a proof", c.sid)
			}
			c.challenge = asks.Challenge
			return
		}
		if err != nil {
			s.legal(err)
			if errors.Is(err, ErrTryAgain) {
				s.failures++
			}
			if errors.Is(err, ErrLoginAgain) {
				c.gone = true
				if c.cause == "" {
					s.violation("session %s: a device is logged out: %v", c.sid, err)
				}
			}
			return
		}
		s.counts.boundUses++
		c.tokens = append(c.tokens, g.AccessToken())
		if g.SessionID != c.sid {
			s.violation("session %s: the grant is of another", c.sid)
		}
		if !dead.IsZero() && began.After(dead) && s.stale == stale {
			s.violation("session %s: refreshed after it had been ended", c.sid)
		}
		if !c.banned.IsZero() && !proven.IsZero() && s.truth(in, proven).After(c.banned) {
			s.violation("session %s: refreshed by an instance that knew of the ban", c.sid)
		}
		if lose {
			s.counts.lost++
			return
		}
		_, c.challenge = g.DeviceSession()
		if g.RefreshToken() != "" && c.refresh == token { // a logout everywhere may have brought another meanwhile
			c.refresh = g.RefreshToken()
		}
	})
}
