package browser_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
)

// A bindingHost keeps one device-bound session by hand, as a measure of the browser and not of
// the package.
type bindingHost struct {
	mu         sync.Mutex
	key        *ecdsa.PublicKey
	bare, used int // refreshes without a proof, and with a sound one
	over       bool
}

func (h *bindingHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.Header().Set("Cache-Control", "no-store")
	mint := func() {
		http.SetCookie(w, &http.Cookie{Name: "__Host-at", Value: "bound", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 600})
	}
	proof := r.Header.Get("Secure-Session-Response")
	switch r.URL.Path {
	case "/login":
		w.Header().Set("Secure-Session-Registration", `(ES256);path="/dbsc/register";challenge="first"`)
		mint()
		page("welcome").ServeHTTP(w, r)
	case "/dbsc/register":
		key, ok := soundProof(proof, "first", nil)
		if !ok {
			http.Error(w, "no sound proof", http.StatusBadRequest)
			return
		}
		h.key = key
		fmt.Fprint(w, `{"session_identifier":"s1","refresh_url":"/dbsc/refresh","scope":{"include_site":false},
			"credentials":[{"type":"cookie","name":"__Host-at","attributes":"Path=/; Secure; HttpOnly; SameSite=Lax"}]}`)
	case "/dbsc/refresh":
		switch _, ok := soundProof(proof, "second", h.key); {
		case h.over:
			w.WriteHeader(http.StatusUnauthorized)
		case r.Header.Get("Sec-Secure-Session-Id") != "s1":
			w.WriteHeader(http.StatusBadRequest)
		case !ok:
			h.bare++
			w.Header().Set("Secure-Session-Challenge", `"second";id="s1"`)
			w.WriteHeader(http.StatusForbidden)
		default:
			h.used++
			mint()
		}
	case "/lose": // the bound cookie runs out
		http.SetCookie(w, &http.Cookie{Name: "__Host-at", Path: "/", Secure: true, HttpOnly: true, MaxAge: -1})
	case "/end":
		h.over = true
		http.SetCookie(w, &http.Cookie{Name: "__Host-at", Path: "/", Secure: true, HttpOnly: true, MaxAge: -1})
	default:
		text := "no cookie"
		if _, err := r.Cookie("__Host-at"); err == nil {
			text = "cookie"
		}
		page(text).ServeHTTP(w, r)
	}
}

// soundProof checks a proof as the draft of 2026 has it: its challenge, and its signature by the
// key given, or by the one that it brings.
func soundProof(jwt, challenge string, key *ecdsa.PublicKey) (*ecdsa.PublicKey, bool) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return nil, false
	}
	var decoded [3][]byte
	for i, p := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			return nil, false
		}
	}
	var header struct {
		Typ, Alg string
		JWK      struct{ X, Y string }
	}
	var payload struct{ JTI string }
	if json.Unmarshal(decoded[0], &header) != nil || json.Unmarshal(decoded[1], &payload) != nil {
		return nil, false
	}
	if key == nil {
		x, _ := base64.RawURLEncoding.DecodeString(header.JWK.X)
		y, _ := base64.RawURLEncoding.DecodeString(header.JWK.Y)
		point := append([]byte{4}, append(x, y...)...)
		var err error
		if key, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point); err != nil {
			return nil, false
		}
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	sig := decoded[2]
	sound := header.Typ == "dbsc+jwt" && header.Alg == "ES256" && payload.JTI == challenge && len(sig) == 64 &&
		ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	return key, sound
}

// With the features of [browser.DeviceBound] the browser registers a key, signs when the bound
// cookie is missing, more often than its quota allows, and stops when it is told to; without
// them it does nothing of it.
func TestDeviceBound(t *testing.T) {
	h := &bindingHost{}
	b := browser.Start(t, map[string]http.Handler{"app.example": h}, browser.DeviceBound())
	tab := b.Profile().Tab()
	tab.WatchBound()
	tab.Go("https://app.example/login")
	tab.Bound("creation", "Success")
	const more = 8 // the quota is six, with the registration
	for i := range more {
		tab.Go("https://app.example/lose")
		tab.Go("https://app.example/page")
		if tab.Text() != "cookie" {
			t.Fatalf("refresh %d: the page came without the cookie", i+1)
		}
	}
	tab.Bound("refresh", "Refreshed")
	h.mu.Lock()
	if h.bare == 0 || h.used != more {
		t.Errorf("the server saw %d refreshes without proof and %d with a sound one, want some and %d", h.bare, h.used, more)
	}
	h.mu.Unlock()
	tab.Go("https://app.example/end")
	tab.Go("https://app.example/page")
	tab.Shows("no cookie")
	tab.Bound("refresh", "FatalError")

	h = &bindingHost{}
	b = browser.Start(t, map[string]http.Handler{"app.example": h})
	tab = b.Profile().Tab()
	tab.Go("https://app.example/login")
	tab.Go("https://app.example/lose")
	tab.Go("https://app.example/page")
	tab.Shows("no cookie")
	if n := b.Count("POST", "app.example", "/dbsc/register"); n != 0 {
		t.Errorf("a browser without the features has registered %d times", n)
	}
}
