package token_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

const jwksURL = "https://auth.example.com/.well-known/jwks.json"

// A keyServer answers fetches without a socket, so that tests run on a fake clock.
type keyServer struct {
	mu    sync.Mutex
	h     http.Handler // nil hangs
	calls int
}

func (s *keyServer) answer(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.h = h
}

// fetches returns the number of requests since the last call.
func (s *keyServer) fetches() int {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.calls
	s.calls = 0
	return n
}

func (s *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.calls++
	h := s.h
	s.mu.Unlock()
	if h == nil {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
}

// remote runs f in a bubble with a set whose server serves ring, and Closes the set.
func remote(t *testing.T, cfg token.RemoteKeySetConfig, f func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet)) {
	synctest.Test(t, func(t *testing.T) {
		ring := forge.Ring(t, issue.KeyringConfig{})
		s := &keyServer{h: ring}
		cfg.Transport = s
		keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		f(t, s, ring, keys)
	})
}

func TestRemoteKeysFetchesOnDemand(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		kid := ring.Active().ID()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { forge.Find(t, keys, kid, nil) })
		}
		wg.Wait()
		if n := s.fetches(); n != 1 {
			t.Errorf("%d fetches at the start", n)
		}
		time.Sleep(239 * time.Second)
		forge.Find(t, keys, kid, nil)
		if n := s.fetches(); n != 0 {
			t.Errorf("%d fetches while fresh", n)
		}
		time.Sleep(time.Minute)
		for range 50 {
			wg.Go(func() { forge.Find(t, keys, kid, nil) })
		}
		wg.Wait()
		if n := s.fetches(); n != 1 {
			t.Errorf("%d fetches when due", n)
		}
		time.Sleep(24 * time.Hour)
		if n := s.fetches(); n != 0 {
			t.Errorf("%d fetches that nobody asked for", n)
		}
	})
}

// CVE-2025-22149: a key that the issuer has withdrawn stops verifying, in a
// busy service and in one that nobody has called for a while.
func TestRemoteKeysForgetsRemovedKeys(t *testing.T) {
	for name, idle := range map[string]time.Duration{"busy": time.Minute, "twice due": 10 * time.Minute, "idle": 50 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
				old := ring.Active().ID()
				forge.Find(t, keys, old, nil)
				key, err := ring.Rotate(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				forge.Find(t, keys, key.ID(), nil)
				if err := ring.Remove(t.Context(), old); err != nil {
					t.Fatal(err)
				}
				removed := time.Now()
				for time.Since(removed) < 9*time.Minute {
					time.Sleep(idle)
					keys.Lookup(t.Context(), key.ID(), token.EdDSA)
					synctest.Wait()
				}
				forge.Find(t, keys, old, token.ErrUnknownKey)
				forge.Find(t, keys, key.ID(), nil)
			})
		})
	}
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		old := ring.Active().ID()
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := ring.Remove(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Minute)
		forge.Find(t, keys, old, token.ErrUnknownKey) // the first look-up after a long time
	})
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		old := ring.Active().ID()
		drop(t, ring, old)
		time.Sleep(10 * time.Minute)
		forge.Find(t, keys, old, token.ErrUnknownKey) // twice RefreshInterval, by the letter
	})
}

// Strangers with invented kids cannot make us flood the issuer, and a new key is
// found at once.
func TestRemoteKeysUnknownKid(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		s.fetches()
		key, err := ring.Rotate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		forge.Find(t, keys, key.ID(), nil)
		if n := s.fetches(); n != 1 {
			t.Errorf("%d fetches for the new key", n)
		}
		const rounds = 10
		for n := range rounds {
			time.Sleep(10 * time.Second)
			if n == 0 {
				forge.Find(t, keys, "", token.ErrUnknownKey) // two keys would fit
				time.Sleep(10 * time.Second)
			}
			forge.Find(t, keys, "turn-"+strconv.Itoa(n), token.ErrUnknownKey)
			forge.Find(t, keys, "", token.ErrUnknownKey)
			for i := range 100 {
				forge.Find(t, keys, "invented-"+strconv.Itoa(100*n+i), token.ErrUnknownKey) // the set at hand does not hold it
			}
		}
		if n := s.fetches(); n != rounds+1 {
			t.Errorf("%d fetches in %d intervals", n, rounds+1)
		}
	})
}

// An unreachable server at the start is no error, and the set heals.
func TestRemoteKeysHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := forge.Ring(t, issue.KeyringConfig{})
		s := &keyServer{h: status(500)}
		var logged bytes.Buffer
		keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Transport: s, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		kid := ring.Active().ID()
		for range 1000 {
			forge.Find(t, keys, kid, token.ErrKeysUnavailable)
		}
		if n := s.fetches(); n != 1 {
			t.Errorf("%d fetches at once", n)
		}
		end := time.Now().Add(10 * time.Minute)
		for time.Now().Before(end) {
			forge.Find(t, keys, kid, token.ErrKeysUnavailable)
			time.Sleep(100 * time.Millisecond)
		}
		if n := s.fetches(); n < 15 || n > 40 {
			t.Errorf("%d fetches in ten minutes of outage", n)
		}
		s.answer(ring)
		time.Sleep(32 * time.Second)
		forge.Find(t, keys, kid, nil)
		if st := keys.Status(); st.Failures != 0 || st.Err != nil { // or the next outage would begin where this one ended
			t.Errorf("healed: %+v", st)
		}
		if !strings.Contains(logged.String(), "status 500") {
			t.Errorf("logged %q", &logged)
		}
	})
}

// The last keys carry a service through an outage, but not for ever. A kid that
// they do not hold is unknown, and "cannot know" once they are too old.
func TestRemoteKeysOutage(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		kid := ring.Active().ID()
		s.answer(nil) // hangs
		start := time.Now()
		for time.Since(start) < 59*time.Minute {
			at := time.Now()
			forge.Find(t, keys, kid, nil)
			if waited := time.Since(at); waited > 0 {
				t.Fatalf("a known key was waited for, %s, %s after the start", waited, at.Sub(start))
			}
			time.Sleep(time.Minute)
		}
		forge.Find(t, keys, "other", token.ErrUnknownKey)
		time.Sleep(2 * time.Minute)
		forge.Find(t, keys, kid, token.ErrKeysUnavailable)
		forge.Find(t, keys, "other", token.ErrKeysUnavailable)
		s.answer(ring)
		time.Sleep(time.Minute)
		forge.Find(t, keys, kid, nil)
		forge.Find(t, keys, "other", token.ErrUnknownKey)
	})
}

// A caller waits as long as its own context allows; the fetch goes on for others.
func TestRemoteKeysBoundsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		keys, err := token.NewRemoteKeySet(ctx, jwksURL, token.RemoteKeySetConfig{Transport: s})
		if err != nil || time.Since(start) != time.Second {
			t.Fatalf("after %s: %v", time.Since(start), err)
		}
		defer keys.Close()
		ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := keys.Lookup(ctx, "a", token.EdDSA); !errors.Is(err, token.ErrKeysUnavailable) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("after %s: error %v", time.Since(start), err)
		}
		if n := s.fetches(); n != 1 {
			t.Errorf("%d fetches", n)
		}
		forge.Find(t, keys, "a", token.ErrKeysUnavailable) // until the fetch itself gives up
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("after %s", d)
		}
	})
}

func TestRemoteKeysFollowsMaxAge(t *testing.T) {
	for _, x := range []struct {
		control    string
		stays, due time.Duration
	}{
		{"max-age=60", 47 * time.Second, time.Minute},
		{"public, MAX-AGE=\"60\"", 47 * time.Second, time.Minute},
		{"max-age=86400", 239 * time.Second, 5 * time.Minute},
		{"max-age=0", 7 * time.Second, 10 * time.Second},
		{"max-age=60, no-store", 7 * time.Second, 10 * time.Second},
		{"no-cache", 7 * time.Second, 10 * time.Second},
		{"", 239 * time.Second, 5 * time.Minute},
		{"max-age=-1", 239 * time.Second, 5 * time.Minute},
		{"max-age=99999999999999999999", 239 * time.Second, 5 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			set := forge.JWKS(forge.JWK(t, forge.Keys().Ed.Public()).With("kid", `"a"`))
			s := &keyServer{h: forge.JSON(set, "Cache-Control", x.control)}
			keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			s.fetches()
			time.Sleep(x.stays)
			forge.Find(t, keys, "a", nil)
			if n := s.fetches(); n != 0 {
				t.Errorf("%q: %d fetches after %s", x.control, n, x.stays)
			}
			time.Sleep(x.due - x.stays)
			forge.Find(t, keys, "a", nil)
			if n := s.fetches(); n != 1 {
				t.Errorf("%q: %d fetches after %s", x.control, n, x.due)
			}
		})
	}
}

// An issuer that withdraws all its keys says that none is good, but a server that
// lost them says the same: nothing verifies, and nobody is told to log in again.
func TestRemoteKeysEmptied(t *testing.T) {
	for name, set := range map[string]string{"empty": forge.JWKS(), "nothing for us": forge.JWKS(forge.JWK(t, forge.Keys().Rsa.Public()).With("use", `"enc"`))} {
		remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
			kid := ring.Active().ID()
			s.answer(forge.JSON(set))
			time.Sleep(5 * time.Minute)
			forge.FetchDue(t, keys, kid)
			forge.Find(t, keys, kid, token.ErrKeysUnavailable)
			s.answer(ring)
			time.Sleep(time.Minute)
			forge.Find(t, keys, kid, nil)
			if t.Failed() {
				t.Log(name)
			}
		})
	}
}

func TestRemoteKeysClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		keys, err := token.NewRemoteKeySet(ctx, jwksURL, token.RemoteKeySetConfig{Transport: s})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { forge.Find(t, keys, "a", token.ErrKeysUnavailable) }) // waits for the fetch that hangs
		synctest.Wait()
		start := time.Now()
		for range 3 {
			wg.Go(func() {
				if err := keys.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if time.Since(start) != 0 {
			t.Errorf("Close took %s", time.Since(start))
		}
		forge.Find(t, keys, "a", token.ErrKeysUnavailable)
		if n := s.fetches(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	}) // which fails if a goroutine is left
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		keys.Close()
		forge.Find(t, keys, ring.Active().ID(), token.ErrKeysUnavailable)
	})
}

func TestRemoteKeysRefuses(t *testing.T) {
	for _, x := range []struct {
		what, url string
		cfg       token.RemoteKeySetConfig
	}{
		{"http", "http://auth.example.com/jwks.json", token.RemoteKeySetConfig{}},
		{"scheme", "ftp://auth.example.com/jwks.json", token.RemoteKeySetConfig{InsecureAllowHTTP: true}},
		{"scheme", "file:///etc/jwks.json", token.RemoteKeySetConfig{}},
		{"scheme", "/jwks.json", token.RemoteKeySetConfig{}},
		{"host", "https:///jwks.json", token.RemoteKeySetConfig{}},
		{"host", jwksURL + "#a", token.RemoteKeySetConfig{}},
		{"malformed", "https://auth.example.com/%zz", token.RemoteKeySetConfig{}},
		{"credentials", "https://me:secret@auth.example.com/", token.RemoteKeySetConfig{}},
		{"MinInterval", jwksURL, token.RemoteKeySetConfig{MinInterval: time.Millisecond}},
		{"RefreshInterval", jwksURL, token.RemoteKeySetConfig{RefreshInterval: 9 * time.Second}},
		{"MaxAge", jwksURL, token.RemoteKeySetConfig{MaxAge: time.Minute}},
		{"Timeout", jwksURL, token.RemoteKeySetConfig{Timeout: -1}},
		{"Algorithms", jwksURL, token.RemoteKeySetConfig{Algorithms: []token.Algorithm{token.HS256}}},
		{"Algorithms", jwksURL, token.RemoteKeySetConfig{Algorithms: []token.Algorithm{"none"}}},
	} {
		x.cfg.Transport = &keyServer{h: status(500)}
		keys, err := token.NewRemoteKeySet(t.Context(), x.url, x.cfg)
		if keys != nil || err == nil || !strings.Contains(err.Error(), x.what) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s %s: error %v", x.what, x.url, err)
		}
	}
	for _, x := range []struct {
		url string
		cfg token.RemoteKeySetConfig
	}{
		{"http://localhost:1/jwks.json", token.RemoteKeySetConfig{InsecureAllowHTTP: true}},
		{jwksURL, token.RemoteKeySetConfig{MinInterval: 10 * time.Minute}},
		{jwksURL, token.RemoteKeySetConfig{RefreshInterval: 2 * time.Hour}},
		{jwksURL, token.RemoteKeySetConfig{MaxAge: 5 * time.Minute}},
	} {
		x.cfg.Transport = &keyServer{h: status(500)}
		keys, err := token.NewRemoteKeySet(t.Context(), x.url, x.cfg)
		if err != nil {
			t.Errorf("%+v: %v", x.cfg, err)
			continue
		}
		keys.Close()
	}
}
