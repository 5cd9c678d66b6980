package proxies_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/gate"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// A proxied is a backend behind a real proxy that asks a checking side, configured as
// docs/forward-auth.md says.
type proxied struct {
	client  *http.Client
	auth    *tokentest.Auth
	unsure  *tokentest.Auth // whose denylist is stale
	dpop    *tokentest.Client
	check   *httptest.Server
	mu      sync.Mutex
	backend []http.Header // of the requests that came through
}

// snippets returns the code blocks of that language in docs/forward-auth.md.
func snippets(t *testing.T, language string) []string {
	t.Helper()
	doc, err := os.ReadFile("../../../docs/forward-auth.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(doc), -1) {
		all = append(all, m[1])
	}
	return all
}

// replaced replaces in a snippet what must be otherwise here, each of which must be there.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the snippet lacks %s:\n%s", pairs[i], text)
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// newProxied starts all of it. start returns the command of a proxy that listens at a socket.
func newProxied(t *testing.T, method, uri string, start func(t *testing.T, dir, socket, check, backend string) *exec.Cmd) *proxied {
	t.Helper()
	p := &proxied{dpop: tokentest.NewClient(t)}
	dpop, err := token.NewDPoP(token.DPoPConfig{BaseURL: "https://api.example.com", RequireNonce: true})
	if err != nil {
		t.Fatal(err)
	}
	p.auth = tokentest.New(t, func(c *token.VerifierConfig) { c.DPoP = dpop })
	stale, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p.unsure = tokentest.New(t, func(c *token.VerifierConfig) { c.DPoP, c.Revocations = dpop, stale })
	accept := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		w.Header().Set("X-Auth-Subject", claims.Subject())
	})
	mux := http.NewServeMux()
	mux.Handle("/", p.auth.Verifier.Middleware(accept))
	mux.Handle("/admin", p.auth.Verifier.Middleware(accept, token.RequireScope("admin")))
	mux.Handle("/stale", p.unsure.Verifier.Middleware(accept))
	mux.HandleFunc("/anonymous", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Auth-Subject", "") // for caddy, see the documentation
	})
	forward, err := token.NewForwardAuth(token.ForwardAuthConfig{
		MethodHeader: method, URIHeader: uri, FromProxy: token.FromAddresses(netip.MustParsePrefix("127.0.0.0/8")),
	}, mux)
	if err != nil {
		t.Fatal(err)
	}
	p.check = httptest.NewServer(forward)
	t.Cleanup(p.check.Close)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.backend = append(p.backend, r.Header)
		p.mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/broken" {
			w.WriteHeader(500)
		}
		fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, body)
	}))
	t.Cleanup(backend.Close)

	dir, err := os.MkdirTemp("", "forward") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	cmd := start(t, dir, socket, p.check.Listener.Addr().String(), backend.Listener.Addr().String())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the proxy says:\n%s", &out)
		}
	})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	p.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { // asks again until there is an answer
		r, err := p.client.Get("http://api.example.com/anonymous")
		if err == nil {
			r.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the proxy does not answer: %v", err)
		}
	}
	return p
}

func (p *proxied) through() []http.Header {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.backend = nil }()
	return p.backend
}

// send sends a request with those headers, which are names and values in turn.
func (p *proxied) send(t *testing.T, method, target, body string, headers ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://api.example.com"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	w, err := p.client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	answer, err := io.ReadAll(w.Body)
	w.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	w.Body = io.NopCloser(bytes.NewReader(answer))
	return w
}

// attacks are headers by which a client could say that he asks for something else, or is
// somebody else.
func attacks(method, uri string) []string {
	var all []string
	for _, name := range []string{"X-Original-Method", "X-Forwarded-Method", "X_Original_Method", "X-Http-Method-Override"} {
		all = append(all, name, method)
	}
	for _, name := range []string{"X-Original-Uri", "X-Original-Url", "X-Forwarded-Uri", "X_Original_Uri", "X-Rewrite-Url"} {
		all = append(all, name, uri)
	}
	return append(all, "X-Forwarded-For", "127.0.0.1", "X-Forwarded-Host", "api.example.com", "X-Auth-Subject", "admin", "X_Auth_Subject", "admin")
}

func (p *proxied) attack(t *testing.T, downStatus int, retryAfter string) {
	user := p.auth.Token(tokentest.Subject("user-1"))
	bound := p.auth.Token(tokentest.Subject("user-1"), p.dpop.Bind)
	challenges := func(w *http.Response) string { return strings.Join(w.Header.Values("WWW-Authenticate"), ", ") }
	p.through()

	nonce := ""
	prove := func(method, url string) []string {
		return []string{"Authorization", "DPoP " + bound, "Dpop", p.dpop.Proof(method, url, bound)}
	}
	w := p.send(t, "POST", "/orders", "x", prove("POST", "https://api.example.com/orders")...)
	nonce = w.Header.Get("DPoP-Nonce")
	if w.StatusCode != 401 || nonce == "" || !strings.Contains(challenges(w), "use_dpop_nonce") {
		t.Errorf("DPoP without a nonce: %d, nonce %q, challenges %q", w.StatusCode, nonce, challenges(w))
	}
	p.dpop.Nonce = nonce

	for _, x := range []struct {
		name           string
		method, target string
		headers        []string
		want           int
		says           string // in the challenges
	}{
		{"no token", "GET", "/orders", nil, 401, `DPoP realm=`},
		{"a token", "GET", "/orders?page=2", []string{"Authorization", "Bearer " + user}, 200, ""},
		{"a token, with a body", "POST", "/orders", []string{"Authorization", "Bearer " + user}, 200, ""},
		{"an expired token", "GET", "/orders", []string{"Authorization", "Bearer " + p.auth.Expired()}, 401, `error="invalid_token"`},
		{"a revoked token", "GET", "/orders", []string{"Authorization", "Bearer " + p.auth.Revoked()}, 401, `error="invalid_token"`},
		{"two tokens", "GET", "/orders", []string{"Authorization", "Bearer " + user, "Authorization", "Bearer " + user}, 400, ""},
		{"a token in the query", "GET", "/orders?access_token=" + user, nil, 400, ""},
		{"a scope that it lacks", "GET", "/admin", []string{"Authorization", "Bearer " + user}, 403, `scope="admin"`},
		{"a scope that it has", "GET", "/admin", []string{"Authorization", "Bearer " + p.auth.Token(tokentest.Scope("admin"))}, 200, ""},
		{"a scope that it lacks, and says it goes elsewhere", "GET", "/admin", append([]string{"Authorization", "Bearer " + user}, attacks("GET", "/orders")...), 403, ""},
		{"nobody knows", "GET", "/stale", []string{"Authorization", "Bearer " + p.unsure.Token()}, 503, ""},
		{"the backend's own 500", "GET", "/broken", []string{"Authorization", "Bearer " + user}, 500, ""},

		{"DPoP", "POST", "/orders/7?x=1", prove("POST", "https://api.example.com/orders/7"), 200, ""},
		{"DPoP, an escaped path", "PUT", "/orders/a%2Fb", prove("PUT", "https://api.example.com/orders/a%2Fb"), 200, ""},
		{"DPoP for another method", "POST", "/orders/7", prove("GET", "https://api.example.com/orders/7"), 401, "invalid_dpop_proof"},
		{"DPoP for another path", "POST", "/orders/7", prove("POST", "https://api.example.com/orders/8"), 401, "invalid_dpop_proof"},
		{"DPoP for the question", "POST", "/orders/7", prove("GET", "https://api.example.com/_auth"), 401, "invalid_dpop_proof"},
		{"DPoP for another method, and says so", "POST", "/orders/7", append(prove("GET", "https://api.example.com/orders/7"), attacks("GET", "/orders/7")...), 401, "invalid_dpop_proof"},
		{"DPoP for another path, and says so", "POST", "/orders/7", append(prove("POST", "https://api.example.com/orders/8"), attacks("POST", "/orders/8")...), 401, "invalid_dpop_proof"},
		{"DPoP, and says that it goes elsewhere", "POST", "/orders/9", append(prove("POST", "https://api.example.com/orders/9"), attacks("GET", "/else")...), 200, ""},
		{"nobody, and says who", "GET", "/anonymous", attacks("GET", "/"), 200, ""},
	} {
		w := p.send(t, x.method, x.target, "a body", x.headers...)
		through := p.through()
		body, _ := io.ReadAll(w.Body)
		if w.StatusCode != x.want || !strings.Contains(challenges(w), x.says) {
			t.Errorf("%s: %d, challenges %q; want %d, %q", x.name, w.StatusCode, challenges(w), x.want, x.says)
		}
		if got := w.Header.Get("Retry-After"); (got != "") != (x.want == 503) {
			t.Errorf("%s: Retry-After %q", x.name, got)
		}
		if passes := x.want == 200 || x.target == "/broken"; (len(through) == 1) != passes {
			t.Errorf("%s: %d requests came through", x.name, len(through))
		} else if passes && string(body) != x.method+" "+x.target+" a body" {
			t.Errorf("%s: the backend got %q", x.name, body)
		}
		want := "user-1"
		switch x.target {
		case "/admin":
			want = through0(through, "X-Auth-Subject")
		case "/anonymous":
			want = ""
		}
		for _, h := range through {
			if got := strings.Join(h.Values("X-Auth-Subject"), ", "); got != want || got == "admin" {
				t.Errorf("%s: the backend is told of %q, want %q", x.name, got, want)
			}
		}
	}

	p.check.Close()
	w = p.send(t, "GET", "/orders", "", "Authorization", "Bearer "+user)
	if w.StatusCode != downStatus || w.Header.Get("Retry-After") != retryAfter || len(p.through()) != 0 {
		t.Errorf("the checking side is down: %d, Retry-After %q", w.StatusCode, w.Header.Get("Retry-After"))
	}
}

func through0(all []http.Header, name string) string {
	if len(all) == 0 {
		return ""
	}
	return all[0].Get(name)
}

// Behind the real nginx and the real caddy, configured as the documentation says, the
// client's own method and URL are judged whatever he claims, and he is told what he must know.
//
//blocks:run docs/forward-auth.md nginx caddyfile
func TestForwardAuth(t *testing.T) {
	program := func(t *testing.T, name string) string {
		for _, at := range []string{name, "/usr/sbin/" + name} {
			if path, err := exec.LookPath(at); err == nil {
				return path
			}
		}
		gate.Skip(t, "there is no "+name+" (apt-get install "+name+")")
		return ""
	}
	t.Run("nginx", func(t *testing.T) {
		nginx := program(t, "nginx")
		parts := snippets(t, "nginx")
		if len(parts) != 2 {
			t.Fatalf("%d snippets", len(parts))
		}
		p := newProxied(t, "X-Original-Method", "X-Original-Uri", func(t *testing.T, dir, socket, check, backend string) *exec.Cmd {
			server := replaced(t, parts[1], "127.0.0.1:8080", backend, "10.0.7.20:9000", check)
			conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr; events {}
http {
	access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	%[2]s
	server { listen unix:%[3]s; %[4]s }
}`, dir, parts[0], socket, server)
			path := filepath.Join(dir, "nginx.conf")
			if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
				t.Fatal(err)
			}
			return exec.Command(nginx, "-p", dir, "-c", path)
		})
		// The question's own address is not there from outside.
		if w := p.send(t, "GET", "/_auth", "", "Authorization", "Bearer "+p.auth.Token()); w.StatusCode != 404 {
			t.Errorf("/_auth: %d", w.StatusCode)
		}
		p.attack(t, 503, "2")
	})
	t.Run("caddy", func(t *testing.T) {
		caddy := program(t, "caddy")
		parts := snippets(t, "caddyfile")
		if len(parts) != 1 {
			t.Fatalf("%d snippets", len(parts))
		}
		p := newProxied(t, "X-Forwarded-Method", "X-Forwarded-Uri", func(t *testing.T, dir, socket, check, backend string) *exec.Cmd {
			site := replaced(t, parts[0], "127.0.0.1:8080", backend, "10.0.7.20:9000", check)
			conf := fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n}\nhttp:// {\n\tbind unix/%s\n%s}\n", socket, site)
			path := filepath.Join(dir, "Caddyfile")
			if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(caddy, "run", "--adapter", "caddyfile", "--config", path)
			cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
			return cmd
		})
		p.attack(t, 502, "")
	})
}
