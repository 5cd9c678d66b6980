package refresh_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

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
