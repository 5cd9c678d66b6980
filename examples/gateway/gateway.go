package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// internalLifetime is how long an upstream believes what the gateway says of a caller. It covers
// the way there, and is all that a thief of such a token has. Upstreams allow for clocks that
// differ by a second.
const internalLifetime = 10 * time.Second

// A gateway verifies the tokens of users once. To the upstream it names the user in a token of its
// own: short-lived, and addressed to that upstream, which accepts no other.
type gateway struct {
	users  *token.Verifier // the tokens of the auth service
	issuer *issue.Issuer   // what upstreams are told
}

// vouch returns what an upstream is sent as Authorization about the user of ctx.
func (g *gateway) vouch(ctx context.Context, upstream string) (string, error) {
	claims, ok := token.FromContext(ctx)
	if !ok {
		return "", fmt.Errorf("nobody is logged in")
	}
	issued, err := g.issuer.Issue(ctx, issue.Request{
		Subject: claims.Subject(), Session: claims.SessionID(), Client: claims.ClientID(), Audience: []string{upstream}, Lifetime: internalLifetime,
	})
	if err != nil {
		return "", err
	}
	return "Bearer " + issued.Raw(), nil
}

// handler passes requests with a good token on to the upstream of that name. A request whose
// token is revoked while it is answered, such as an open event stream, ends.
func (g *gateway) handler(upstream string, to *url.URL) http.Handler {
	type authorization struct{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { // it has taken away what is of one hop, Forwarded and X-Forwarded-…
			r.SetURL(to)
			strip(r.Out.Header)
			r.Out.Header.Set("Authorization", r.In.Context().Value(authorization{}).(string))
			r.SetXForwarded()
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	vouched := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, err := g.vouch(r.Context(), upstream)
		if err != nil {
			http.Error(w, "cannot vouch for you now", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), authorization{}, value)))
	})
	mux := http.NewServeMux()
	mux.Handle("/", g.users.Middleware(vouched))
	mux.Handle("GET /events", g.users.Middleware(vouched, token.WithGrace(0))) // ends at once, not after the usual 5 s
	return mux
}

// strip takes away by what a client could say who it is: the upstream shall hear that from the
// gateway alone. The user's token and cookies are not for it either.
func strip(h http.Header) {
	for _, name := range []string{"Authorization", "Cookie", "Dpop", "Proxy-Authorization", "X-Auth-Subject", "X-Auth-User", "X-Remote-User", "Remote-User", "X-User", "X-Upstream-Authorization"} {
		h.Del(name)
	}
}

// check is the checking side for a proxy of another make, which asks it about each request. Its
// answer holds the same token, which the proxy puts in the place of the user's.
func (g *gateway) check(upstream, methodHeader, uriHeader string) (http.Handler, error) {
	return token.NewForwardAuth(token.ForwardAuthConfig{
		MethodHeader: methodHeader, URIHeader: uriHeader,
		FromProxy: token.FromAddresses(netip.MustParsePrefix("127.0.0.0/8")), // in production: where the proxies are, and nothing else
	}, g.users.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, err := g.vouch(r.Context(), upstream)
		if err != nil {
			http.Error(w, "cannot vouch for you now", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("X-Upstream-Authorization", value)
	})))
}
