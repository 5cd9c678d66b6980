package web_test

import (
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A session's device has the name of the browser that it began in, unless the application gives
// it another.
func TestDeviceLabel(t *testing.T) {
	s := newShop(t)
	given := ""
	s.login = func(l *refresh.Login) { l.Device = refresh.Device{Label: given, Address: "192.0.2.7"} }
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0":                                                                    "Firefox on Linux",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36":                                     "Chrome on Linux",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36":                            "Chrome on ChromeOS",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0":             "Edge on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 OPR/122.0.0.0":             "Opera on Windows",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/29.0 Chrome/136.0.0.0 Mobile Safari/537.36":       "Samsung Internet on Android",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15":                     "Safari on macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1":   "Safari on iPhone",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/145.0 Mobile/15E148 Safari/605.1.15": "Firefox on iPhone",
		"Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/156.0.6000.0 Mobile/15E148 Safari/604.1":      "Chrome on iPad",
		"curl/8.14.1":               "curl",
		"Something (Linux)":         "Linux",
		"<script>alert(1)</script>": "",
		"":                          "",
	} {
		a := s.agent(t)
		status(t, "login", a.post("/login", with("User-Agent", agent)), 204)
		if got := current(a); got != want {
			t.Errorf("%q is called %q, want %q", agent, got, want)
		}
	}
	given = "the till"
	a := s.agent(t)
	status(t, "login", a.post("/login", with("User-Agent", "curl/8.14.1")), 204)
	if got := current(a); got != "the till" {
		t.Errorf("the application's name has become %q", got)
	}
}

func current(a *agent) string {
	for _, s := range a.sessions().Sessions {
		if s.Current {
			return s.Device.Label
		}
	}
	a.t.Error("no session is the current one")
	return ""
}
