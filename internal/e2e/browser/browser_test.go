package browser_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
)

// page answers every request with a page that shows the text, and asks for no icon: a page
// that must not be stored rests in the back-forward cache only while nothing that it loads
// must not be stored either.
func page(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		show(w, text)
	})
}

// show shows a text, and says nothing of caches.
func show(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<!doctype html><html lang=en><link rel=icon href=data:,><title>t</title><body>%s</body></html>", text)
}

// The harness itself: names lead to their servers and to no others, profiles share nothing,
// tabs of a profile share its cookies.
func TestProfilesAndTabs(t *testing.T) {
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := r.URL.Query().Get("login"); name != "" {
			http.SetCookie(w, &http.Cookie{Name: "__Host-who", Value: name, Path: "/", Secure: true, HttpOnly: true})
		}
		who := "nobody"
		if c, err := r.Cookie("__Host-who"); err == nil {
			who = c.Value
		}
		page("hello "+who).ServeHTTP(w, r)
	})
	b := browser.Start(t, map[string]http.Handler{"app.example": app, "attacker.example": page("here be dragons")})
	one, other := b.Profile(), b.Profile()
	first, second, foreign := one.Tab(), one.Tab(), other.Tab()

	if got := first.Go("https://app.example/?login=ada"); got != http.StatusOK {
		t.Fatalf("status %d", got)
	}
	second.Go("https://app.example/")
	second.Shows("hello ada")
	foreign.Go("https://app.example/")
	foreign.Shows("hello nobody")
	foreign.Go("https://attacker.example/")
	foreign.Shows("here be dragons")

	if c, ok := one.Cookie("app.example", "__Host-who"); !ok || c.Value != "ada" || !c.HTTPOnly || !c.Secure || c.Path != "/" {
		t.Errorf("the cookie of the first profile: there %v", ok)
	}
	if all := other.Cookies(); len(all) != 0 {
		t.Errorf("the other profile holds %d cookies", len(all))
	}
	if f := second.Fetch("https://elsewhere.example/", ""); !strings.Contains(f.Failed, "Failed to fetch") {
		t.Errorf("a name that was not given came to %q", f.Failed)
	}
	if f := second.Fetch("/", ""); f.Status != http.StatusOK || !strings.Contains(f.Body, "hello ada") {
		t.Errorf("fetch: status %d", f.Status)
	}
	if n := b.Count("GET", "app.example", "/"); n != 4 {
		t.Errorf("app.example saw %d requests of its page, want 4", n)
	}
}
