package token

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"unsafe"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// Members of the families of errors, which other packages know by [Cause].
var (
	ErrMalformed                  = errMalformed
	ErrAlgorithm                  = errAlgorithm
	ErrType                       = errType
	ErrSignature                  = errSignature
	ErrClaims                     = errClaims
	ErrIssuer                     = errIssuer
	ErrAudience                   = errAudience
	ErrLifetime                   = errLifetime
	ErrBinding                    = errBinding
	ErrReplayed                   = errReplayed
	ErrInsufficientAuthentication = errInsufficientAuthentication
	ErrReplayCacheFull            = errReplayCacheFull
	ErrWeakKey                    = jose.ErrWeak
)

// Causes are the words that Cause has.
func Causes() []string {
	words := []string{otherCause}
	for _, c := range causes {
		words = append(words, c.name)
	}
	return words
}

// RemoteKeysSeen is NewRemoteKeySet where the test says which addresses are public and
// where the proxy is.
func RemoteKeysSeen(ctx context.Context, rawURL string, cfg RemoteKeySetConfig, public func(netip.AddrPort) bool, proxy func(*http.Request) (*url.URL, error)) (*RemoteKeySet, error) {
	return openSeen(ctx, &RemoteKeySet{url: &rawURL}, rawURL, cfg, public, proxy)
}

// DiscoverSeen is Discover in the same way.
func DiscoverSeen(ctx context.Context, issuer string, cfg RemoteKeySetConfig, public func(netip.AddrPort) bool, proxy func(*http.Request) (*url.URL, error)) (*RemoteKeySet, error) {
	return openSeen(ctx, &RemoteKeySet{issuer: issuer}, issuer, cfg, public, proxy)
}

func openSeen(ctx context.Context, s *RemoteKeySet, rawURL string, cfg RemoteKeySetConfig, public func(netip.AddrPort) bool, proxy func(*http.Request) (*url.URL, error)) (*RemoteKeySet, error) {
	u, err := checkURL("test", rawURL, cfg.InsecureAllowHTTP)
	if err != nil {
		return nil, err
	}
	s.home, s.seams = hostPort(u), seams{public, proxy}
	return openRemote(ctx, s, cfg)
}

// IsPublic is isPublic.
func IsPublic(addr string) bool { return isPublic(netip.AddrPortFrom(netip.MustParseAddr(addr), 443)) }

// CacheUse returns how many tokens v remembers, and in how many bytes.
func (v *Verifier) CacheUse() (tokens, bytes int) {
	c := v.cache.tokens.Load()
	if c == nil {
		return 0, 0
	}
	c.CleanUp()
	return c.EstimatedSize(), int(c.WeightedSize())
}

// CacheKeepsPartOf reports whether anything that v remembers lies in the memory of raw.
func (v *Verifier) CacheKeepsPartOf(raw string) (where string, found bool) {
	from := uintptr(unsafe.Pointer(unsafe.StringData(raw)))
	within := func(p unsafe.Pointer) bool { return uintptr(p) >= from && uintptr(p) < from+uintptr(len(raw)) }
	var walk func(path string, x reflect.Value)
	walk = func(path string, x reflect.Value) {
		switch x.Kind() {
		case reflect.String:
			if s := x.String(); s != "" && within(unsafe.Pointer(unsafe.StringData(s))) {
				where, found = path, true
			}
		case reflect.Slice:
			if x.Len() > 0 && within(x.UnsafePointer()) {
				where, found = path, true
			}
			if x.Type().Elem().Kind() == reflect.Uint8 {
				return
			}
			for i := range x.Len() {
				walk(fmt.Sprintf("%s[%d]", path, i), x.Index(i))
			}
		case reflect.Struct:
			for i := range x.NumField() {
				walk(path+"."+x.Type().Field(i).Name, x.Field(i))
			}
		}
	}
	c := v.cache.tokens.Load()
	for _, known := range c.All() {
		walk("verified", reflect.ValueOf(known).Elem())
		walk("claims", reflect.ValueOf(*known.claims))
	}
	return where, found
}

// Watching is how many contexts v watches: those whose grace is not over, the others, and
// the keys of the others.
func (v *Verifier) Watching() (young, live, keys int) {
	s := &v.sole.watches
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.heap) - len(s.live), len(s.live), len(s.keys)
}

// SetWatchClock has the watches of v read another clock.
func (v *Verifier) SetWatchClock(now func() revoke.Instant) { v.sole.watches.clock = now }

// Numbered returns claims like c, as if v had verified a token for each number.
func (c *Claims) Numbered(n int) *Claims {
	copied := *c
	copied.id, copied.session, copied.subject = fmt.Sprint("jti-", n), fmt.Sprint("session-", n), fmt.Sprint("user-", n/4)
	return &copied
}

// EndHalfway does the first half of what ends a context of [Verifier.Watch]: it is watched
// no more, and has not ended.
func EndHalfway(ctx context.Context) {
	c := ctx.(*tokenContext)
	c.a.watches.remove(c.watch.Load())
}
