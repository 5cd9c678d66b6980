package token_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// Answers that are no key set change nothing: what was known goes on.
func TestRemoteKeysRefusesAnswers(t *testing.T) {
	good := forge.JWK(t, forge.Keys().Ed.Public()).With("kid", `"b"`)
	set := forge.JWKS(good)
	redirect := func(to string) http.Handler { // where it leads, a key waits
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.String() == jwksURL {
				http.Redirect(w, r, to, http.StatusFound)
			} else {
				forge.JSON(set).ServeHTTP(w, r)
			}
		})
	}
	for name, h := range map[string]http.Handler{
		"500":              status(500),
		"404":              status(404),
		"204":              status(204),
		"206":              status(206),
		"HTML":             forge.JSON("<!DOCTYPE html><title>Maintenance</title>", "Content-Type", "text/html"),
		"HTML called JSON": forge.JSON("<!DOCTYPE html><title>Maintenance</title>"),
		"empty":            forge.JSON(""),
		"keys twice":       forge.JSON(`{"keys":[],"keys":[` + good.String() + `]}`),
		"garbage":          forge.JSON(set[:40]),
		"huge":             forge.JSON(set + strings.Repeat(" ", 256<<10)),
		"to another host":  redirect("https://evil.example.com/jwks.json"),
		"to http":          redirect("http://auth.example.com/jwks.json"),
		"to loopback":      redirect("https://127.0.0.1/jwks.json"),
		"to metadata":      redirect("http://169.254.169.254/"), // CVE-2026-32301
		"to another port":  redirect("https://auth.example.com:8443/jwks.json"),
		"round and round":  redirect(jwksURL),
		"to nowhere":       status(http.StatusFound),
	} {
		remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
			s.answer(h)
			time.Sleep(5 * time.Minute)
			forge.Find(t, keys, "b", token.ErrUnknownKey)
			forge.Find(t, keys, ring.Active().ID(), nil)
			if n := s.fetches(); n > 5 {
				t.Errorf("%s: %d requests", name, n)
			}
			s.answer(forge.JSON(set)) // the good twin
			time.Sleep(time.Minute)
			forge.Find(t, keys, "b", nil)
		})
	}
}

func TestRemoteKeysRedirectWithinOrigin(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		mux := http.NewServeMux()
		mux.Handle("/.well-known/jwks.json", http.RedirectHandler("/2", http.StatusFound))
		mux.Handle("/2", http.RedirectHandler("https://auth.example.com/3", http.StatusFound))
		mux.Handle("/3", forge.JSON(forge.JWKS(forge.JWK(t, forge.Keys().Ed.Public()).With("kid", `"b"`))))
		s.answer(mux)
		forge.Find(t, keys, "b", nil)
	})
}

// Over sockets: TLS by the caller's transport, a body without end, one that never
// ends, no cookies, and an RSA key that needs the configuration.
func TestRemoteKeysOverTLS(t *testing.T) {
	var mode atomic.Value
	mode.Store("good")
	var cookies atomic.Int64
	set := forge.JWKS(forge.JWK(t, forge.Keys().Rsa.Public()).With("kid", `"rs"`))
	release := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookies.Add(int64(len(r.Cookies())))
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		w.Header().Set("Content-Type", "application/json")
		switch mode.Load() {
		case "endless":
			for {
				if _, err := fmt.Fprint(w, strings.Repeat(" ", 64<<10)); err != nil {
					return
				}
			}
		case "slow":
			fmt.Fprint(w, "{")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-release:
			}
		default:
			fmt.Fprint(w, set)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	defer close(release)
	cfg := token.RemoteKeySetConfig{Transport: server.Client().Transport, Algorithms: []token.Algorithm{token.RS256}, Timeout: time.Minute}
	open := func() *token.RemoteKeySet {
		keys, err := token.NewRemoteKeySet(t.Context(), server.URL, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { keys.Close() })
		return keys
	}
	keys := open()
	for _, kid := range []string{"rs", "", "unknown"} { // the last one fetches again
		key, err := keys.Lookup(t.Context(), kid, token.RS256)
		if (err == nil) != (kid != "unknown") || err != nil && !errors.Is(err, token.ErrUnknownKey) {
			t.Errorf("kid %q: key %v, error %v", kid, key, err)
		}
	}
	if cookies.Load() != 0 {
		t.Errorf("%d cookies came back", cookies.Load())
	}
	cfg.Timeout = 200 * time.Millisecond
	for _, m := range []string{"endless", "slow"} {
		mode.Store(m)
		if _, err := open().Lookup(t.Context(), "rs", token.RS256); !errors.Is(err, token.ErrKeysUnavailable) {
			t.Errorf("%s body: error %v", m, err)
		}
	}
	mode.Store("good")
	cfg.Timeout, cfg.Transport = time.Minute, nil // does not know the server's certificate
	if _, err := open().Lookup(t.Context(), "rs", token.RS256); !errors.Is(err, token.ErrKeysUnavailable) {
		t.Errorf("unknown certificate: error %v", err)
	}
}
