package refresh_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A deviceKey is the key of a browser's device, and signs as Chromium 156 does.
type deviceKey struct{ private *ecdsa.PrivateKey }

func newDeviceKey(t testing.TB) *deviceKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &deviceKey{private}
}

// registration is the proof of a registration.
func (k *deviceKey) registration(authorization, challenge string) string {
	point, err := k.private.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	x, y := base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
	return k.sign(fmt.Sprintf(`{"alg":"ES256","jwk":{"crv":"P-256","kty":"EC","x":%q,"y":%q},"typ":"dbsc+jwt"}`, x, y), fmt.Sprintf(`{"authorization":%q,"jti":%q}`, authorization, challenge))
}

// proof is one for a challenge.
func (k *deviceKey) proof(challenge string) string {
	return k.sign(`{"alg":"ES256","typ":"dbsc+jwt"}`, fmt.Sprintf(`{"jti":%q}`, challenge))
}

func (k *deviceKey) sign(header, payload string) string {
	in := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	sum := sha256.Sum256([]byte(in))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		panic(err)
	}
	return in + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// A bound is a device-bound session as its browser has it.
type bound struct {
	*deviceKey
	id, challenge, token string
}

func offering(l *refresh.Login) { l.BindDevice = true }

// bind logs in and binds the session to a new key.
func (s *system) bind(t *testing.T, change ...func(*refresh.Login)) (*bound, *refresh.Grant) {
	t.Helper()
	return s.register(t, s.login(t, append(change, offering)...))
}

func (s *system) register(t *testing.T, g *refresh.Grant) (*bound, *refresh.Grant) {
	t.Helper()
	b := &bound{deviceKey: newDeviceKey(t), token: g.RefreshToken()}
	first, err := s.BindDevice(t.Context(), b.registering(g))
	if err != nil {
		t.Fatal(err)
	}
	if b.id, b.challenge = first.DeviceSession(); b.id == "" || b.challenge == "" || first.RefreshToken() != "" || first.SessionID != g.SessionID {
		t.Fatalf("bound: %v, id %q", first, b.id)
	}
	s.accepted(t, first)
	return b, first
}

func (b *bound) registering(g *refresh.Grant) refresh.DeviceProof {
	return refresh.DeviceProof{Proof: b.registration(g.DeviceOffer()), Client: "web", URL: "https://app.example/register"}
}

// next is what the browser sends to refresh.
func (b *bound) next(change ...func(*refresh.DeviceProof)) refresh.DeviceProof {
	p := refresh.DeviceProof{Session: b.id, Proof: b.proof(b.challenge), Client: "web", URL: "https://app.example/refresh", Token: b.token}
	for _, c := range change {
		c(&p)
	}
	return p
}

func alone(p *refresh.DeviceProof) { p.Token = "" }

// use refreshes, and takes what the answer brings.
func (s *system) use(t *testing.T, b *bound, change ...func(*refresh.DeviceProof)) *refresh.Grant {
	t.Helper()
	g, err := s.RefreshBound(t.Context(), b.next(change...))
	if err != nil {
		t.Fatal(err)
	}
	s.accepted(t, g)
	b.take(g)
	return g
}

// browse is use after a while, in which the challenge may have grown too old.
func (s *system) browse(t *testing.T, b *bound) *refresh.Grant {
	t.Helper()
	_, err := s.RefreshBound(t.Context(), b.next(func(p *refresh.DeviceProof) { p.Proof = "" }))
	var c *refresh.ChallengeError
	if !errors.As(err, &c) {
		t.Fatal(err)
	}
	b.challenge = c.Challenge
	return s.use(t, b)
}

func (b *bound) take(g *refresh.Grant) {
	_, b.challenge = g.DeviceSession()
	if g.RefreshToken() != "" {
		b.token = g.RefreshToken()
	}
}

// challenged expects that another proof is asked for, and takes the challenge.
func (s *system) challenged(t *testing.T, b *bound, p refresh.DeviceProof) {
	t.Helper()
	_, err := s.RefreshBound(t.Context(), p)
	var c *refresh.ChallengeError
	if !errors.As(err, &c) || !errors.Is(err, refresh.ErrTryAgain) || errors.Is(err, refresh.ErrLoginAgain) {
		t.Fatalf("no proof is asked for: %v", err)
	}
	if c.Session != b.id || c.Challenge == "" {
		t.Fatalf("asked for a proof by session %q, challenge %q", c.Session, c.Challenge)
	}
	for _, secret := range []string{p.Proof, p.Token, b.challenge} {
		if secret != "" && strings.Contains(err.Error(), secret) {
			t.Fatalf("the error shows what was sent: %v", err)
		}
	}
	b.challenge = c.Challenge
}

// unusable expects an error of that kind, of the family "log in again" alone.
func (s *system) unusable(t *testing.T, p refresh.DeviceProof, want error) {
	t.Helper()
	_, err := s.RefreshBound(t.Context(), p)
	if !errors.Is(err, want) || !errors.Is(err, refresh.ErrLoginAgain) || errors.Is(err, refresh.ErrTryAgain) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// tryAgain expects an error of that kind, of the family "try again" alone, that asks for no proof.
func (s *system) tryAgain(t *testing.T, p refresh.DeviceProof, want error) {
	t.Helper()
	_, err := s.RefreshBound(t.Context(), p)
	if !errors.Is(err, want) || !errors.Is(err, refresh.ErrTryAgain) || errors.Is(err, refresh.ErrLoginAgain) || errors.As(err, new(*refresh.ChallengeError)) {
		t.Fatalf("error %v, want %v", err, want)
	}
}
