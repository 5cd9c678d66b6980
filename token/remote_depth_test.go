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
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A set in use is fetched ahead of time, and nobody ever waits for that, however
// slow the server is.
func TestRemoteKeysRefreshesAhead(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		kid := ring.Active().ID()
		s.answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(9 * time.Second) // the server's
			ring.ServeHTTP(w, r)
		}))
		for range 3600 {
			at := time.Now()
			forge.Find(t, keys, kid, nil)
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
		ring := forge.Ring(t, issue.KeyringConfig{})
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
			keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Transport: s})
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
				forge.Find(t, keys, kid, nil)
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
	remote(t, token.RemoteKeySetConfig{RefreshInterval: 30 * time.Minute}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		s.fetches()
		start, n := time.Now(), 0
		var after []time.Duration
		for time.Since(start) < 20*time.Minute {
			forge.Find(t, keys, "gone", token.ErrUnknownKey)
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
		forge.Find(t, keys, key.ID(), nil)
	})
}

// A kid that comes back is found by the next fetch, whatever is remembered of it.
func TestRemoteKeysFindsWhatWasUnknown(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		forge.Find(t, keys, "later", token.ErrUnknownKey)
		s.answer(forge.KeysAt(t, "later"))
		forge.Find(t, keys, "later", token.ErrUnknownKey) // within MinInterval
		time.Sleep(10 * time.Second)
		forge.Find(t, keys, "later", nil)
	})
}

// A flood of invented kids costs a fetch per MinInterval and no memory, and blocks
// neither known keys nor anybody for long.
func TestRemoteKeysFlood(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		kid := ring.Active().ID()
		s.fetches()
		for i := range 6000 {
			for j := range 10 {
				keys.Lookup(t.Context(), "invented-"+strconv.Itoa(10*i+j), token.EdDSA)
			}
			forge.Find(t, keys, kid, nil)
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
	set := forge.JWKS(forge.JWK(t, forge.Keys().Ed.Public()).With("kid", `"a"`))
	other := forge.JWKS(forge.JWK(t, forge.Keys().Ec.Public()).With("kid", `"b"`))
	serve := func(set, tag string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", tag)
			if r.Header.Get("If-None-Match") == tag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			forge.JSON(set).ServeHTTP(w, r)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{h: serve(set, `W/"1"`)}
		keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Transport: s})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		for range 120 {
			forge.Find(t, keys, "a", nil)
			time.Sleep(time.Minute)
		}
		st := keys.Status()
		if st.Unchanged == 0 || st.Fetches != st.Unchanged+1 || st.Err != nil || st.Age > 5*time.Minute || st.Keys != 1 {
			t.Errorf("status %+v", st)
		}
		s.answer(serve(other, `W/"2"`))
		time.Sleep(10 * time.Minute)
		forge.Find(t, keys, "a", token.ErrUnknownKey) // it left
		if _, err := keys.Lookup(t.Context(), "b", token.ES256); err != nil {
			t.Error(err)
		}
		// A 304 that nobody asked for is no answer; nor is a tag too long to send back.
		long := `"` + strings.Repeat("t", 300) + `"`
		s.answer(serve(set, long))
		time.Sleep(10 * time.Minute)
		forge.Find(t, keys, "a", nil)
		s.answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-None-Match") != "" {
				t.Errorf("a tag of %d bytes was sent back", len(r.Header.Get("If-None-Match")))
			}
			w.WriteHeader(http.StatusNotModified)
		}))
		time.Sleep(5 * time.Minute)
		forge.Find(t, keys, "a", nil)
		synctest.Wait()
		if st := keys.Status(); st.Err == nil || !st.Usable {
			t.Errorf("after an unasked-for 304: status %+v", st)
		}
	})
}

// RFC 9111 section 5.1: what a cache has held already counts.
func TestRemoteKeysSubtractsAge(t *testing.T) {
	set := forge.JWKS(forge.JWK(t, forge.Keys().Ed.Public()).With("kid", `"a"`))
	for age, due := range map[string]time.Duration{"140": 10 * time.Second, "0": 150 * time.Second, "": 150 * time.Second, "x": 150 * time.Second, "999": 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := &keyServer{h: forge.JSON(set, "Cache-Control", "max-age=150", "Age", age)}
			keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			s.fetches()
			time.Sleep(due * 7 / 10)
			forge.Find(t, keys, "a", nil)
			early := s.fetches()
			time.Sleep(due * 3 / 10)
			forge.Find(t, keys, "a", nil)
			if n := s.fetches(); early != 0 || n != 1 {
				t.Errorf("Age %q: %d, then %d fetches", age, early, n)
			}
		})
	}
}

// One bad key in somebody else's set costs that key alone; the last row of each
// kind is its good twin.
func TestRemoteKeysBadKeyCostsItself(t *testing.T) {
	k := forge.Keys()
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	good := forge.JWK(t, k.Ed.Public()).With("kid", `"good"`)
	ec := forge.JWK(t, k.Ec.Public()).With("kid", `"x"`)
	rs := forge.JWK(t, k.Rsa.Public()).With("kid", `"x"`).With("alg", `"RS256"`)
	for _, x := range []struct {
		name   string
		keys   []forge.Object
		usable bool // the key with kid x
	}{
		{"a good EC key", []forge.Object{ec}, true},
		{"a good RSA key", []forge.Object{rs}, true},
		{"the same key twice", []forge.Object{ec, ec}, true},
		{"private", []forge.Object{ec.With("d", `"AAAA"`)}, false},
		{"private under another kid", []forge.Object{ec, ec.With("kid", `"y"`).With("d", `"AAAA"`)}, false},
		{"private under another kid, before it", []forge.Object{ec.With("kid", `"y"`).With("d", `"AAAA"`), ec}, false},
		{"private, for encryption", []forge.Object{rs, rs.With("kid", `"y"`).With("use", `"enc"`).With("d", `"AAAA"`)}, false},
		{"a secret", []forge.Object{{"kty", `"oct"`, "kid", `"x"`, "k", `"AAAA"`}}, false},
		{"two keys of one name", []forge.Object{ec, forge.JWK(t, other.Public()).With("kid", `"x"`)}, false},
		{"two keys of one kid, each for its algorithm", []forge.Object{ec, rs}, true},
		{"one key for two algorithms", []forge.Object{rs, rs.With("alg", `"PS256"`)}, true},
		{"a member twice", []forge.Object{ec.Plus("kid", `"y"`)}, false},
		{"bad UTF-8", []forge.Object{ec.With("x5t", "\"\xff\"")}, false},
		{"weak", []forge.Object{rs.With("n", `"AQAB"`)}, false},
		{"e = 1", []forge.Object{rs.With("e", `"AQ"`)}, false},
		{"off its curve", []forge.Object{ec.With("y", ec[5])}, false},
		{"alg of another kty", []forge.Object{ec.With("alg", `"RS256"`)}, false},
		{"alg of secrets", []forge.Object{rs.With("alg", `"HS256"`)}, false},
		{"a member missing", []forge.Object{ec.Without("x")}, false},
		{"no kty", []forge.Object{ec.Without("kty")}, false},
		{"kid no string", []forge.Object{ec.With("kid", `7`)}, false},
		{"use enc", []forge.Object{ec.With("use", `"enc"`)}, false},
		{"no object", []forge.Object{nil, forge.Object{"kty", `1`}}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &keyServer{h: forge.JSON(forge.JWKS(append([]forge.Object{good}, x.keys...)...))}
			keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			forge.Find(t, keys, "good", nil)
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
	ed := forge.JWK(t, forge.Keys().Ed.Public()).With("kid", `"a"`)
	for name, x := range map[string]struct {
		set  string
		want error
	}{
		"no kty":  {forge.JWKS(ed.Without("kty")), nil},
		"weak":    {forge.JWKS(ed.With("x", strconv.Quote(strings.Repeat("A", 43)))), nil},
		"private": {forge.JWKS(ed.With("d", `"AAAA"`)), token.ErrKeysUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &keyServer{h: forge.JSON(forge.JWKS(ed))}
			keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			s.answer(forge.JSON(x.set))
			time.Sleep(5 * time.Minute)
			forge.FetchDue(t, keys, "a")
			forge.Find(t, keys, "a", x.want)
			if st := keys.Status(); st.Err == nil {
				t.Errorf("%s: status %+v", name, st)
			}
		})
	}
}

func TestRemoteKeysStatus(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		st := keys.Status()
		if st.URL != jwksURL || !st.Usable || st.Keys != 1 || st.Fetches != 1 || st.Failures != 0 || st.Err != nil || st.Age != 0 || !st.FetchedAt.Equal(time.Now()) {
			t.Errorf("at first: %+v", st)
		}
		forge.Find(t, keys, "no", token.ErrUnknownKey)
		s.answer(status(500))
		start := time.Now()
		for time.Since(start) < 59*time.Minute {
			time.Sleep(time.Minute)
			forge.Find(t, keys, ring.Active().ID(), nil)
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
		keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Transport: &keyServer{h: status(404)}})
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
	set := forge.JWKS(forge.JWK(t, forge.Keys().Ed.Public()).With("kid", `"k"`))
	cut := make(chan error, 1)
	for _, x := range []struct {
		name    string
		timeout time.Duration
		h       http.HandlerFunc
		want    string // in the error; empty for a good twin
	}{
		{"plain", time.Minute, forge.JSON(set).ServeHTTP, ""},
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
			forge.JSON(set).ServeHTTP(w, r)
		}, ""},
		{"header of 1 MiB", time.Minute, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Large", strings.Repeat("x", 1<<20))
			forge.JSON(set).ServeHTTP(w, r)
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
		keys, err := token.NewRemoteKeySet(t.Context(), server.URL, token.RemoteKeySetConfig{InsecureAllowHTTP: true, Timeout: x.timeout})
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
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		s.fetches()
		s.answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second) // the server's
			forge.KeysAt(t, "new").ServeHTTP(w, r)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := keys.Lookup(ctx, "new", token.EdDSA); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, token.ErrUnknownKey) || errors.Is(err, token.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
		forge.Find(t, keys, "new", nil)
		if n := s.fetches(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}
