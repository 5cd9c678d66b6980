//go:build quota

package browser_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
)

// A browser signs six times in nine minutes for a site. Beyond that it sends requests without the
// bound cookie and says so: they are told to try again, nobody is logged out, and once the
// browser may sign again the session goes on. It takes ten minutes, hence its build tag.
func TestDeviceSessionQuota(t *testing.T) {
	s := newShop(t, bound, browser.Quota())
	p := s.Profile()
	tab := s.logInBound(t, p, "ada") // the first signature
	began := time.Now()
	refused := func() bool {
		f := tab.Fetch("/api", "")
		if f.Status != http.StatusOK && f.Status != http.StatusServiceUnavailable {
			t.Fatalf("answered %d", f.Status)
		}
		return f.Status == http.StatusServiceUnavailable
	}
	signed := 1
	for p.Expire(shopHost, boundCookie); !refused(); p.Expire(shopHost, boundCookie) {
		if signed++; signed > 20 {
			t.Fatal("there is no quota")
		}
	}
	t.Logf("%d signatures, refused after %v", signed, time.Since(began).Round(time.Second))
	skipped := s.Seen(func(x browser.Seen) bool {
		return x.Path == "/api" && x.Header.Get("Secure-Session-Skipped") != ""
	})
	if len(skipped) != 1 {
		t.Errorf("%d requests say that their refresh was skipped", len(skipped))
	}
	tab.Go(shopURL + "/private")
	if got := browser.Eval[string](tab, "location.pathname"); got != "/private" {
		t.Errorf("sent to %s", got)
	}
	alive := func() {
		t.Helper()
		if list, err := s.sessions.Sessions(t.Context(), "ada"); err != nil || len(list) != 1 || !list[0].DeviceBound {
			t.Fatalf("the session is over: %d, %v", len(list), err)
		}
	}
	alive()
	for tick := time.Tick(10 * time.Second); refused(); <-tick {
		if time.Since(began) > 15*time.Minute {
			t.Fatal("the browser signs no more")
		}
	}
	t.Logf("signed again after %v", time.Since(began).Round(time.Second))
	alive()
	if s.logins != 1 || s.registrations() != 1 {
		t.Errorf("%d logins, %d registrations", s.logins, s.registrations())
	}
}
