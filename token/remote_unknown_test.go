package token_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// drop takes a key out of the ring, after a new one has taken over.
func drop(t *testing.T, ring *issue.Keyring, kid string) (successor string) {
	t.Helper()
	key, err := ring.Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Remove(t.Context(), kid); err != nil {
		t.Fatal(err)
	}
	return key.ID()
}

// Strangers who ask for invented kids keep a new key from being found for MinInterval at
// the longest, and cause one fetch in that time. Nobody is told to try again for ever:
// what the set at hand does not hold is unknown.
func TestRemoteKeysNewKidAmidStrangers(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		forge.Find(t, keys, "retired", token.ErrUnknownKey)
		time.Sleep(time.Minute)
		s.fetches()
		forge.Find(t, keys, "stranger", token.ErrUnknownKey) // takes the turn
		key, err := ring.Rotate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for n := 0; time.Since(start) < 10*time.Second; n++ {
			forge.Find(t, keys, key.ID(), token.ErrUnknownKey)
			forge.Find(t, keys, "retired", token.ErrUnknownKey)
			forge.Find(t, keys, "stranger-"+strconv.Itoa(n), token.ErrUnknownKey)
			time.Sleep(100 * time.Millisecond)
		}
		if n := s.fetches(); n != 1 {
			t.Errorf("%d fetches within MinInterval", n)
		}
		forge.Find(t, keys, key.ID(), nil)
		if n := s.fetches(); n != 1 {
			t.Errorf("%d fetches after MinInterval", n)
		}
	})
}

// A key that a fetch withdrew is refused whatever strangers ask for, and is found
// again at once if it comes back, as it does while servers disagree.
func TestRemoteKeysWithdrawnKid(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		old := ring.Active().ID()
		before := httptest.NewRecorder()
		ring.ServeHTTP(before, httptest.NewRequest("GET", "/", nil))
		drop(t, ring, old)
		forge.Find(t, keys, "stranger", token.ErrUnknownKey) // a fetch, which withdraws the key
		forge.Find(t, keys, old, token.ErrUnknownKey)
		time.Sleep(10 * time.Second)
		s.answer(forge.JSON(before.Body.String()))
		forge.Find(t, keys, old, nil)
		s.answer(ring)
		time.Sleep(5 * time.Minute)
		forge.FetchDue(t, keys, old) // which takes it away again
		s.answer(forge.JSON(before.Body.String()))
		forge.Find(t, keys, old, nil)
	})
}

// A fetch that began before the key was published cannot bring it, nor tell that it
// does not exist: anyone who joined it fetches again.
func TestRemoteKeysJoinsAnOlderFetch(t *testing.T) {
	slowly := func(ring *issue.Keyring) http.Handler { // answers with what was published when it was asked
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			old := httptest.NewRecorder()
			ring.ServeHTTP(old, httptest.NewRequest("GET", "/", nil))
			time.Sleep(5 * time.Second) // the server's
			forge.JSON(old.Body.String()).ServeHTTP(w, r)
		})
	}
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		s.answer(slowly(ring))
		time.Sleep(5 * time.Minute)
		forge.Find(t, keys, ring.Active().ID(), nil) // starts a fetch
		synctest.Wait()
		s.fetches()
		key, err := ring.Rotate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.answer(ring)
		forge.Find(t, keys, key.ID(), nil)
		if n := s.fetches(); n != 1 {
			t.Errorf("%d fetches more", n)
		}
	})
	// So does one who asks for a key that did not exist before.
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		forge.Find(t, keys, "later", token.ErrUnknownKey)
		s.answer(slowly(ring))
		time.Sleep(5 * time.Minute)
		forge.Find(t, keys, ring.Active().ID(), nil) // starts a fetch
		synctest.Wait()
		s.answer(forge.KeysAt(t, "later"))
		forge.Find(t, keys, "later", nil)
	})
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		s.answer(slowly(ring))
		go keys.Lookup(t.Context(), "stranger", token.EdDSA)
		synctest.Wait()
		key, err := ring.Rotate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		forge.Find(t, keys, key.ID(), token.ErrUnknownKey) // the next one comes too soon
		time.Sleep(10*time.Second - time.Millisecond)
		forge.Find(t, keys, key.ID(), token.ErrUnknownKey) // MinInterval counts from the end of the fetch
		time.Sleep(time.Millisecond)
		forge.Find(t, keys, key.ID(), nil)
	})
}

// All who wait for one fetch for one kid hear the same of it.
func TestRemoteKeysUnknownTogether(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		s.answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second) // the server's
			ring.ServeHTTP(w, r)
		}))
		done := make(chan struct{})
		for range 20 {
			go func() {
				forge.Find(t, keys, "unknown", token.ErrUnknownKey)
				done <- struct{}{}
			}()
		}
		for range 20 {
			<-done
		}
		if n := s.fetches(); n != 2 { // one at the start
			t.Errorf("%d fetches", n)
		}
	})
}

// MinInterval holds while the server fails, too, and in the moment it is back.
func TestRemoteKeysMinIntervalInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{h: forge.KeysAt(t, "a")} // without max-age
		keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{MinInterval: 10 * time.Minute, RefreshInterval: 3 * time.Hour, MaxAge: 5 * time.Hour, Transport: s})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		ask := func(d time.Duration) int {
			s.fetches()
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				if _, err := keys.Lookup(t.Context(), "stranger", token.EdDSA); err == nil || errors.Is(err, token.ErrUnknownKey) == errors.Is(err, token.ErrKeysUnavailable) {
					t.Fatal(err)
				}
			}
			return s.fetches()
		}
		s.answer(status(500))
		if n := ask(30 * time.Minute); n != 3 {
			t.Errorf("%d fetches in three intervals of an outage", n)
		}
		s.answer(forge.KeysAt(t, "a"))
		if n := ask(10 * time.Minute); n != 1 {
			t.Errorf("%d fetches in the interval after it", n)
		}
	})
	// A set that was emptied is due: it is fetched as often as a failing one may be.
	remote(t, token.RemoteKeySetConfig{MinInterval: 4 * time.Minute}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		kid := ring.Active().ID()
		s.answer(forge.JSON(forge.JWKS()))
		forge.Find(t, keys, "stranger", token.ErrKeysUnavailable)
		time.Sleep(time.Second)
		forge.Find(t, keys, kid, token.ErrKeysUnavailable)
		s.answer(ring)
		time.Sleep(2 * time.Second)
		forge.Find(t, keys, kid, nil)
	})
	// With a short one, a failing server is left alone ever longer, as when it is due.
	remote(t, token.RemoteKeySetConfig{MinInterval: time.Second, RefreshInterval: time.Hour}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		s.answer(status(500))
		s.fetches()
		for range 1200 {
			forge.Find(t, keys, "stranger", token.ErrUnknownKey)
			time.Sleep(100 * time.Millisecond)
		}
		if n := s.fetches(); n < 5 || n > 9 { // after 0, 1, 3, 7, 15, 31, 63, 95 s
			t.Errorf("%d fetches in two minutes", n)
		}
	})
}
