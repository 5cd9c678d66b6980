package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRedirects bounds what one fetch follows.
const maxRedirects = 3

// newTransport keeps no connection: between two fetches lie minutes, and nothing is
// left behind when a set is forgotten.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		ForceAttemptHTTP2:      true,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// sameOrigin keeps a redirect from leading to another host, such as a metadata
// service on a local address, or off https (RFC 8725 section 3.10).
func sameOrigin(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return errors.New("too many redirects")
	case req.URL.Scheme != first.Scheme || req.URL.Host != first.Host:
		return errors.New("redirect to another origin")
	}
	return nil
}

// fetch reads the key set once. maxAge is that of the response, or negative.
func (s *RemoteKeySet) fetch(ctx context.Context) (keys *StaticKeySet, maxAge time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, -1, fmt.Errorf("fetching keys: %w", err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, -1, fmt.Errorf("fetching keys: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, -1, fmt.Errorf("fetching keys: status %d", resp.StatusCode)
	}
	switch media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); {
	case err != nil, media != "application/json" && media != "application/jwk-set+json":
		return nil, -1, errors.New("fetching keys: the response is not JSON by its Content-Type")
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySetBytes+1))
	if err != nil {
		return nil, -1, fmt.Errorf("fetching keys: %w", err)
	}
	keys, err = ParseKeySet(body, s.cfg.Algorithms...) // which refuses the byte too many
	return keys, maxAgeOf(resp.Header), err
}

// maxAgeOf returns the max-age of a response (RFC 9111 section 5.2.2.1): zero if it
// must not be kept, negative if it does not say.
func maxAgeOf(h http.Header) time.Duration {
	age := time.Duration(-1)
	for _, line := range h.Values("Cache-Control") {
		for d := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(d), "=")
			switch strings.ToLower(name) {
			case "no-store", "no-cache":
				return 0
			case "max-age":
				if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
					age = time.Duration(n) * time.Second
				}
			}
		}
	}
	return age
}
