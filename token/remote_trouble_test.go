package token_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A fetch that failed long ago says nothing of the server now: a key that was
// withdrawn since stops verifying at the first look-up after a long time.
func TestRemoteKeysOldFailure(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		old := ring.Active().ID()
		time.Sleep(5 * time.Minute)
		s.answer(status(500))
		forge.Find(t, keys, old, nil) // starts a fetch, which fails
		s.fetches()
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := ring.Remove(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		s.answer(ring)
		time.Sleep(50 * time.Minute) // within MaxAge
		forge.Find(t, keys, old, token.ErrUnknownKey)
		forge.Find(t, keys, ring.Active().ID(), nil)
	})
}

// When nobody has used a set for long, what it holds may be withdrawn since: a look-up
// waits until the server has answered, or has failed to. Then the key at hand serves.
func TestRemoteKeysHangingServer(t *testing.T) {
	remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
		s.answer(nil)
		time.Sleep(30 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if key, err := keys.Lookup(ctx, ring.Active().ID(), token.EdDSA); key != nil || !errors.Is(err, token.ErrKeysUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with too short a patience: %v, %v", key, err)
		}
		forge.Find(t, keys, ring.Active().ID(), nil)
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("waited %s", d)
		}
		for range 100 { // nor does anybody wait again while it goes on failing
			at := time.Now()
			forge.Find(t, keys, ring.Active().ID(), nil)
			if d := time.Since(at); d != 0 {
				t.Fatalf("%s after it failed, waited %s", at.Sub(began), d)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
	})
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// The URL's query may be a secret: no error and no log line holds it (invariant 10).
func TestRemoteKeysHideTheQuery(t *testing.T) {
	var logged bytes.Buffer
	for name, rt := range map[string]transport{
		"error":  func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
		"status": func(r *http.Request) (*http.Response, error) { return answer(r, status(500)), nil },
		"client": func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("relayed: %w", &url.Error{Op: "Get", URL: r.URL.String(), Err: io.ErrUnexpectedEOF})
		},
		"panic": func(*http.Request) (*http.Response, error) { panic("of the caller's own") },
	} {
		keys, err := token.NewRemoteKeySet(t.Context(), "https://keys.example.com/jwks?api_key=hunter2", token.RemoteKeySetConfig{
			Transport: rt, Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = keys.Lookup(t.Context(), "x", token.EdDSA)
		if !errors.Is(err, token.ErrKeysUnavailable) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v", name, err)
		}
		if s := keys.Status().URL; s != "https://keys.example.com/jwks" {
			t.Errorf("%s: status shows %q", name, s)
		}
		keys.Close()
	}
	if s := logged.String(); strings.Contains(s, "hunter2") || !strings.Contains(s, "https://keys.example.com/jwks") {
		t.Errorf("logged %s", s)
	}
}

func answer(r *http.Request, h http.Handler) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp
}

// An endless body is given up at the bound, not at the time limit.
func TestRemoteKeysBodyIsBounded(t *testing.T) {
	body := &endless{}
	keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Timeout: time.Hour, Transport: transport(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: body, Request: r}, nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	if body.read == 0 || body.read > 256<<10+1 || !body.closed {
		t.Errorf("read %d bytes, closed %v", body.read, body.closed)
	}
	if err := keys.Status().Err; err == nil || !strings.Contains(err.Error(), "more than 262144 bytes") {
		t.Errorf("error %v", err)
	}
}

type endless struct {
	read   int
	closed bool
}

func (e *endless) Read(p []byte) (int, error) {
	if e.read > 64<<20 {
		return 0, io.EOF // or a broken bound would eat the machine
	}
	for i := range p {
		p[i] = ' '
	}
	e.read += len(p)
	return len(p), nil
}

func (e *endless) Close() error {
	e.closed = true
	return nil
}

func TestRemoteKeysNilContext(t *testing.T) {
	var none context.Context
	if !panics(func() { _, _ = token.NewRemoteKeySet(none, jwksURL, token.RemoteKeySetConfig{}) }) {
		t.Error("no panic")
	}
}
