package token_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// A site is a key server on a socket, and how often somebody connected to it.
type site struct {
	*httptest.Server
	port  uint16
	conns atomic.Int64
}

func newSite(t *testing.T, h http.Handler) *site {
	t.Helper()
	s := &site{Server: httptest.NewUnstartedServer(h)}
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	s.port = netip.MustParseAddrPort(s.Listener.Addr().String()).Port()
	return s
}

// named is the site's URL by a name that resolves to its address.
func (s *site) named() string { return "http://localhost:" + strconv.Itoa(int(s.port)) }

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

// CVE-2026-32301, CVE-2026-41413, CVE-2026-49478: neither a redirect nor a
// jwks_uri of a public host makes us connect to an address that is not public.
// Here "public" is what the test says, of servers that are all on this machine.
func TestRemoteKeysConnectsToNoPrivateAddress(t *testing.T) {
	inner := newSite(t, forge.KeysAt(t, "k"))
	other := newSite(t, forge.KeysAt(t, "k"))
	var target atomic.Value
	outer := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target.Load().(string), http.StatusFound)
	}))
	metadata := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forge.JSON(forge.Object{"issuer", strconv.Quote("http://" + r.Host), "jwks_uri", strconv.Quote(target.Load().(string))}.String()).ServeHTTP(w, r)
	}))
	cfg := token.RemoteKeySetConfig{InsecureAllowHTTP: true}
	for _, x := range []struct {
		name    string
		to      string
		public  []*site // all others are private
		refused bool
	}{
		{"public to private", inner.URL, []*site{outer, metadata}, true},
		{"public to private by a name", inner.named(), []*site{outer, metadata}, true},
		{"public to public", other.URL, []*site{outer, metadata, other}, false},
		{"public to public by a name", other.named(), []*site{outer, metadata, other}, false},
		{"private to private", inner.URL, nil, false},
		{"private to public", other.URL, []*site{other}, false},
	} {
		target.Store(x.to)
		public := func(ap netip.AddrPort) bool {
			for _, s := range x.public {
				if s.port == ap.Port() {
					return true
				}
			}
			return false
		}
		before := inner.conns.Load()
		for what, open := range map[string]func() (*token.RemoteKeySet, error){
			"redirect": func() (*token.RemoteKeySet, error) {
				return token.RemoteKeysSeen(t.Context(), outer.URL, cfg, public, noProxy)
			},
			"jwks_uri": func() (*token.RemoteKeySet, error) {
				return token.DiscoverSeen(t.Context(), metadata.URL, cfg, public, noProxy)
			},
		} {
			keys, err := open()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { keys.Close() })
			_, err = keys.Lookup(t.Context(), "k", token.EdDSA)
			if errors.Is(err, token.ErrKeysUnavailable) != x.refused || !x.refused && err != nil {
				t.Errorf("%s, %s: error %v", x.name, what, err)
			}
			if err != nil && !strings.Contains(err.Error(), "not a public address") {
				t.Errorf("%s, %s: error %v does not say why", x.name, what, err)
			}
			if x.refused {
				continue
			}
			// A later fetch, which does not ask for the metadata again, goes there too.
			if _, err = keys.Lookup(t.Context(), "unknown", token.EdDSA); !errors.Is(err, token.ErrUnknownKey) {
				t.Errorf("%s, %s: a second fetch: error %v", x.name, what, err)
			}
		}
		if n := inner.conns.Load() - before; x.refused && n != 0 {
			t.Errorf("%s: connected %d times all the same", x.name, n)
		}
	}
}

// An operator's key server on a private address works without a switch.
func TestRemoteKeysOnAPrivateAddress(t *testing.T) {
	s := newSite(t, forge.KeysAt(t, "k"))
	for _, u := range []string{s.URL, s.named()} {
		keys, err := token.NewRemoteKeySet(t.Context(), u, token.RemoteKeySetConfig{InsecureAllowHTTP: true})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		if _, err := keys.Lookup(t.Context(), "k", token.EdDSA); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// A proxy may be on a private address. Behind it no address is seen, so that a
// redirect stays within its origin.
func TestRemoteKeysBehindAProxy(t *testing.T) {
	const home = "http://keys.example.com/jwks.json"
	var to atomic.Value
	inner := newSite(t, forge.KeysAt(t, "k"))
	proxy := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/jwks.json" && to.Load() != "" {
			http.Redirect(w, r, to.Load().(string), http.StatusFound)
			return
		}
		forge.KeysAt(t, "k").ServeHTTP(w, r)
	}))
	proxyURL, _ := url.Parse(proxy.URL)
	through := func(*http.Request) (*url.URL, error) { return proxyURL, nil }
	never := func(netip.AddrPort) bool { return false }
	for target, want := range map[string]error{
		"":                                   nil,
		"http://keys.example.com/moved":      nil,
		"https://keys.example.com/jwks.json": token.ErrKeysUnavailable,
		inner.URL:                            token.ErrKeysUnavailable,
		"http://other.example.com":           token.ErrKeysUnavailable,
	} {
		to.Store(target)
		keys, err := token.RemoteKeysSeen(t.Context(), home, token.RemoteKeySetConfig{InsecureAllowHTTP: true}, never, through)
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		if _, err := keys.Lookup(t.Context(), "k", token.EdDSA); !errors.Is(err, want) {
			t.Errorf("redirect to %q: error %v", target, err)
		}
	}
	if n := inner.conns.Load(); n != 0 {
		t.Errorf("%d connections past the proxy", n)
	}
}

func TestIsPublic(t *testing.T) {
	for addr, want := range map[string]bool{
		"93.184.216.34": true, "8.8.8.8": true, "172.32.0.1": true, "100.128.0.1": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"64:ff9b::808:808": true, "2002:808:808::1": true, // translated: 8.8.8.8
		"127.0.0.1": false, "127.255.255.254": false, "0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false,
		"169.254.169.254": false, "100.64.0.1": false, "192.0.0.192": false, "192.0.2.1": false, "198.18.0.1": false, "198.51.100.1": false, "203.0.113.1": false,
		"224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::7f00:1": false, "::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false, "fd00:ec2::254": false, "fc00::1": false,
		"fec0::1": false, "ff02::1": false, "2001:db8::1": false, "2001::1": false, "100::1": false,
		"64:ff9b::a9fe:a9fe": false, "64:ff9b::7f00:1": false, "64:ff9b:1::1": false, "2002:7f00:1::1": false, "2002:a00:1::1": false,
		// A zone, which a URL can write as %25x, changes nothing: the kernel ignores it but for link-local addresses.
		"2606:4700::1111%lo": true, "64:ff9b::808:808%lo": true,
		"64:ff9b::a9fe:a9fe%lo": false, "2002:7f00:1::1%lo": false, "::7f00:1%lo": false, "::1%lo": false, "fec0::1%lo": false, "2001:db8::1%lo": false, "::ffff:127.0.0.1%lo": false,
		// Outside of 2000::/3 nothing is allocated: here a translator's ::ffff:0:a.b.c.d (RFC 2765).
		"3ffe::1": true, "::ffff:0:127.0.0.1": false, "::ffff:0:169.254.169.254": false, "4000::1": false, "200::1": false,
	} {
		if got := token.IsPublic(addr); got != want {
			t.Errorf("%s: public %v, want %v", addr, got, want)
		}
	}
}
