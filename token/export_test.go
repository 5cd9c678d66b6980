package token

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// RemoteKeysSeen is RemoteKeys where the test says which addresses are public and
// where the proxy is.
func RemoteKeysSeen(ctx context.Context, rawURL string, cfg RemoteKeysConfig, public func(netip.AddrPort) bool, proxy func(*http.Request) (*url.URL, error)) (*RemoteKeySet, error) {
	return openSeen(ctx, &RemoteKeySet{url: &rawURL}, rawURL, cfg, public, proxy)
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

// SetClock replaces the clock of a shared ring.
func (c *KeyringConfig) SetClock(now func() revoke.Instant) { c.clock = now }

// Alone and RetireFor return the two times that follow from the others, for a
// configuration without defaults to fill in.
func (c KeyringConfig) Timing() (alone, ripeAfter, retireFor int64) {
	c, err := c.withDefaults()
	if err != nil {
		panic(err)
	}
	return int64(c.alone()), int64(c.ripeAfter()), int64(c.retireFor())
}

// CacheUse returns how many tokens v remembers, and in how many bytes.
func (v *Verifier) CacheUse() (tokens, bytes int) {
	c := v.cache.tokens.Load()
	if c == nil {
		return 0, 0
	}
	c.CleanUp()
	return c.EstimatedSize(), int(c.WeightedSize())
}
