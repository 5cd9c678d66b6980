package refresh_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
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

// waits expects an error of that kind, of the family "try again" alone, that asks for no proof.
func (s *system) tryAgain(t *testing.T, p refresh.DeviceProof, want error) {
	t.Helper()
	_, err := s.RefreshBound(t.Context(), p)
	if !errors.Is(err, want) || !errors.Is(err, refresh.ErrTryAgain) || errors.Is(err, refresh.ErrLoginAgain) || errors.As(err, new(*refresh.ChallengeError)) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// A session that is bound to its device is refreshed by proofs alone, each for the challenge
// that the answer before brought, and its refresh token rotates when it comes along.
func TestBoundSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		login := s.login(t, offering)
		if list, err := s.Sessions(t.Context(), "user-1"); err != nil || list[0].DeviceBound {
			t.Fatalf("%v, %v", list, err)
		}
		b, first := s.register(t, login)
		if list, err := s.Sessions(t.Context(), "user-1"); err != nil || !list[0].DeviceBound {
			t.Fatalf("%v, %v", list, err)
		}
		if a, c := first.DeviceOffer(); a != "" || c != "" {
			t.Error("what is bound is offered again")
		}
		if id, c := login.DeviceSession(); id != "" || c != "" {
			t.Error("a login says that it is bound")
		}
		tokens := map[string]bool{b.token: true}
		for range 20 {
			time.Sleep(13 * time.Minute)
			g := s.use(t, b)
			if tokens[b.token] || g.RefreshToken() == "" {
				t.Fatal("a refresh token that came along did not rotate")
			}
			tokens[b.token] = true
			time.Sleep(13 * time.Minute)
			if g := s.use(t, b, alone); g.RefreshToken() != "" {
				t.Fatal("a refresh token for a browser that sent none")
			}
		}
		// One that is not the session's, or nothing at all, is passed over.
		other := s.login(t)
		for _, token := range []string{other.RefreshToken(), "htr1_x", strings.ToUpper(b.token)} {
			if g := s.use(t, b, func(p *refresh.DeviceProof) { p.Token = token }); g.RefreshToken() != "" {
				t.Fatal("another refresh token rotates")
			}
		}
		s.refresh(t, other)
	})
}

// Without an offer nothing can be bound, and a login that is bound otherwise offers nothing.
func TestDeviceOffer(t *testing.T) {
	s := newSystem(t)
	if a, c := s.login(t).DeviceOffer(); a != "" || c != "" {
		t.Error("offered unasked")
	}
	l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now(), BindDevice: true}
	l.Binding = token.Binding{KeyThumbprint: strings.Repeat("A", 43)}
	if _, err := s.Login(t.Context(), l); !errors.Is(err, refresh.ErrLogin) || !strings.Contains(err.Error(), "BindDevice") {
		t.Errorf("bound to two keys: %v", err)
	}
	l.BindDevice = false
	if _, err := s.Login(t.Context(), l); err != nil {
		t.Error(err)
	}
	g := s.login(t, offering)
	if a, c := s.refresh(t, g).DeviceOffer(); a != "" || c != "" {
		t.Error("offered again at a refresh: a thief of the token would take it")
	}
}

// What registers nothing, each beside what does: nothing is changed by it.
func TestRegistrationRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		key := newDeviceKey(t)
		for name, c := range map[string]struct {
			change func(p *refresh.DeviceProof, authorization, challenge string)
			want   error
		}{
			"good":              {func(*refresh.DeviceProof, string, string) {}, nil},
			"no proof":          {func(p *refresh.DeviceProof, _, _ string) { p.Proof = "" }, refresh.ErrPossession},
			"no JWT":            {func(p *refresh.DeviceProof, _, _ string) { p.Proof = "x" }, refresh.ErrPossession},
			"a later proof":     {func(p *refresh.DeviceProof, _, c string) { p.Proof = key.proof(c) }, refresh.ErrPossession},
			"another challenge": {func(p *refresh.DeviceProof, a, _ string) { p.Proof = key.registration(a, "x") }, refresh.ErrPossession},
			"no challenge":      {func(p *refresh.DeviceProof, a, _ string) { p.Proof = key.registration(a, "") }, refresh.ErrPossession},
			"no authorization":  {func(p *refresh.DeviceProof, _, c string) { p.Proof = key.registration("", c) }, refresh.ErrPossession},
			"half of it":        {func(p *refresh.DeviceProof, a, c string) { p.Proof = key.registration(a[:len(a)-2], c) }, refresh.ErrPossession},
			"with a line break": {func(p *refresh.DeviceProof, a, c string) { p.Proof = key.registration(a[:10]+"\n"+a[10:], c) }, refresh.ErrPossession},
			"another session's": {func(p *refresh.DeviceProof, _, c string) {
				a, _ := s.login(t, offering).DeviceOffer()
				p.Proof = key.registration(a, c)
			}, refresh.ErrPossession},
			"another client's": {func(p *refresh.DeviceProof, _, _ string) { p.Client = "app" }, refresh.ErrClient},
			"no client":        {func(p *refresh.DeviceProof, _, _ string) { p.Client = "" }, refresh.ErrRequest},
			"the offer is too old": {func(*refresh.DeviceProof, string, string) {
				time.Sleep(5*time.Minute + 2*time.Second + time.Millisecond)
			}, refresh.ErrPossession},
			"the offer is old": {func(*refresh.DeviceProof, string, string) { time.Sleep(5 * time.Minute) }, nil},
			"with the session's id and what is in a backup of the store": {func(p *refresh.DeviceProof, a, c string) {
				b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(a, "htb1_"))
				if err != nil {
					t.Fatal(err)
				}
				var r struct{ Offer []byte }
				if err := json.Unmarshal(s.store.last(t, "s."), &r); err != nil || len(r.Offer) != 32 {
					t.Fatalf("%v, %v", r, err)
				}
				p.Proof = key.registration("htb1_"+base64.RawURLEncoding.EncodeToString(append(b[:16:16], r.Offer...)), c)
			}, refresh.ErrPossession},
		} {
			g := s.login(t, offering)
			a, challenge := g.DeviceOffer()
			p := refresh.DeviceProof{Proof: key.registration(a, challenge), Client: "web"}
			c.change(&p, a, challenge)
			_, err := s.BindDevice(t.Context(), p)
			switch {
			case c.want == nil && err == nil:
				s.refused(t, g, refresh.ErrPossession)
				continue
			case !errors.Is(err, c.want) || errors.Is(err, refresh.ErrTryAgain):
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
			s.refresh(t, g) // nothing was changed
		}
	})
}

// The offer is good once. Of several registrations at once one binds the session.
func TestRegistrationsAtOnce(t *testing.T) {
	store := refresh.NewMemoryStore()
	all := instances(t, store, 2)
	for range 20 {
		g := all[0].login(t, offering)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var won []*bound
		for i := range 8 {
			b := &bound{deviceKey: newDeviceKey(t)}
			wg.Go(func() {
				first, err := all[i%2].BindDevice(t.Context(), b.registering(g))
				switch {
				case err == nil:
					mu.Lock()
					defer mu.Unlock()
					b.id, b.challenge = first.DeviceSession()
					won = append(won, b)
				case !errors.Is(err, refresh.ErrPossession):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d keys were bound to one session", len(won))
		}
		all[1].use(t, won[0])
		again := &bound{deviceKey: newDeviceKey(t)}
		for _, p := range []refresh.DeviceProof{again.registering(g), won[0].registering(g)} { // another key, and the same once more
			if _, err := all[0].BindDevice(t.Context(), p); !errors.Is(err, refresh.ErrPossession) {
				t.Fatalf("bound a second time: %v", err)
			}
		}
		all[0].use(t, won[0])
	}
}

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

// The id of the session, as its browser knows it, is not guessed from the id that is in its
// tokens.
func TestBoundSessionIsNamedByItsBrowser(t *testing.T) {
	s := newSystem(t)
	b, first := s.bind(t)
	other, _ := s.bind(t)
	for name, id := range map[string]string{
		"empty": "", "the sid": first.SessionID, "another's": other.id, "cut": b.id[:len(b.id)-1], "longer": b.id + "A", "quoted": `"` + b.id + `"`,
		"half another's": b.id[:21] + other.id[21:], "zeros": first.SessionID[:21] + strings.Repeat("A", 22), "a session that never was": strings.Repeat("A", 43),
	} {
		_, err := s.RefreshBound(t.Context(), b.next(func(p *refresh.DeviceProof) { p.Session = id }))
		if want := id != other.id; want != errors.Is(err, refresh.ErrUnknown) || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.unusable(t, b.next(func(p *refresh.DeviceProof) { p.Client = "app" }), refresh.ErrClient)
	if _, err := s.RefreshBound(t.Context(), b.next(func(p *refresh.DeviceProof) { p.Client = "" })); !errors.Is(err, refresh.ErrRequest) {
		t.Error(err)
	}
	s.use(t, b)
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

// By the application's word a browser that has lost its key goes on with its refresh token.
// The session stays bound: the next use is judged as the first.
func TestUnboundByTheApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := map[bool]int{}
		s := newSystem(t, func(c *refresh.Config) {
			c.OnUnbound = func(_ context.Context, x refresh.Session, answered bool) { told[answered]++ }
		})
		fallen := func(r *refresh.Request) { r.InsecureUnbound = true }
		login := s.login(t, offering)
		plain := s.login(t)
		s.refresh(t, plain, fallen) // which is bound to nothing
		b, _ := s.register(t, login)
		g := s.refresh(t, login, fallen)
		s.accepted(t, g)
		s.refused(t, g, refresh.ErrPossession)
		if again := s.refresh(t, login, fallen); again.RefreshToken() != g.RefreshToken() {
			t.Error("a retry within the window is given another successor")
		}
		b.token = g.RefreshToken()
		s.use(t, b)
		s.refused(t, g, refresh.ErrPossession)
		if told[true] != 2 || told[false] != 2 {
			t.Errorf("the application was told %v", told)
		}
		time.Sleep(time.Minute)
		s.refused(t, login, refresh.ErrReused, fallen) // judged like any other
		s.unusable(t, b.next(), refresh.ErrReused)
	})
}

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

// What ends a session ends a bound one, whether it comes between the challenge and the proof or
// at another instance; the proof mints nothing then.
func TestBoundSessionEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(t *testing.T, s, other *system, g *refresh.Grant)
		want error
	}{
		"logout": {func(t *testing.T, s, other *system, g *refresh.Grant) {
			if err := other.Logout(t.Context(), g.SessionID); err != nil {
				t.Fatal(err)
			}
		}, refresh.ErrEnded},
		"logout everywhere": {func(t *testing.T, s, other *system, g *refresh.Grant) {
			if _, err := other.LogoutAll(t.Context(), "user-1"); err != nil {
				t.Fatal(err)
			}
		}, refresh.ErrEnded},
		"deletion of the subject": {func(t *testing.T, s, other *system, g *refresh.Grant) {
			if err := other.DeleteSubject(t.Context(), "user-1"); err != nil {
				t.Fatal(err)
			}
		}, refresh.ErrEnded},
		"authenticated again": {func(t *testing.T, s, other *system, g *refresh.Grant) {
			if _, err := other.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}, refresh.ErrEnded},
		"a ban of the session": {func(t *testing.T, s, other *system, g *refresh.Grant) { ban(t, s, revoke.KindSession, g.SessionID) }, refresh.ErrEnded},
		"a ban of the subject": {func(t *testing.T, s, other *system, g *refresh.Grant) { ban(t, s, revoke.KindSubject, "user-1") }, refresh.ErrEnded},
		"a ban of the client":  {func(t *testing.T, s, other *system, g *refresh.Grant) { ban(t, s, revoke.KindClient, "web") }, refresh.ErrEnded},
		"idleness":             {func(t *testing.T, s, other *system, g *refresh.Grant) { time.Sleep(time.Hour + time.Millisecond) }, refresh.ErrSessionExpired},
		"the application":      {func(t *testing.T, s, other *system, g *refresh.Grant) { s.end = true }, refresh.ErrEnded},
		"a session too many": {func(t *testing.T, s, other *system, g *refresh.Grant) {
			time.Sleep(time.Second)
			other.login(t)
			other.login(t)
		}, refresh.ErrEnded},
		"the services know not": {func(t *testing.T, s, other *system, g *refresh.Grant) {
			s.mu.Lock()
			s.fail = errors.New("bus down")
			s.mu.Unlock()
			if err := other.Logout(t.Context(), g.SessionID); !errors.Is(err, refresh.ErrPending) {
				t.Fatal(err)
			}
		}, refresh.ErrEnded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s *system
				all := instances(t, refresh.NewMemoryStore(), 2, func(c *refresh.Config) {
					c.MaxSessions = 2
					c.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) {
						return refresh.Answer{End: s.end}, nil
					}
				})
				s = all[0]
				b, g := s.bind(t)
				other := all[1]
				other.use(t, b)
				s.use(t, b)
				s.challenged(t, b, b.next(func(p *refresh.DeviceProof) { p.Proof = "" }))
				c.end(t, s, other, g)
				s.unusable(t, b.next(), c.want)
				s.unusable(t, b.next(func(p *refresh.DeviceProof) { p.Proof = "" }), c.want)
				other.unusable(t, b.next(alone), c.want)
				if !errors.Is(c.want, refresh.ErrSessionExpired) && name != "the services know not" {
					s.dead(t, g)
				}
			})
		})
	}
}

func ban(t *testing.T, s *system, kind revoke.Kind, value string) {
	t.Helper()
	e, err := revoke.Event{Issuer: issuerName, Kind: kind, Value: value}.Complete(time.Now(), s.list.Retention())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.list.Apply(revoke.Now(), e); err != nil {
		t.Fatal(err)
	}
}

// A registration is a use of the session, and subject to all that ends it.
func TestRegistrationOfASessionThatEnded(t *testing.T) {
	s := newSystem(t)
	out, banned, stays := s.login(t, offering), s.login(t, offering), s.login(t, offering)
	if err := s.Logout(t.Context(), out.SessionID); err != nil {
		t.Fatal(err)
	}
	ban(t, s, revoke.KindSession, banned.SessionID)
	for g, want := range map[*refresh.Grant]error{out: refresh.ErrEnded, banned: refresh.ErrEnded, stays: nil} {
		b := &bound{deviceKey: newDeviceKey(t)}
		if _, err := s.BindDevice(t.Context(), b.registering(g)); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

// The absolute limit holds however often the device proves itself, and bounds the tokens.
func TestBoundSessionHasItsLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		began := time.Now()
		b, first := s.bind(t)
		over := first.SessionExpires
		if d := over.Sub(began); d != refresh.Web.Absolute {
			t.Fatalf("it lasts %s", d)
		}
		for time.Now().Add(10 * time.Minute).Before(over) {
			time.Sleep(9*time.Minute + 59*time.Second)
			if g := s.use(t, b); g.AccessExpires.After(over) || !g.SessionExpires.Equal(over) {
				t.Fatalf("%s before the end a token until %s", time.Until(over), g.AccessExpires)
			}
		}
		time.Sleep(time.Until(over) + time.Millisecond)
		s.unusable(t, b.next(), refresh.ErrSessionExpired)
	})
}

// A session whose device is used is not the one that a login too many ends.
func TestBoundSessionIsNotTheIdlest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *refresh.Config) { c.MaxSessions = 2 })
		b, _ := s.bind(t)
		time.Sleep(time.Minute)
		idle := s.login(t)
		time.Sleep(time.Minute)
		s.use(t, b)
		s.login(t)
		s.use(t, b)
		s.refused(t, idle, refresh.ErrEnded)
	})
}

// Who is kept at a logout everywhere stays bound: the new refresh token, too, is worth
// nothing without the key.
func TestKeptSessionStaysBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b, first := s.bind(t)
		other, _ := s.bind(t)
		g, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(first.SessionID))
		if err != nil {
			t.Fatal(err)
		}
		s.accepted(t, g)
		s.refused(t, g, refresh.ErrPossession)
		s.unusable(t, other.next(), refresh.ErrEnded)
		if next := s.use(t, b); next.RefreshToken() != "" {
			t.Error("a token of the family before rotates")
		}
		b.token = g.RefreshToken()
		s.use(t, b)
		s.use(t, b)
	})
}

// After it was authenticated again the session is a new one, bound to nothing until its browser
// has registered, and the old key is worth nothing.
func TestReauthenticatedBoundSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		old, first := s.bind(t)
		g, err := s.Reauthenticate(t.Context(), first.SessionID, refresh.Login{AuthTime: time.Now(), BindDevice: true})
		if err != nil {
			t.Fatal(err)
		}
		s.unusable(t, old.next(), refresh.ErrEnded)
		if _, err := s.RefreshBound(t.Context(), old.next(func(p *refresh.DeviceProof) { p.Token = g.RefreshToken() })); !errors.Is(err, refresh.ErrEnded) {
			t.Error(err)
		}
		b, _ := s.register(t, g)
		s.use(t, b)
		s.refused(t, g, refresh.ErrPossession)
		plain, err := s.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if a, _ := plain.DeviceOffer(); a != "" {
			t.Error("offered unasked")
		}
		s.refresh(t, plain)
	})
}

// Where nobody can know, the browser is told to try again, and nothing is changed.
func TestBoundSessionTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked error
		s := newSystem(t, func(c *refresh.Config) {
			c.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) { return refresh.Answer{}, asked }
		})
		b, _ := s.bind(t)
		login := s.login(t, offering)
		registers := func(want error) {
			t.Helper()
			k := &bound{deviceKey: newDeviceKey(t)}
			if _, err := s.BindDevice(t.Context(), k.registering(login)); !errors.Is(err, want) || errors.Is(err, refresh.ErrLoginAgain) {
				t.Fatalf("a registration: %v, want %v", err, want)
			}
		}
		for _, token := range []func(*refresh.DeviceProof){func(*refresh.DeviceProof) {}, alone} {
			s.store.fail = errors.New("no store")
			s.tryAgain(t, b.next(token), refresh.ErrStore)
			s.tryAgain(t, b.next(func(p *refresh.DeviceProof) { p.Proof = "" }), refresh.ErrStore)
			registers(refresh.ErrStore)
			s.store.fail = nil
			asked = errors.New("no database")
			s.tryAgain(t, b.next(token), refresh.ErrAsk)
			registers(refresh.ErrAsk)
			asked = nil
			s.use(t, b, token)
		}
		registers(nil)
	})
	list, err := revoke.NewList(revoke.Config{}) // nobody feeds it
	if err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, func(c *refresh.Config) { c.Revocations = list })
	k := &bound{deviceKey: newDeviceKey(t)}
	if _, err := s.BindDevice(t.Context(), k.registering(s.login(t, offering))); !errors.Is(err, revoke.ErrStale) || !errors.Is(err, refresh.ErrTryAgain) {
		t.Errorf("with a stale replica: %v", err)
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

// A write that the store has done and not confirmed is found out, and answered.
func TestBoundWriteNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unanswered{Store: refresh.NewMemoryStore()}
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		b, _ := s.bind(t)
		store.next = func() {}
		s.use(t, b)
		// Another came in between: which of the two was given what, the next proof tells.
		store.next = func() {
			store.next = nil
			s.challenged(t, b, b.next(alone))
			s.use(t, b)
		}
		before := *b
		if _, err := s.RefreshBound(t.Context(), before.next(alone)); !errors.As(err, new(*refresh.ChallengeError)) {
			t.Errorf("overtaken: %v", err)
		}
		s.use(t, b)
	})
}

// A store that was restored from a backup mints nothing until that is declared. What was bound
// since the backup would not be: its sessions are over then.
func TestBoundSessionAndRestoredStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newBackedUp()
		s := instances(t, store, 1)[0]
		before := s.login(t, offering)
		kept, _ := s.bind(t)
		time.Sleep(time.Minute)
		s.refresh(t, s.login(t))
		old := store.backup()
		b, _ := s.register(t, s.login(t, offering))
		time.Sleep(time.Minute)
		s.use(t, b)
		s.use(t, kept)
		time.Sleep(time.Minute)
		store.restore(old)
		s.tryAgain(t, kept.next(), refresh.ErrStore)
		if _, err := s.BindDevice(t.Context(), (&bound{deviceKey: newDeviceKey(t)}).registering(before)); !errors.Is(err, refresh.ErrStore) {
			t.Errorf("a registration: %v", err)
		}
		if err := s.DeclareRestore(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		s.unusable(t, kept.next(), refresh.ErrEnded)
		s.unusable(t, b.next(), refresh.ErrUnknown) // the backup has no such session
		time.Sleep(time.Minute)
		next, _ := s.bind(t)
		s.use(t, next)
	})
}

// An older store shows a bound session as a program of before saw it: with members that it
// does not know, one of which it must not ignore.
type olderStore struct{ refresh.Store }

const ofThisVersion = `"bound_`

func (o olderStore) Load(ctx context.Context, key string) (refresh.Record, error) {
	r, err := o.Store.Load(ctx, key)
	r.Value = []byte(strings.ReplaceAll(string(r.Value), ofThisVersion, `"later_`))
	return r, err
}

func (o olderStore) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	return o.Store.Save(ctx, key, []byte(strings.ReplaceAll(string(value), `"later_`, ofThisVersion)), revision, expires)
}

// A version that knows nothing of bound sessions mints nothing for one, neither by its refresh
// token nor otherwise, convicts nobody, and ends it as ever.
func TestBoundSessionAtAnOlderVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := refresh.NewMemoryStore()
		younger := instances(t, store, 1)[0]
		older := another(t, younger, olderStore{store})
		offer := younger.login(t, offering)
		login := older.refresh(t, offer) // an offer that nobody has taken is nothing to it
		b, first := younger.register(t, offer)
		b.token = login.RefreshToken()
		replaced := b.token
		for range 3 {
			older.refused(t, login, refresh.ErrStore)
			if _, err := older.Reauthenticate(t.Context(), first.SessionID, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrStore) {
				t.Fatalf("authenticated again: %v", err)
			}
			younger.use(t, b)
			time.Sleep(time.Minute)
		}
		_, err := older.Refresh(t.Context(), request(replaced))
		if !errors.Is(err, refresh.ErrStore) {
			t.Fatalf("a used token: %v", err)
		}
		younger.use(t, b)
		if g, err := older.LogoutAll(t.Context(), "user-1", refresh.Keep(first.SessionID)); !errors.Is(err, refresh.ErrStore) || g != nil {
			t.Fatalf("kept: %v, %v", g, err)
		}
		younger.use(t, b)
		if err := older.Logout(t.Context(), first.SessionID); err != nil {
			t.Fatal(err)
		}
		younger.dead(t, first)
		_, err = younger.RefreshBound(t.Context(), b.next())
		if !errors.Is(err, refresh.ErrLoginAgain) {
			t.Errorf("ended by the older one: %v", err)
		}
	})
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
