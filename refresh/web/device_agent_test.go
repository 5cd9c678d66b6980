package web_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh/web"
)

// A device is an agent that binds its sessions, as Chromium 156 does: what it sends, and what it
// makes of the answers. Its requests to register and refresh are its own, and no page's.
type device struct {
	*agent
	key           *ecdsa.PrivateKey
	id, challenge string // of its session; no id: it has none
	cached        string // the proof that it sends while it has no other challenge
	refreshURL    string
	credential    struct{ name, attributes string }
	posts         int
}

func (s *shop) device(t testing.TB) *device { return &device{agent: s.agent(t)} }

func binding(f ...web.Fallback) func(*web.BrowserConfig) {
	return func(c *web.BrowserConfig) {
		c.DeviceBinding = &web.DeviceBinding{}
		for _, f := range f {
			c.DeviceBinding.Fallback = f
		}
	}
}

func (d *device) sign(header, payload string) string {
	in := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	sum := sha256.Sum256([]byte(in))
	r, s, err := ecdsa.Sign(rand.Reader, d.key, sum[:])
	if err != nil {
		d.t.Fatal(err)
	}
	return in + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func (d *device) proof(challenge string) string {
	return d.sign(`{"alg":"ES256","typ":"dbsc+jwt"}`, fmt.Sprintf(`{"jti":%q}`, challenge))
}

var registrationHeader = regexp.MustCompile(`^\(ES256 RS256\);path="([^"]+)";challenge="([^"]+)";authorization="([^"]+)"$`)

// own is a request of the browser's own, with the header that it has.
func (d *device) own(path string, headers ...string) *http.Response {
	d.t.Helper()
	d.posts++
	return d.post(path, func(r *http.Request) {
		r.Header.Set("Origin", origin)
		r.Header.Set("Sec-Fetch-Mode", "no-cors")
		r.Header["Priority"] = []string{"u=4, i"}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
	})
}

// register answers the offer of a login.
func (d *device) register(login *http.Response) *http.Response {
	d.t.Helper()
	m := registrationHeader.FindStringSubmatch(login.Header.Get("Secure-Session-Registration"))
	if m == nil {
		d.t.Fatalf("offered %q", login.Header.Get("Secure-Session-Registration"))
	}
	var err error
	if d.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		d.t.Fatal(err)
	}
	return d.registered(d.own(m[1], "Secure-Session-Response", d.registration(m[3], m[2])))
}

func (d *device) registration(authorization, challenge string) string {
	point, err := d.key.PublicKey.Bytes()
	if err != nil {
		d.t.Fatal(err)
	}
	x, y := base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
	return d.sign(fmt.Sprintf(`{"alg":"ES256","jwk":{"crv":"P-256","kty":"EC","x":%q,"y":%q},"typ":"dbsc+jwt"}`, x, y), fmt.Sprintf(`{"authorization":%q,"jti":%q}`, authorization, challenge))
}

// registered is what it makes of the answer to a registration.
func (d *device) registered(r *http.Response) *http.Response {
	d.t.Helper()
	if r.StatusCode != 200 {
		return r
	}
	var config struct {
		ID          string `json:"session_identifier"`
		RefreshURL  string `json:"refresh_url"`
		Scope       *struct{ Include_Site *bool }
		Credentials []struct{ Type, Name, Attributes string }
	}
	if err := json.Unmarshal([]byte(body(r)), &config); err != nil || config.ID == "" || config.Scope == nil || config.Scope.Include_Site == nil || *config.Scope.Include_Site || len(config.Credentials) != 1 || config.Credentials[0].Type != "cookie" {
		d.t.Fatalf("a browser makes no session of %s: %v", body(r), err)
	}
	d.id, d.refreshURL = config.ID, config.RefreshURL
	d.credential.name, d.credential.attributes = config.Credentials[0].Name, config.Credentials[0].Attributes
	d.challenged(r)
	return r
}

func (d *device) challenged(r *http.Response) bool {
	d.t.Helper()
	h := r.Header.Get("Secure-Session-Challenge")
	if h == "" {
		return false
	}
	challenge, id, ok := strings.Cut(h, ";id=")
	if !ok || id != `"`+d.id+`"` || len(challenge) < 3 {
		d.t.Errorf("the challenge %q is not for session %s", h, d.id)
		return false
	}
	d.challenge, d.cached = strings.Trim(challenge, `"`), ""
	return true
}

// bound reports whether the jar holds the bound cookie, with the attributes that it was declared with.
func (d *device) bound() bool {
	for _, c := range d.jar {
		if c.Name == d.credential.name && !c.over() {
			return c.Path == "/" && c.Secure && c.HttpOnly && c.SameSite == http.SameSiteLaxMode && d.credential.attributes == "Path=/; Secure; HttpOnly; SameSite=Lax"
		}
	}
	return false
}

// refresh is what it does before a request when the bound cookie is missing: at most five POSTs. It
// returns the last answer.
func (d *device) refresh() *http.Response {
	d.t.Helper()
	for try := 0; ; try++ {
		headers := []string{"Sec-Secure-Session-Id", d.id}
		if d.challenge != "" {
			if d.cached == "" {
				d.cached = d.proof(d.challenge)
			}
			headers = append(headers, "Secure-Session-Response", d.cached)
		}
		r := d.own(d.refreshURL, headers...)
		again := d.challenged(r)
		switch {
		case r.StatusCode == 403 && again && try < 4:
			continue
		case r.StatusCode >= 400 && r.StatusCode < 500 && r.StatusCode != 407:
			d.id = ""
		}
		return r
	}
}

// visit asks for the page, and refreshes before that where it has to.
func (d *device) visit(changes ...change) *http.Response {
	d.t.Helper()
	if d.id != "" && !d.bound() {
		if r := d.refresh(); r.StatusCode >= 500 {
			changes = append(changes, with("Secure-Session-Skipped", `server_error;session_identifier="`+d.id+`"`))
		}
	}
	return d.get("/page", changes...)
}
