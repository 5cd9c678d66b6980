package token_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// Whatever strangers invent, while a usable set is at hand they are answered 401, and
// cause a fetch per MinInterval. Nobody is told to get a new token, as the key may have
// been published a moment ago.
func TestStrangersChooseNo5xx(t *testing.T) {
	var fetches, failing atomic.Int64
	site := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetches.Add(1)
		if failing.Load() != 0 {
			w.WriteHeader(500)
			return
		}
		forge.KeysAt(t, "k").ServeHTTP(w, r)
	}))
	serve := func(keys token.KeySet) *httptest.Server {
		v := forge.Verifier(t, func(c *token.VerifierConfig) { c.Keys, c.Algorithms = keys, []token.Algorithm{token.EdDSA} })
		api := httptest.NewServer(v.Middleware(status(200)))
		t.Cleanup(api.Close)
		return api
	}
	s := forge.Ed(t, "k", forge.Keys().Ed)
	good := s.Forge(s.Header(), forge.Claims(time.Now()))
	payload, bad := forge.Base64(forge.Claims(time.Now()).String()), "."+forge.Base64(strings.Repeat("x", 64))
	ask := func(api *httptest.Server, raw string) (code int, body string) {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", api.URL, nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		resp, err := api.Client().Do(r)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	flood := func(api *httptest.Server, n int, want int) {
		t.Helper()
		var wg sync.WaitGroup
		var other atomic.Int64
		for g := range 8 {
			wg.Go(func() {
				for i := range n / 8 {
					header := s.Header().With("kid", strconv.Quote(fmt.Sprint("invented-", g, "-", i)))
					if i%4 == 0 {
						header = s.Header() // a bad signature under a known name
					}
					code, body := ask(api, forge.Base64(header.String())+"."+payload+bad)
					if code != want || i%4 != 0 && strings.Contains(strings.ToLower(body), "get a new") {
						other.Add(1)
						t.Logf("%d %s", code, body)
					}
				}
			})
		}
		wg.Wait()
		if other.Load() > 0 {
			t.Errorf("%d of %d are answered otherwise than by %d", other.Load(), n, want)
		}
	}
	keys, err := token.NewRemoteKeySet(t.Context(), site.URL, token.RemoteKeySetConfig{InsecureAllowHTTP: true, MinInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	api := serve(keys)
	flood(api, 2000, 401)
	if n := fetches.Load(); n != 2 {
		t.Errorf("%d fetches", n)
	}
	if code, body := ask(api, good); code != 200 {
		t.Errorf("the good token: %d %s", code, body)
	}
	failing.Store(1)
	flood(api, 400, 401)
	if code, body := ask(api, good); code != 200 {
		t.Errorf("the good token, while its server fails: %d %s", code, body)
	}
	none, err := token.NewRemoteKeySet(t.Context(), site.URL, token.RemoteKeySetConfig{InsecureAllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	if code, _ := ask(serve(none), good); code != 503 { // the one thing that is
		t.Errorf("without any set: %d", code)
	}
}

// Who waits for a fetch is bounded in number, and the rest is answered at once.
func TestWaitingForKeysIsBounded(t *testing.T) {
	crowd := func(keys *token.RemoteKeySet, n int, kid func(int) string) (at map[time.Duration]int, errs map[error]int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		at, errs = map[time.Duration]int{}, map[error]int{}
		began := time.Now()
		for i := range n {
			wg.Go(func() {
				_, err := keys.Lookup(context.Background(), kid(i), token.EdDSA)
				mu.Lock()
				defer mu.Unlock()
				at[time.Since(began)]++
				for _, e := range []error{token.ErrUnknownKey, token.ErrKeysUnavailable, nil} {
					if errors.Is(err, e) {
						errs[e]++
						break
					}
				}
			})
		}
		wg.Wait()
		return at, errs
	}
	invented := func(i int) string { return strconv.Itoa(i) }
	synctest.Test(t, func(t *testing.T) { // from the start
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		keys, err := token.NewRemoteKeySet(ctx, jwksURL, token.RemoteKeySetConfig{Transport: &keyServer{}})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		at, errs := crowd(keys, 2001, invented)
		if at[10*time.Second] != 256 || at[0] != 2001-256 || errs[token.ErrKeysUnavailable] != 2001 {
			t.Errorf("without a set: after %v, %v", at, errs)
		}
	})
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		s.answer(nil)
		at, errs := crowd(keys, 2001, invented)
		if at[10*time.Second] != 256 || at[0] != 2001-256 || errs[token.ErrUnknownKey] != 2001 {
			t.Errorf("with a set: after %v, %v", at, errs)
		}
	})
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		s.answer(nil)
		time.Sleep(55 * time.Minute) // the key at hand may be withdrawn
		at, errs := crowd(keys, 2001, func(i int) string {
			if i%2 == 0 {
				return invented(i)
			}
			return ring.Active().ID()
		})
		if at[10*time.Second] != 256+1000 || errs[token.ErrUnknownKey] != 1001 || errs[nil] != 1000 {
			t.Errorf("after a pause: after %v, %v", at, errs)
		}
	})
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		s.answer(nil)
		time.Sleep(55 * time.Minute)
		if at, errs := crowd(keys, 2001, func(int) string { return ring.Active().ID() }); at[10*time.Second] != 1024 || errs[nil] != 1024 || errs[token.ErrUnknownKey] != 2001-1024 {
			t.Errorf("after a pause, one key: after %v, %v", at, errs)
		}
	})
}

// While a server fails, quickly or by hanging, nobody waits whose key is at hand,
// whatever the intervals are.
func TestFailingFetchDelaysNobody(t *testing.T) {
	for name, cfg := range map[string]token.RemoteKeySetConfig{
		"by default":           {},
		"often":                {MinInterval: time.Second, RefreshInterval: time.Second},
		"patient":              {MinInterval: time.Second, RefreshInterval: time.Second, Timeout: 30 * time.Second},
		"impatient":            {MinInterval: time.Second, RefreshInterval: 10 * time.Second, Timeout: time.Second},
		"more rarely than due": {MinInterval: time.Second, RefreshInterval: 4 * time.Second, MaxAge: 20 * time.Minute},
	} {
		for how, h := range map[string]http.Handler{"hanging": nil, "failing": status(500)} {
			remote(t, cfg, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
				step := 100 * time.Millisecond
				if name == "more rarely than due" {
					step = 6 * time.Second
				}
				s.answer(h)
				late, n := 0, 0
				for start := time.Now(); time.Since(start) < 15*time.Minute; time.Sleep(step) {
					at := time.Now()
					forge.Find(t, keys, ring.Active().ID(), nil)
					if n++; time.Since(at) > 0 {
						late++
					}
				}
				if late > 0 {
					t.Errorf("%s, %s: %d of %d good look-ups waited", name, how, late, n)
				}
				if keys.Status().Failures < 3 {
					t.Errorf("%s, %s: %d failures: nothing was tested", name, how, keys.Status().Failures)
				}
			})
		}
	}
}

// A kid that somebody asks for all the time, in vain, is found soon after it is published.
func TestKidAskedForInVain(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{RefreshInterval: 24 * time.Hour, MaxAge: 48 * time.Hour}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		for range 2 * 3600 {
			forge.Find(t, keys, "to come", token.ErrUnknownKey)
			time.Sleep(time.Second)
		}
		if n := s.fetches(); n < 20 || n > 100 {
			t.Errorf("%d fetches in two hours", n)
		}
		s.answer(forge.KeysAt(t, "to come"))
		published := time.Now()
		for {
			_, err := keys.Lookup(t.Context(), "to come", token.EdDSA)
			if err == nil {
				break
			}
			if time.Since(published) > 80*time.Second {
				t.Fatalf("still %v", err)
			}
			time.Sleep(time.Second)
		}
		t.Logf("found after %s", time.Since(published))
	})
	remote(t, token.RemoteKeySetConfig{RefreshInterval: 24 * time.Hour, MaxAge: 48 * time.Hour}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		for range 3600 {
			forge.Find(t, keys, "to come", token.ErrUnknownKey)
			time.Sleep(time.Second)
		}
		s.answer(forge.KeysAt(t, "to come"))
		time.Sleep(10 * time.Second)
		forge.Find(t, keys, "another", token.ErrUnknownKey) // any fetch brings it
		forge.Find(t, keys, "to come", nil)
	})
}

// A key that was withdrawn is refused at the first look-up after a pause, however long
// its server takes to say so, and in a service that is in use within RefreshInterval
// and the time of one fetch.
func TestWithdrawnKeyOfASlowServer(t *testing.T) {
	slow := func(d time.Duration) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(d)
			forge.KeysAt(t, "new").ServeHTTP(w, r)
		})
	}
	for _, takes := range []time.Duration{0, 3 * time.Second, 9 * time.Second} {
		for _, pause := range []time.Duration{10 * time.Minute, 55 * time.Minute, 59 * time.Minute} {
			remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
				s.answer(slow(takes))
				time.Sleep(pause)
				var wg sync.WaitGroup
				for range 300 {
					wg.Go(func() { forge.Find(t, keys, ring.Active().ID(), token.ErrUnknownKey) })
				}
				wg.Wait()
			})
		}
		remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
			s.answer(slow(takes))
			withdrawn := time.Now()
			for {
				if _, err := keys.Lookup(t.Context(), ring.Active().ID(), token.EdDSA); err != nil {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			if d := time.Since(withdrawn); d > 5*time.Minute+takes {
				t.Errorf("a server that takes %s: accepted for %s", takes, d)
			}
		})
	}
}

// New material under an old kid is found by a fetch after a bad signature. Strangers
// cause one per MinInterval by such signatures, from the end of the last.
func TestNewKeyUnderAnOldKid(t *testing.T) {
	old := forge.Ed(t, "k", forge.Keys().Ed)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, withKid := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			next := forge.Ed(t, "k", private)
			s := &keyServer{h: forge.KeysAt(t, "k")}
			keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			v := forge.Verifier(t, func(c *token.VerifierConfig) { c.Keys, c.Algorithms = keys, []token.Algorithm{token.EdDSA} })
			by := func(x forge.Signer) string {
				header := x.Header()
				if !withKid {
					header = header.Without("kid")
				}
				return x.Forge(header, forge.Claims(time.Now()).With("jti", strconv.Quote(strconv.FormatInt(time.Now().UnixNano(), 36))))
			}
			check := func(raw string, want error) {
				t.Helper()
				if _, err := v.Verify(t.Context(), raw); !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			}
			cached := by(old)
			check(cached, nil)
			s.fetches()
			s.answer(forge.JSON(forge.JWKS(forge.JWK(t, public).With("kid", `"k"`))))
			check(by(next), nil) // at the first try
			check(by(old), token.ErrSignature)
			check(cached, token.ErrSignature)
			if n := s.fetches(); n != 1 {
				t.Errorf("%d fetches", n)
			}
			// Strangers.
			start := time.Now()
			for time.Since(start) < 100*time.Second {
				check(by(old), token.ErrSignature)
				check(by(next), nil)
				time.Sleep(100 * time.Millisecond)
			}
			if n := s.fetches(); n > 10 {
				t.Errorf("%d fetches in ten intervals", n)
			}
			s.answer(forge.KeysAt(t, "k")) // replaced once more: what they did does not matter
			time.Sleep(10 * time.Second)
			check(by(old), nil)
			s.answer(forge.JSON(forge.JWKS(forge.JWK(t, public).With("kid", `"k"`))))
			time.Sleep(10 * time.Second)
			check(by(next), nil)
			// While the server hangs, a bad signature waits for one fetch at most, and good ones never.
			s.answer(nil)
			time.Sleep(10 * time.Second)
			at := time.Now()
			check(by(old), token.ErrSignature)
			if d := time.Since(at); d != 10*time.Second {
				t.Errorf("waited %s", d)
			}
			at = time.Now()
			check(by(old), token.ErrSignature)
			check(by(next), nil)
			if d := time.Since(at); d != 0 {
				t.Errorf("waited %s", d)
			}
		})
	}
}
