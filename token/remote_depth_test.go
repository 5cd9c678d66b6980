package token_test

import (
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
)

// A set in use is fetched ahead of time, and nobody ever waits for that, however
// slow the server is.
func TestRemoteKeysRefreshesAhead(t *testing.T) {
	remote(t, token.RemoteKeysConfig{}, func(t *testing.T, s *keyServer, ring *token.Keyring, keys *token.RemoteKeySet) {
		kid := ring.Active().ID()
		s.answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(9 * time.Second) // the server's
			ring.ServeHTTP(w, r)
		}))
		for range 3600 {
			at := time.Now()
			find(t, keys, kid, nil)
			if waited := time.Since(at); waited > 0 {
				t.Fatalf("a look-up waited %s", waited)
			}
			if age := keys.Status().Age; age >= 5*time.Minute {
				t.Fatalf("the keys are %s old", age)
			}
			time.Sleep(time.Second)
		}
		if n := s.fetches(); n < 13 || n > 16 {
			t.Errorf("%d fetches in an hour", n)
		}
	})
}

// Services that started together do not go on fetching together.
func TestRemoteKeysSpreadsFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := newRing(t, token.KeyringConfig{})
		var mu sync.Mutex
		at := make(map[time.Time]int)
		s := &keyServer{h: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			at[time.Now().Truncate(time.Second)]++
			mu.Unlock()
			ring.ServeHTTP(w, r)
		})}
		var sets []*token.RemoteKeySet
		for range 100 {
			keys, err := token.RemoteKeys(t.Context(), jwksURL, token.RemoteKeysConfig{Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			sets = append(sets, keys)
		}
		kid := ring.Active().ID()
		for range 300 {
			time.Sleep(time.Second)
			for _, keys := range sets {
				find(t, keys, kid, nil)
			}
			synctest.Wait()
		}
		mu.Lock()
		defer mu.Unlock()
		if len(at) < 15 { // the start, and 100 of 30 seconds
			t.Errorf("fetches in %d seconds: %v", len(at), at)
		}
	})
}

// A client that goes on using a kid that is gone makes us fetch more rarely, down to
// once in eight times MinInterval, and a new key is found at once all the same.
func TestRemoteKeysRemembersUnknownKids(t *testing.T) {
	remote(t, token.RemoteKeysConfig{RefreshInterval: 30 * time.Minute}, func(t *testing.T, s *keyServer, ring *token.Keyring, keys *token.RemoteKeySet) {
		s.fetches()
		start, n := time.Now(), 0
		var after []time.Duration
		for time.Since(start) < 20*time.Minute {
			find(t, keys, "gone", token.ErrUnknownKey)
			if s.fetches() > 0 {
				n++
				after = append(after, time.Since(start))
			}
			time.Sleep(time.Second)
		}
		if n < 15 || n > 19 { // after 0, 10, 30, 70, 150, 230 s and so on
			t.Errorf("%d fetches in 20 min, after %v", n, after)
		}
		key, err := ring.Rotate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		find(t, keys, key.ID(), nil)
	})
}

// A kid that comes back is found by the next fetch, whatever is remembered of it.
func TestRemoteKeysFindsWhatWasUnknown(t *testing.T) {
	remote(t, token.RemoteKeysConfig{}, func(t *testing.T, s *keyServer, ring *token.Keyring, keys *token.RemoteKeySet) {
		find(t, keys, "later", token.ErrUnknownKey)
		s.answer(keysAt(t, "later"))
		find(t, keys, "later", token.ErrUnknownKey) // within MinInterval
		time.Sleep(10 * time.Second)
		find(t, keys, "later", nil)
	})
}

// A flood of invented kids costs a fetch per MinInterval and no memory, and blocks
// neither known keys nor anybody for long.
func TestRemoteKeysFlood(t *testing.T) {
	remote(t, token.RemoteKeysConfig{}, func(t *testing.T, s *keyServer, ring *token.Keyring, keys *token.RemoteKeySet) {
		kid := ring.Active().ID()
		s.fetches()
		for i := range 6000 {
			for j := range 10 {
				keys.Lookup(t.Context(), "invented-"+strconv.Itoa(10*i+j), token.EdDSA)
			}
			find(t, keys, kid, nil)
			time.Sleep(100 * time.Millisecond)
		}
		if n := s.fetches(); n < 55 || n > 61 {
			t.Errorf("%d fetches in ten minutes", n)
		}
		if st := keys.Status(); st.Refused != 60_000 || st.Failures != 0 {
			t.Errorf("status %+v", st)
		}
	})
}

// RFC 9110 section 13.1.2: what has not changed is not sent again, and counts as new.
func TestRemoteKeysETag(t *testing.T) {
	set := jwks(jwk(t, forgeKeys().ed.Public()).with("kid", `"a"`))
	other := jwks(jwk(t, forgeKeys().ec.Public()).with("kid", `"b"`))
	serve := func(set, tag string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", tag)
			if r.Header.Get("If-None-Match") == tag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			jsonHandler(set).ServeHTTP(w, r)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{h: serve(set, `W/"1"`)}
		keys, err := token.RemoteKeys(t.Context(), jwksURL, token.RemoteKeysConfig{Transport: s})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		for range 120 {
			find(t, keys, "a", nil)
			time.Sleep(time.Minute)
		}
		st := keys.Status()
		if st.Unchanged == 0 || st.Fetches != st.Unchanged+1 || st.Err != nil || st.Age > 5*time.Minute || st.Keys != 1 {
			t.Errorf("status %+v", st)
		}
		s.answer(serve(other, `W/"2"`))
		time.Sleep(10 * time.Minute)
		find(t, keys, "a", token.ErrUnknownKey) // it left
		if _, err := keys.Lookup(t.Context(), "b", token.ES256); err != nil {
			t.Error(err)
		}
		// A 304 that nobody asked for is no answer; nor is a tag too long to send back.
		long := `"` + strings.Repeat("t", 300) + `"`
		s.answer(serve(set, long))
		time.Sleep(10 * time.Minute)
		find(t, keys, "a", nil)
		s.answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-None-Match") != "" {
				t.Errorf("a tag of %d bytes was sent back", len(r.Header.Get("If-None-Match")))
			}
			w.WriteHeader(http.StatusNotModified)
		}))
		time.Sleep(5 * time.Minute)
		find(t, keys, "a", nil)
		synctest.Wait()
		if st := keys.Status(); st.Err == nil || !st.Usable {
			t.Errorf("after an unasked-for 304: status %+v", st)
		}
	})
}

// RFC 9111 section 5.1: what a cache has held already counts.
func TestRemoteKeysSubtractsAge(t *testing.T) {
	set := jwks(jwk(t, forgeKeys().ed.Public()).with("kid", `"a"`))
	for age, due := range map[string]time.Duration{"140": 10 * time.Second, "0": 150 * time.Second, "": 150 * time.Second, "x": 150 * time.Second, "999": 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := &keyServer{h: jsonHandler(set, "Cache-Control", "max-age=150", "Age", age)}
			keys, err := token.RemoteKeys(t.Context(), jwksURL, token.RemoteKeysConfig{Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			s.fetches()
			time.Sleep(due * 7 / 10)
			find(t, keys, "a", nil)
			early := s.fetches()
			time.Sleep(due * 3 / 10)
			find(t, keys, "a", nil)
			if n := s.fetches(); early != 0 || n != 1 {
				t.Errorf("Age %q: %d, then %d fetches", age, early, n)
			}
		})
	}
}

// One bad key in somebody else's set costs that key alone; the last row of each
// kind is its good twin.
func TestRemoteKeysBadKeyCostsItself(t *testing.T) {
	k := forgeKeys()
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	good := jwk(t, k.ed.Public()).with("kid", `"good"`)
	ec := jwk(t, k.ec.Public()).with("kid", `"x"`)
	rs := jwk(t, k.rsa.Public()).with("kid", `"x"`).with("alg", `"RS256"`)
	for _, x := range []struct {
		name   string
		keys   []object
		usable bool // the key with kid x
	}{
		{"a good EC key", []object{ec}, true},
		{"a good RSA key", []object{rs}, true},
		{"the same key twice", []object{ec, ec}, true},
		{"private", []object{ec.with("d", `"AAAA"`)}, false},
		{"private under another kid", []object{ec, ec.with("kid", `"y"`).with("d", `"AAAA"`)}, false},
		{"private under another kid, before it", []object{ec.with("kid", `"y"`).with("d", `"AAAA"`), ec}, false},
		{"private, for encryption", []object{rs, rs.with("kid", `"y"`).with("use", `"enc"`).with("d", `"AAAA"`)}, false},
		{"a secret", []object{{"kty", `"oct"`, "kid", `"x"`, "k", `"AAAA"`}}, false},
		{"two keys of one name", []object{ec, jwk(t, other.Public()).with("kid", `"x"`)}, false},
		{"two keys of one kid, each for its algorithm", []object{ec, rs}, true},
		{"one key for two algorithms", []object{rs, rs.with("alg", `"PS256"`)}, true},
		{"a member twice", []object{ec.plus("kid", `"y"`)}, false},
		{"bad UTF-8", []object{ec.with("x5t", "\"\xff\"")}, false},
		{"weak", []object{rs.with("n", `"AQAB"`)}, false},
		{"e = 1", []object{rs.with("e", `"AQ"`)}, false},
		{"off its curve", []object{ec.with("y", ec[5])}, false},
		{"alg of another kty", []object{ec.with("alg", `"RS256"`)}, false},
		{"alg of secrets", []object{rs.with("alg", `"HS256"`)}, false},
		{"a member missing", []object{ec.without("x")}, false},
		{"no kty", []object{ec.without("kty")}, false},
		{"kid no string", []object{ec.with("kid", `7`)}, false},
		{"use enc", []object{ec.with("use", `"enc"`)}, false},
		{"no object", []object{nil, object{"kty", `1`}}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &keyServer{h: jsonHandler(jwks(append([]object{good}, x.keys...)...))}
			keys, err := token.RemoteKeys(t.Context(), jwksURL, token.RemoteKeysConfig{Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			find(t, keys, "good", nil)
			usable := false
			for _, alg := range []token.Algorithm{token.ES256, token.RS256, token.PS256} {
				_, err := keys.Lookup(t.Context(), "x", alg)
				usable = usable || err == nil
			}
			st := keys.Status()
			if usable != x.usable || (len(st.Skipped) == 0) != x.usable || st.Err != nil {
				t.Errorf("%s: usable %v, status %+v", x.name, usable, st)
			}
		})
	}
}

// A set of bad keys alone is a mistake, and the last good one serves; if it is the
// private half that is published, the key is gone at once.
func TestRemoteKeysBadKeysAlone(t *testing.T) {
	ed := jwk(t, forgeKeys().ed.Public()).with("kid", `"a"`)
	for name, x := range map[string]struct {
		set  string
		want error
	}{
		"no kty":  {jwks(ed.without("kty")), nil},
		"weak":    {jwks(ed.with("x", strconv.Quote(strings.Repeat("A", 43)))), nil},
		"private": {jwks(ed.with("d", `"AAAA"`)), token.ErrKeysUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &keyServer{h: jsonHandler(jwks(ed))}
			keys, err := token.RemoteKeys(t.Context(), jwksURL, token.RemoteKeysConfig{Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			s.answer(jsonHandler(x.set))
			time.Sleep(5 * time.Minute)
			find(t, keys, "a", nil)
			synctest.Wait()
			find(t, keys, "a", x.want)
			if st := keys.Status(); st.Err == nil {
				t.Errorf("%s: status %+v", name, st)
			}
		})
	}
}

func TestRemoteKeysStatus(t *testing.T) {
	remote(t, token.RemoteKeysConfig{}, func(t *testing.T, s *keyServer, ring *token.Keyring, keys *token.RemoteKeySet) {
		st := keys.Status()
		if st.URL != jwksURL || !st.Usable || st.Keys != 1 || st.Fetches != 1 || st.Failures != 0 || st.Err != nil || st.Age != 0 || !st.FetchedAt.Equal(time.Now()) {
			t.Errorf("at first: %+v", st)
		}
		find(t, keys, "no", token.ErrUnknownKey)
		s.answer(status(500))
		start := time.Now()
		for time.Since(start) < 59*time.Minute {
			time.Sleep(time.Minute)
			find(t, keys, ring.Active().ID(), nil)
			synctest.Wait()
		}
		st = keys.Status()
		if !st.Usable || st.Refused != 1 || st.Failures == 0 || st.Err == nil || st.Age < 59*time.Minute || !strings.Contains(st.Err.Error(), "status 500") {
			t.Errorf("in an outage: %+v", st)
		}
		time.Sleep(2 * time.Minute)
		if st = keys.Status(); st.Usable {
			t.Errorf("after MaxAge: %+v", st)
		}
		keys.Close()
		if st = keys.Status(); st.Usable || st.Err == nil || st.Keys != 0 {
			t.Errorf("closed: %+v", st)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		keys, err := token.RemoteKeys(t.Context(), jwksURL, token.RemoteKeysConfig{Transport: &keyServer{h: status(404)}})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		if st := keys.Status(); st.Usable || !st.FetchedAt.IsZero() || st.Failures != 1 || st.Fetches != 1 {
			t.Errorf("never reached: %+v", st)
		}
	})
}

// Over sockets: what a hostile server may send costs bounded memory and time.
func TestRemoteKeysHostileServer(t *testing.T) {
	set := jwks(jwk(t, forgeKeys().ed.Public()).with("kid", `"k"`))
	cut := make(chan error, 1)
	for _, x := range []struct {
		name    string
		timeout time.Duration
		h       http.HandlerFunc
		want    string // in the error; empty for a good twin
	}{
		{"plain", time.Minute, jsonHandler(set).ServeHTTP, ""},
		{"gzip", time.Minute, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, set)
			z.Close()
		}, ""},
		{"gzip bomb", time.Minute, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			blank := []byte(strings.Repeat(" ", 1<<20))
			for { // until we are cut off
				if _, err := z.Write(blank); err != nil {
					select { // it may be fetched twice
					case cut <- err:
					default:
					}
					return
				}
			}
		}, "more than 262144 bytes"},
		{"header of 16 KiB", time.Minute, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Large", strings.Repeat("x", 16<<10))
			jsonHandler(set).ServeHTTP(w, r)
		}, ""},
		{"header of 1 MiB", time.Minute, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Large", strings.Repeat("x", 1<<20))
			jsonHandler(set).ServeHTTP(w, r)
		}, "header"},
		{"a byte now and then", 300 * time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				if _, err := fmt.Fprint(w, " "); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				select {
				case <-tick.C:
				case <-r.Context().Done():
					return
				}
			}
		}, "deadline exceeded"},
	} {
		server := httptest.NewServer(x.h)
		keys, err := token.RemoteKeys(t.Context(), server.URL, token.RemoteKeysConfig{InsecureAllowHTTP: true, Timeout: x.timeout})
		if err != nil {
			t.Fatal(err)
		}
		_, err = keys.Lookup(t.Context(), "k", token.EdDSA)
		switch {
		case x.want == "" && err != nil:
			t.Errorf("%s: %v", x.name, err)
		case x.want != "" && (!errors.Is(err, token.ErrKeysUnavailable) || !strings.Contains(err.Error(), x.want)):
			t.Errorf("%s: error %v", x.name, err)
		}
		keys.Close()
		server.Close()
	}
	select {
	case <-cut:
	default:
		t.Error("the bomb was read to its end")
	}
}

// A caller that gives up does not take the fetch with it (one fetch for all).
func TestRemoteKeysFetchOutlivesItsCaller(t *testing.T) {
	remote(t, token.RemoteKeysConfig{}, func(t *testing.T, s *keyServer, ring *token.Keyring, keys *token.RemoteKeySet) {
		s.fetches()
		s.answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second) // the server's
			keysAt(t, "new").ServeHTTP(w, r)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := keys.Lookup(ctx, "new", token.EdDSA); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, token.ErrUnknownKey) || errors.Is(err, token.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
		find(t, keys, "new", nil)
		if n := s.fetches(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}
