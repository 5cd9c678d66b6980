package token_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// What the proxy tells is what is judged; what it does not tell, or a stranger tells, never.
func TestForwardAuth(t *testing.T) {
	a := forge.Ed(t, "a", forge.Keys().Ed)
	p := edProver(t)
	cert := newCertificate(t).Leaf
	v := verifierOf(t, forge.Issuer, a, func(c *token.VerifierConfig) { c.DPoP = newDPoP(t, nil) })
	var seen *http.Request
	var logged bytes.Buffer
	mux := http.NewServeMux()
	accept := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		c, _ := token.FromContext(r.Context())
		w.Header().Set("X-Auth-Subject", c.Subject())
		io.WriteString(w, "ok")
	})
	mux.Handle("GET /orders", v.Middleware(accept))
	mux.Handle("POST /orders", v.Middleware(accept, token.RequireScope("orders:admin")))
	h, err := token.NewForwardAuth(token.ForwardAuthConfig{
		MethodHeader: "x-original-method", URIHeader: "X-Original-URI", HostHeader: "X-Original-Host",
		FromProxy: token.FromAddresses(netip.MustParsePrefix("10.0.7.0/28"), netip.MustParsePrefix("fd00::/64")),
		Logger:    slog.New(slog.NewTextHandler(&logged, nil)),
	}, mux)
	if err != nil {
		t.Fatal(err)
	}
	claims := forge.Claims(time.Now())
	plain, bound := a.Forge(a.Header(), claims), a.Forge(a.Header(), claims.With("cnf", `{"jkt":"`+p.jkt+`"}`))
	certified := a.Forge(a.Header(), claims.With("cnf", `{"x5t#S256":`+strconv.Quote(token.CertificateThumbprint(cert))+`}`))
	type header = http.Header
	told := func(method, uri string, more ...string) header {
		h := header{"X-Original-Method": {method}, "X-Original-Uri": {uri}, "X-Original-Host": {"api.example.com"}}
		for i := 0; i < len(more); i += 2 {
			h.Add(more[i], more[i+1])
		}
		return h
	}
	bearer := []string{"Authorization", "Bearer " + plain}
	dpop := func(method, url string) []string {
		c := p.claims(bound).With("htm", strconv.Quote(method)).With("htu", strconv.Quote(url))
		return []string{"Authorization", "DPoP " + bound, "DPoP", p.forge(p.header(), c)}
	}
	without := func(h header, name string) header { h.Del(name); return h }
	with := func(h header, name string, values ...string) header { h[name] = values; return h }
	for _, x := range []struct {
		name   string
		from   string // the proxy if empty
		header header
		want   int
	}{
		{"a token", "", told("GET", "/orders?page=2", bearer...), 200},
		{"over IPv6", "[fd00::7]:1", told("GET", "/orders", bearer...), 200},
		{"IPv4 in IPv6", "[::ffff:10.0.7.3]:1", told("GET", "/orders", bearer...), 200},
		{"the route of another method", "", told("POST", "/orders", bearer...), 403},
		{"no token", "", told("GET", "/orders"), 401},
		{"a token in the query", "", told("GET", "/orders?access_token="+plain), 400},
		{"no such route", "", told("GET", "/admin", bearer...), 404},

		{"DPoP", "", told("GET", "/orders", dpop("GET", "https://api.example.com/orders")...), 200},
		{"DPoP, a query", "", told("GET", "/orders?x=1", dpop("GET", "https://api.example.com/orders")...), 200},
		{"DPoP, another method", "", told("GET", "/orders", dpop("POST", "https://api.example.com/orders")...), 401},
		{"DPoP, another path", "", told("GET", "/orders", dpop("GET", "https://api.example.com/")...), 401},
		{"DPoP, the proxy's own question", "", told("GET", "/orders", dpop("GET", "https://api.example.com/auth")...), 401},
		{"DPoP, another host", "", with(told("GET", "/orders", dpop("GET", "https://evil.example.com/orders")...), "X-Original-Host", "evil.example.com"), 401},
		{"the proxy's certificate is not the client's", "", told("GET", "/orders", "Authorization", "Bearer "+certified), 401},

		{"not the proxy", "10.0.7.16:1", told("GET", "/orders", bearer...), 403},
		{"not the proxy, who says that he is", "192.0.2.1:1", told("GET", "/orders", append(bearer, "X-Forwarded-For", "10.0.7.1", "X-Real-Ip", "10.0.7.1", "Forwarded", "for=10.0.7.1")...), 403},
		{"no address", "@", told("GET", "/orders", bearer...), 403},
		{"a name", "localhost:1", told("GET", "/orders", bearer...), 403},

		{"no method", "", without(told("GET", "/orders", bearer...), "X-Original-Method"), 500},
		{"no target", "", without(told("GET", "/orders", bearer...), "X-Original-Uri"), 500},
		{"no host", "", without(told("GET", "/orders", bearer...), "X-Original-Host"), 500},
		{"an empty method", "", told("", "/orders", bearer...), 500},
		{"two methods: the client's beside the proxy's", "", with(told("GET", "/orders", bearer...), "X-Original-Method", "GET", "POST"), 500},
		{"two targets", "", with(told("GET", "/orders", bearer...), "X-Original-Uri", "/orders", "/admin"), 500},
		{"no method's name", "", told("GET /", "/orders", bearer...), 500},
		{"a method with a line break", "", told("GET\r\nX: y", "/orders", bearer...), 500},
		{"a URL", "", told("GET", "https://api.example.com/orders", bearer...), 400},
		{"a star", "", told("OPTIONS", "*", bearer...), 400},
		{"no path", "", told("GET", "orders", bearer...), 400},
		{"a blank", "", told("GET", "/orders x", bearer...), 400},
		{"a fragment", "", told("GET", "/orders#x", bearer...), 400},
		{"a bad escape", "", told("GET", "/orders%zz", bearer...), 400},
		{"beyond ASCII", "", told("GET", "/örders", bearer...), 400},
	} {
		seen = nil
		r := httptest.NewRequest("GET", "https://auth.internal/auth", strings.NewReader("access_token=x"))
		r.RemoteAddr, r.Header, r.TLS = "10.0.7.1:4711", x.header, &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
		if x.from != "" {
			r.RemoteAddr = x.from
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != x.want || (seen != nil) != (x.want == 200) {
			t.Errorf("%s: %d %v, want %d", x.name, w.Code, w.Header(), x.want)
		}
		if (w.Header().Get("Cache-Control") == "no-store") != (w.Code == 400 || w.Code == 401 || w.Code == 403 || w.Code == 500) {
			t.Errorf("%s: %d with Cache-Control %q: an answer to one client is kept for another", x.name, w.Code, w.Header().Get("Cache-Control"))
		}
		if n := len(w.Header()["Www-Authenticate"]); n > 1 || (n == 1) != (x.want == 400 && x.name == "a token in the query" || x.want == 401 || x.want == 403 && x.from == "") {
			t.Errorf("%s: challenges %q", x.name, w.Header()["Www-Authenticate"])
		}
		if seen != nil && (seen.Method != x.header.Get("X-Original-Method") || seen.RequestURI != x.header.Get("X-Original-Uri") ||
			seen.URL.Path != "/orders" || seen.Host != "api.example.com" || seen.TLS != nil || seen.Header.Get("X-Original-Uri") != "" || w.Header().Get("X-Auth-Subject") == "") {
			t.Errorf("%s: next sees %+v", x.name, seen)
		}
		if seen != nil {
			if b, _ := io.ReadAll(seen.Body); len(b) > 0 {
				t.Errorf("%s: next sees a body %q", x.name, b)
			}
		}
	}
	if got := w401(t, h, told("GET", "/orders")); !strings.HasPrefix(got, `Bearer realm="orders", DPoP realm="orders", algs="`) || strings.Contains(got, "|") {
		t.Errorf("both challenges are %q", got)
	}
	for _, want := range []string{"does not set the header X-Original-Method", "is there twice", "FromProxy does not take", "is no path with a query"} {
		if strings.Count(logged.String(), want) == 0 {
			t.Errorf("the log does not say %q:\n%s", want, &logged)
		}
	}
	if leak := forge.Leaks(logged.String(), plain); leak != "" {
		t.Errorf("the log holds %q", leak)
	}
}

func w401(t *testing.T, h http.Handler, header http.Header) string {
	t.Helper()
	r := httptest.NewRequest("GET", "/auth", nil)
	r.RemoteAddr, r.Header = "10.0.7.1:4711", header
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 401 {
		t.Fatalf("%d", w.Code)
	}
	return strings.Join(w.Header()["Www-Authenticate"], " | ")
}

func TestNewForwardAuthRefuses(t *testing.T) {
	next := http.NotFoundHandler()
	good := token.ForwardAuthConfig{MethodHeader: "X-Original-Method", URIHeader: "X-Original-URI", FromProxy: token.FromAddresses()}
	for field, change := range map[string]func(*token.ForwardAuthConfig){
		"MethodHeader is empty":   func(c *token.ForwardAuthConfig) { c.MethodHeader = "" },
		"MethodHeader is \"X: \"": func(c *token.ForwardAuthConfig) { c.MethodHeader = "X: " },
		"URIHeader is empty":      func(c *token.ForwardAuthConfig) { c.URIHeader = "" },
		"URIHeader is that":       func(c *token.ForwardAuthConfig) { c.URIHeader = "x-original-METHOD" },
		"URIHeader is \"Auth":     func(c *token.ForwardAuthConfig) { c.URIHeader = "authorization" },
		"HostHeader is \"Host\"":  func(c *token.ForwardAuthConfig) { c.HostHeader = "host" },
		"HostHeader is that":      func(c *token.ForwardAuthConfig) { c.HostHeader = "X-Original-Uri" },
		"FromProxy is nil":        func(c *token.ForwardAuthConfig) { c.FromProxy = nil },
	} {
		cfg := good
		change(&cfg)
		if h, err := token.NewForwardAuth(cfg, next); h != nil || err == nil || !strings.HasPrefix(err.Error(), "token: ForwardAuthConfig."+field) {
			t.Errorf("%s: error %v", field, err)
		}
	}
	if h, err := token.NewForwardAuth(good, nil); h != nil || err == nil {
		t.Errorf("a nil handler: error %v", err)
	}
	h, err := token.NewForwardAuth(good, next)
	if err != nil {
		t.Fatalf("the good twin: %v", err)
	}
	// No network is nobody's.
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil)); w.Code != 403 {
		t.Errorf("FromAddresses of none: %d", w.Code)
	}
}

// The handler that a proxy asks gets any bytes in the headers that a proxy sets.
func FuzzForwardAuth(f *testing.F) {
	for _, x := range [][2]string{{"GET", "/"}, {"POST", "/a?b=c"}, {"", ""}, {"GET", "//a"}, {"GET", "/%2e%2e/x"}, {"GET", "http://x/"}, {"M\x00", "/\xff"}, {"#", "/"}, {"GET", "/#"}} { // "#" may stand in a method (RFC 9110 section 5.6.2)
		f.Add(x[0], x[1])
	}
	var seen *http.Request
	h, err := token.NewForwardAuth(token.ForwardAuthConfig{MethodHeader: "X-M", URIHeader: "X-U", FromProxy: func(*http.Request) bool { return true }},
		http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r }))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, uri string) {
		seen = nil
		r := httptest.NewRequest("GET", "/auth", nil)
		r.Header["X-M"], r.Header["X-U"] = []string{method}, []string{uri}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch {
		case seen == nil && w.Code != 500 && (w.Code != 400 || uri == ""), seen != nil && (seen.Method != method || seen.RequestURI != uri || seen.URL.Host != "" || seen.URL.Scheme != ""):
			t.Fatalf("%q %q: %d, %+v", method, uri, w.Code, seen)
		case seen != nil && (!strings.HasPrefix(seen.URL.Path, "/") || strings.ContainsAny(method, " \r\n") || strings.ContainsAny(uri, " \r\n#")):
			t.Fatalf("%q %q is let through", method, uri)
		}
	})
}
