package token

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A guard decides where one fetch may go. What a key server answers, a redirect or
// a jwks_uri, must not make us call what only we can reach: an address that is not
// public is connected to only if the host that the configuration names is on one
// itself (RFC 8725 section 3.10). It is judged when the connection is made, so that
// a name cannot resolve to one address when it is checked and to another when it
// is used.
type guard struct {
	home    string // host:port that the configuration names
	custom  bool   // the caller's transport, whose connections are not ours to judge
	seams   seams
	timeout time.Duration

	mu      sync.Mutex
	inside  bool            // home is on an address that is not public
	proxies map[string]bool // host:port
}

// seams are what tests replace.
type seams struct {
	public func(netip.AddrPort) bool
	proxy  func(*http.Request) (*url.URL, error)
}

var theWorld = seams{public: isPublic, proxy: http.ProxyFromEnvironment}

var (
	errPrivateAddress = errors.New("not a public address, and the configured host is on one")
	errOffHTTPS       = errors.New("redirect off https")
	errOtherOrigin    = errors.New("redirect to another origin, whose address cannot be checked")
	errRedirects      = errors.New("too many redirects")
)

// maxRedirects bounds what one fetch follows.
const maxRedirects = 3

// transport returns one that keeps no connection: between two fetches lie minutes,
// and nothing is left behind when a set is forgotten. Compressed bodies are
// unpacked as they are read, and what is read is bounded.
func (g *guard) transport() *http.Transport {
	return &http.Transport{
		Proxy:                  g.proxy,
		DialContext:            g.dial,
		ForceAttemptHTTP2:      true,
		DisableKeepAlives:      true,
		TLSHandshakeTimeout:    g.timeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func (g *guard) proxy(r *http.Request) (*url.URL, error) {
	u, err := g.seams.proxy(r)
	if u != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.proxies == nil {
			g.proxies = make(map[string]bool)
		}
		g.proxies[hostPort(u)] = true
	}
	return u, err
}

func (g *guard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	g.mu.Lock()
	home, trusted := addr == g.home, addr == g.home || g.proxies[addr] || g.inside
	g.mu.Unlock()
	d := net.Dialer{Timeout: g.timeout}
	if !trusted {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			if ap, err := netip.ParseAddrPort(address); err != nil || !g.seams.public(ap) {
				return errPrivateAddress
			}
			return nil
		}
	}
	conn, err := d.DialContext(ctx, network, addr)
	if err == nil && home {
		ap, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		g.mu.Lock()
		g.inside = err == nil && !g.seams.public(ap)
		g.mu.Unlock()
	}
	return conn, err
}

// blind reports whether the address that r leads to is out of our sight.
func (g *guard) blind(r *http.Request) bool {
	if g.custom {
		return true
	}
	u, err := g.seams.proxy(r)
	return u != nil || err != nil
}

// redirect is a CheckRedirect: https only, and to another origin only where dial
// sees the address. Where we come from is nobody's business: its query may hold a key.
func (g *guard) redirect(r *http.Request, via []*http.Request) error {
	r.Header.Del("Referer")
	last := via[len(via)-1].URL
	switch {
	case len(via) > maxRedirects:
		return errRedirects
	case r.URL.User != nil:
		return errors.New("redirect with credentials")
	case r.URL.Scheme != "https" && (r.URL.Scheme != "http" || last.Scheme != "http"):
		return errOffHTTPS
	case (r.URL.Scheme != last.Scheme || r.URL.Host != last.Host) && g.blind(r):
		return errOtherOrigin
	}
	return nil
}

// names reports whether the configured host may name u, as a jwks_uri. Where dial
// does not see the address, what can be read from the name is judged.
func (g *guard) names(u *url.URL) error {
	if hostPort(u) == g.home || !g.blind(&http.Request{URL: u}) {
		return nil
	}
	host := u.Hostname()
	if !isASCII(host) {
		return errors.New("the host is not written in ASCII, and its address cannot be checked")
	}
	host = strings.ToLower(strings.TrimRight(host, "."))
	switch addr, err := netip.ParseAddr(host); {
	case err == nil && g.seams.public(netip.AddrPortFrom(addr, 443)):
		return nil
	case err == nil, isNumber(host[strings.LastIndexByte(host, '.')+1:]), isLocal(host):
		return errPrivateAddress
	}
	if home, _, err := net.SplitHostPort(g.home); err == nil && isInside(host) && !isInside(strings.ToLower(strings.TrimRight(home, "."))) {
		return errPrivateAddress
	}
	return nil
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// isNumber reports whether a host that ends in this label is an IPv4 address to many
// resolvers, as 127.1, 0x7f000001 and 2130706433 are (WHATWG URL section 3.5).
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// isLocal reports whether a host is this machine by its name (RFC 6761 section 6.3, and
// what /etc/hosts has for it).
func isLocal(host string) bool {
	switch host {
	case "ip6-localhost", "ip6-loopback", "localhost6", "localhost4", "broadcasthost":
		return true
	}
	for _, local := range []string{"localhost", "localdomain", "localdomain4", "localdomain6"} {
		if host == local || strings.HasSuffix(host, "."+local) {
			return true
		}
	}
	return false
}

// isInside reports whether a host's name has a meaning within a network alone: one
// label, and the names that are set aside for that (RFC 6762, RFC 8375, and internal).
func isInside(host string) bool {
	if !strings.Contains(host, ".") && !strings.Contains(host, ":") {
		return true
	}
	for _, inside := range []string{".local", ".internal", ".intranet", ".lan", ".corp", ".home", ".home.arpa", ".test"} {
		if strings.HasSuffix(host, inside) {
			return true
		}
	}
	return false
}

// checkURL returns rawURL as one that keys may be fetched from. what names it in
// errors, which hold nothing of it.
func checkURL(what, rawURL string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: malformed URL", what) // err quotes it
	case u.User != nil:
		return nil, fmt.Errorf("%s: credentials in the URL", what)
	case u.Scheme == "http" && !allowHTTP:
		return nil, fmt.Errorf("%s: http lets anybody on the path choose the keys (set InsecureAllowHTTP for a server on the same machine)", what)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%s: scheme %q is not https", what, u.Scheme)
	case u.Hostname() == "" || u.Fragment != "":
		return nil, fmt.Errorf("%s: the URL has no host, or a fragment", what)
	}
	return u, nil
}

// hostPort returns what net/http dials for u.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// isPublic reports whether ap is on the Internet: none of the special-purpose
// addresses of RFC 6890, which lead to this machine, its network or its host.
func isPublic(ap netip.AddrPort) bool {
	addr := ap.Addr().Unmap().WithZone("") // no prefix contains an address with a zone
	if addr.Is6() {
		if v4, ok := embedded(addr); ok {
			addr = v4
		}
	}
	if addr.Is6() && !allocated.Contains(addr) {
		return false
	}
	if !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

// embedded returns the IPv4 address that a translator takes addr for: NAT64 (RFC
// 6052) and 6to4 (RFC 3056).
func embedded(addr netip.Addr) (netip.Addr, bool) {
	b := addr.As16()
	switch {
	case nat64.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}

var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
	allocated = netip.MustParsePrefix("2000::/3") // what IANA has made global unicast (RFC 4291 section 2.4)
	notPublic = prefixes(
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "3fff::/20",
	)
)

func prefixes(all ...string) []netip.Prefix {
	p := make([]netip.Prefix, len(all))
	for i, s := range all {
		p[i] = netip.MustParsePrefix(s)
	}
	return p
}
