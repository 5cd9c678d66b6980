package token_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

const (
	oidcPath  = "/.well-known/openid-configuration"
	oauthPath = "/.well-known/oauth-authorization-server"
)

// OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3: where metadata is, and
// that the issuer in it is the one asked for, byte for byte.
func TestDiscover(t *testing.T) {
	const issuer, keysAtURL = "https://sso.example.com", "https://keys.example.net/jwks"
	good := forge.Metadata(issuer, keysAtURL)
	page := func(o forge.Object) http.Handler { return forge.JSON(o.String()) }
	for _, x := range []struct {
		name, issuer, url string
		page              http.Handler
		want              string // in the error; empty is success
	}{
		{"OpenID", issuer, issuer + oidcPath, page(good), ""},
		{"OAuth", issuer, issuer + oauthPath, page(good), ""},
		{"OpenID with a path", issuer + "/realms/a", issuer + "/realms/a" + oidcPath, page(forge.Metadata(issuer+"/realms/a", keysAtURL)), ""},
		{"OAuth with a path", issuer + "/realms/a", issuer + oauthPath + "/realms/a", page(forge.Metadata(issuer+"/realms/a", keysAtURL)), ""},
		{"a slash at the end", issuer + "/", issuer + oidcPath, page(forge.Metadata(issuer+"/", keysAtURL)), ""},
		{"keys at the issuer's", issuer, issuer + oidcPath, page(forge.Metadata(issuer, issuer+"/keys")), ""},

		{"a slash too many", issuer, issuer + oidcPath, page(forge.Metadata(issuer+"/", keysAtURL)), `calls itself "https://sso.example.com/"`},
		{"a slash too few", issuer + "/", issuer + oidcPath, page(forge.Metadata(issuer, keysAtURL)), "calls itself"},
		{"another issuer", issuer, issuer + oidcPath, page(forge.Metadata("https://evil.example.com", keysAtURL)), "calls itself"},
		{"another case", issuer, issuer + oidcPath, page(forge.Metadata("https://SSO.example.com", keysAtURL)), "calls itself"},
		{"a template", issuer, issuer + oidcPath, page(forge.Metadata("https://sso.example.com/{tenantid}/v2.0", keysAtURL)), "calls itself"},
		{"no issuer", issuer, issuer + oidcPath, page(good.Without("issuer")), "no issuer"},
		{"issuer null", issuer, issuer + oidcPath, page(good.With("issuer", "null")), "no issuer"},
		{"issuer twice", issuer, issuer + oidcPath, page(good.Plus("issuer", strconv.Quote(issuer))), "JSON"},
		{"no jwks_uri", issuer, issuer + oidcPath, page(good.Without("jwks_uri")), "no jwks_uri"},
		{"jwks_uri no string", issuer, issuer + oidcPath, page(good.With("jwks_uri", `["https://a.example"]`)), "no jwks_uri"},
		{"jwks_uri http", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "http://keys.example.net/jwks")), "http"},
		{"jwks_uri file", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "file:///etc/passwd")), "not https"},
		{"jwks_uri relative", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "/jwks")), "not https"},
		{"jwks_uri with credentials", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://u:secret@keys.example.net/jwks")), "credentials"},
		{"jwks_uri on loopback", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://127.0.0.1/jwks")), "not a public address"},
		{"jwks_uri on loopback, IPv6", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://[::1]/jwks")), "not a public address"},
		{"jwks_uri on localhost", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://LOCALHOST/jwks")), "not a public address"},
		{"jwks_uri on localhost.", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://localhost./jwks")), "not a public address"},
		{"jwks_uri on x.localhost.", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://x.localhost./jwks")), "not a public address"},
		{"jwks_uri on localhost.localdomain", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://localhost.localdomain/jwks")), "not a public address"},
		{"jwks_uri on ip6-localhost", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://ip6-localhost/jwks")), "not a public address"},
		{"jwks_uri on 127.1", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://127.1/jwks")), "not a public address"},
		{"jwks_uri on 127.0.0.1.", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://127.0.0.1./jwks")), "not a public address"},
		{"jwks_uri on 2130706433", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://2130706433/jwks")), "not a public address"},
		{"jwks_uri on 0", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://0/jwks")), "not a public address"},
		{"jwks_uri on 0x7f.1", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://0x7f.1/jwks")), "not a public address"},
		{"jwks_uri on 0X7F000001", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://0X7F000001/jwks")), "not a public address"},
		{"jwks_uri on 0177.0.0.01", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://0177.0.0.01/jwks")), "not a public address"},
		{"jwks_uri on a.0x7f000001.", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://a.0x7f000001./jwks")), "not a public address"},
		{"jwks_uri on loopback, in IPv6", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://[::ffff:127.0.0.1]/jwks")), "not a public address"},
		{"jwks_uri on digits that are mapped to others", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://１２７.0.0.1/jwks")), "ASCII"},
		{"jwks_uri with a full stop that is mapped to another", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://localhost。/jwks")), "ASCII"},
		{"jwks_uri percent-encoded", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://%E2%93%9Bocalhost/jwks")), "ASCII"},
		{"jwks_uri of one label", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://redis/jwks")), "not a public address"},
		{"jwks_uri inside a cloud", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://metadata.google.internal/jwks")), "not a public address"},
		{"jwks_uri on a link", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://printer.local./jwks")), "not a public address"},
		{"inside, named from inside", "https://sso.corp.internal", "https://sso.corp.internal" + oidcPath, page(forge.Metadata("https://sso.corp.internal", "https://keys.corp.internal/jwks")), ""},
		{"a name with a dot at its end", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://keys.example.net./jwks")), ""},
		{"a public address", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://93.184.216.34/jwks")), ""},
		{"jwks_uri at the metadata service", issuer, issuer + oidcPath, page(forge.Metadata(issuer, "https://169.254.169.254/latest")), "not a public address"},
		{"jwks_uri too long", issuer, issuer + oidcPath, page(forge.Metadata(issuer, keysAtURL+"?"+strings.Repeat("a", 2048))), "too long"},
		{"not JSON", issuer, issuer + oidcPath, forge.JSON("<html>"), "JSON"},
		{"an array", issuer, issuer + oidcPath, forge.JSON("[" + good.String() + "]"), "JSON"},
		{"called text", issuer, issuer + oidcPath, forge.JSON(good.String(), "Content-Type", "text/plain"), ""},
		{"HTML", issuer, issuer + oidcPath, forge.JSON("<html>", "Content-Type", "text/html; charset=utf-8"), `Content-Type "text/html"`},
		{"too large", issuer, issuer + oidcPath, forge.JSON(good.String() + strings.Repeat(" ", 256<<10)), "more than"},
		{"500", issuer, issuer + oidcPath, status(500), "status 500"},
		{"304", issuer, issuer + oidcPath, status(304), "304"},
		{"elsewhere", issuer, issuer + oidcPath, http.RedirectHandler("https://evil.example.com/", http.StatusFound), "another origin"},
		{"nowhere", issuer, "https://x.example", status(500), "status 404"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := new(forge.Web)
			w.Set(x.url, x.page)
			for _, u := range []string{keysAtURL, issuer + "/keys", "http://keys.example.net/jwks", "https://127.0.0.1/jwks", "https://LOCALHOST/jwks", "https://keys.corp.internal/jwks", "https://93.184.216.34/jwks", "https://keys.example.net./jwks"} {
				w.Set(u, forge.KeysAt(t, "k"))
			}
			keys := forge.Discover(t, w, x.issuer)
			_, err := keys.Lookup(t.Context(), "k", token.EdDSA)
			switch {
			case x.want == "" && err != nil:
				t.Errorf("%s: %v", x.name, err)
			case x.want != "" && (!errors.Is(err, token.ErrKeysUnavailable) || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "secret")):
				t.Errorf("%s: error %v", x.name, err)
			}
			if st := keys.Status(); st.Usable != (x.want == "") || (st.URL == "") == st.Usable {
				t.Errorf("%s: status %+v", x.name, st)
			}
			keys.Close()
		})
	}
}

func TestDiscoverRefuses(t *testing.T) {
	for _, issuer := range []string{"", "sso.example.com", "http://sso.example.com", "https://sso.example.com?a", "https://sso.example.com?", "https://sso.example.com#a", "https://u:secret@sso.example.com", "https:///a", "https://a/%zz"} {
		keys, err := token.Discover(t.Context(), issuer, token.RemoteKeySetConfig{Transport: new(forge.Web)})
		if keys != nil || err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v", issuer, err)
		}
	}
	if _, err := token.Discover(t.Context(), "https://a.example", token.RemoteKeySetConfig{MinInterval: 1}); err == nil {
		t.Error("a bad configuration is accepted")
	}
}

// Discovery heals: an issuer that is not up yet, keys that move, metadata that
// cannot be had for a while or say something else.
func TestDiscoverHeals(t *testing.T) {
	const issuer = "https://sso.example.com"
	synctest.Test(t, func(t *testing.T) {
		w := new(forge.Web)
		keys := forge.Discover(t, w, issuer)
		defer keys.Close()
		forge.Find(t, keys, "k", token.ErrKeysUnavailable)

		w.Set(issuer+oidcPath, forge.JSON(forge.Metadata(issuer, issuer+"/1").String()))
		w.Set(issuer+"/1", forge.KeysAt(t, "k"))
		time.Sleep(10 * time.Second)
		forge.Find(t, keys, "k", nil)

		// They move. The old place is gone, and found to be at the next fetch.
		w.Set(issuer+oidcPath, forge.JSON(forge.Metadata(issuer, issuer+"/2").String()))
		w.Set(issuer+"/1", nil)
		w.Set(issuer+"/2", forge.KeysAt(t, "k2"))
		for range 10 {
			time.Sleep(time.Minute)
			keys.Lookup(t.Context(), "k2", token.EdDSA)
			synctest.Wait()
		}
		forge.Find(t, keys, "k2", nil)
		if st := keys.Status(); st.URL != issuer+"/2" {
			t.Errorf("status %+v", st)
		}

		// The metadata are read once a day, and their loss changes nothing.
		w.Set(issuer+oidcPath, forge.JSON(forge.Metadata("https://evil.example.com", "https://evil.example.com/keys").String()))
		w.Asked()
		count := make(map[string]int)
		for range 30 * 60 {
			time.Sleep(time.Minute)
			forge.Find(t, keys, "k2", nil)
			synctest.Wait()
			for _, u := range w.Asked() {
				count[u]++
			}
		}
		if count[issuer+"/2"] < 300 || count["https://evil.example.com/keys"] != 0 {
			t.Errorf("asked for %v", count)
		}
		if n := count[issuer+oidcPath]; n == 0 || n > 100 {
			t.Errorf("asked %d times for the metadata in 30 hours", n)
		}
	})
}

// What one place said of its keys means nothing to another, even if both say it alike.
func TestDiscoverSendsNoETagElsewhere(t *testing.T) {
	const issuer = "https://sso.example.com"
	tagged := func(kid string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"1"`)
			if r.Header.Get("If-None-Match") == `"1"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			forge.KeysAt(t, kid).ServeHTTP(w, r)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := new(forge.Web)
		w.Set(issuer+oidcPath, forge.JSON(forge.Metadata(issuer, issuer+"/1").String()))
		w.Set(issuer+"/1", tagged("k1"))
		keys := forge.Discover(t, w, issuer)
		defer keys.Close()
		forge.Find(t, keys, "k1", nil)
		w.Set(issuer+oidcPath, forge.JSON(forge.Metadata(issuer, issuer+"/2").String()))
		w.Set(issuer+"/2", tagged("k2"))
		time.Sleep(25 * time.Hour)
		forge.Find(t, keys, "k2", nil)
		forge.Find(t, keys, "k1", token.ErrUnknownKey)
	})
}

// A key that names another issuer is not this one's, as Entra publishes them.
func TestDiscoverSkipsOtherIssuersKeys(t *testing.T) {
	const issuer = "https://login.example.com/0000/v2.0"
	key := forge.JWK(t, forge.Keys().Ed.Public()).With("kid", `"k"`)
	for named, want := range map[string]error{
		"":                                      nil,
		`"https://login.example.com/0000/v2.0"`: nil,
		`"https://login.example.com/{tenantid}/v2.0"`: nil,
		`"https://login.example.com/1111/v2.0"`:       token.ErrKeysUnavailable, // no key is left
		`"https://evil.example.com/{tenantid}/v2.0"`:  token.ErrKeysUnavailable,
		`"https://login.example.com/{tenantid}/v1.0"`: token.ErrKeysUnavailable,
		`"https://login.example.com/{tenantid}"`:      token.ErrKeysUnavailable,
		`"https://login.example.com/0000/v2.0/"`:      token.ErrKeysUnavailable,
		`7`:                                           token.ErrKeysUnavailable,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := new(forge.Web)
			w.Set(issuer+oidcPath, forge.JSON(forge.Metadata(issuer, issuer+"/keys").String()))
			k := key
			if named != "" {
				k = k.With("issuer", named)
			}
			w.Set(issuer+"/keys", forge.JSON(forge.JWKS(k)))
			keys := forge.Discover(t, w, issuer)
			defer keys.Close()
			if _, err := keys.Lookup(t.Context(), "k", token.EdDSA); !errors.Is(err, want) {
				t.Errorf("issuer %s: error %v", named, err)
			}
		})
	}
}

func ExampleDiscover() {
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux) // https://sso.example.com
	defer server.Close()
	mux.Handle(oidcPath, forge.JSON(`{"issuer":"`+server.URL+`","jwks_uri":"`+server.URL+`/keys"}`))
	mux.Handle("/keys", forge.JSON(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))

	ctx, cancel := background()
	defer cancel()
	keys, err := token.Discover(ctx, server.URL, token.RemoteKeySetConfig{
		Algorithms: []token.Algorithm{token.EdDSA},
		Transport:  server.Client().Transport, // only because the test's certificate is nobody's
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keys.Close()
	st := keys.Status()
	fmt.Println(st.Usable, st.Keys, st.Err)
	// Output: true 1 <nil>
}
