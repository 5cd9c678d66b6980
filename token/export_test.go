package token

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
)

// RemoteKeysSeen is RemoteKeys where the test says which addresses are public and
// where the proxy is.
func RemoteKeysSeen(ctx context.Context, rawURL string, cfg RemoteKeysConfig, public func(netip.AddrPort) bool, proxy func(*http.Request) (*url.URL, error)) (*RemoteKeySet, error) {
	return openSeen(ctx, &RemoteKeySet{url: rawURL}, rawURL, cfg, public, proxy)
}

// DiscoverSeen is Discover in the same way.
func DiscoverSeen(ctx context.Context, issuer string, cfg RemoteKeysConfig, public func(netip.AddrPort) bool, proxy func(*http.Request) (*url.URL, error)) (*RemoteKeySet, error) {
	return openSeen(ctx, &RemoteKeySet{issuer: issuer}, issuer, cfg, public, proxy)
}

func openSeen(ctx context.Context, s *RemoteKeySet, rawURL string, cfg RemoteKeysConfig, public func(netip.AddrPort) bool, proxy func(*http.Request) (*url.URL, error)) (*RemoteKeySet, error) {
	u, err := checkURL("test", rawURL, cfg.InsecureAllowHTTP)
	if err != nil {
		return nil, err
	}
	s.home, s.seams = hostPort(u), seams{public, proxy}
	return openRemote(ctx, s, cfg)
}

// IsPublic is isPublic.
func IsPublic(addr string) bool { return isPublic(netip.AddrPortFrom(netip.MustParseAddr(addr), 443)) }
