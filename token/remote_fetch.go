package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// maxETagBytes bounds what is sent back of what a server said.
const maxETagBytes = 256

// A fetched is what one fetch brought.
type fetched struct {
	keys      *StaticKeySet
	url       string
	etag      string
	maxAge    time.Duration // negative if the response does not say
	unchanged bool          // 304: keys are the old ones
}

// fetch reads the key set once. old is what is at hand, or nil.
func (s *RemoteKeySet) fetch(ctx context.Context, old *remoteKeys, now revoke.Instant) (fetched, error) {
	g := &guard{home: s.home, custom: s.cfg.Transport != nil, seams: s.seams, timeout: s.cfg.Timeout}
	client := &http.Client{Transport: s.cfg.Transport, CheckRedirect: g.redirect}
	if !g.custom {
		client.Transport = g.transport()
	}
	got := fetched{url: s.address(), maxAge: -1}
	if s.issuer != "" {
		at, err := s.locate(ctx, client, g, now)
		if err != nil {
			return got, err
		}
		got.url = at.url
	}
	err := s.fetchFrom(ctx, client, old, &got)
	if err != nil && s.issuer != "" {
		s.forget() // the keys may have moved
	}
	return got, err
}

func (s *RemoteKeySet) fetchFrom(ctx context.Context, client *http.Client, old *remoteKeys, got *fetched) error {
	etag := ""
	if old.usable() && old.url == got.url {
		etag = old.etag
	}
	r, err := get(ctx, client, got.url, "application/jwk-set+json, application/json", etag)
	if err != nil {
		return fmt.Errorf("fetching keys: %w", err)
	}
	got.maxAge = maxAgeOf(r.header)
	if r.status == http.StatusNotModified { // RFC 9110 section 13.1.2
		got.keys, got.etag, got.unchanged = old.keys, old.etag, true
		return nil
	}
	if r.status != http.StatusOK {
		return fmt.Errorf("fetching keys: status %d", r.status)
	}
	if got.keys, err = parseForeignKeySet(r.body, s.cfg.Algorithms, s.issuer); err != nil {
		return r.judged(err)
	}
	if tag := r.header.Get("ETag"); len(tag) <= maxETagBytes {
		got.etag = tag
	}
	return nil
}

// shown returns a URL as logs may hold it: without its query.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(malformed)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// A response is one whose body has been read.
type response struct {
	status int
	header http.Header
	body   []byte // at most one byte more than maxKeySetBytes
}

// get reads what is at address. A 304 is an error unless etag was sent. ctx bounds it all, a body
// that comes byte by byte included.
func get(ctx context.Context, client *http.Client, address, accept, etag string) (response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return response{}, err
	}
	req.Header.Set("Accept", accept)
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := client.Do(req)
	if err != nil {
		// A url.Error quotes the URL, whose query may hold a key; so may one of a
		// Transport that is a client itself.
		for u := (*url.Error)(nil); errors.As(err, &u); {
			if err = u.Err; err == nil {
				err = errors.New("no response")
			}
		}
		return response{}, err
	}
	defer resp.Body.Close()
	r := response{status: resp.StatusCode, header: resp.Header}
	switch {
	case r.status == http.StatusNotModified && etag == "":
		return r, errors.New("status 304 to an unconditional request")
	case r.status != http.StatusOK:
		return r, nil
	}
	// What is counted is what was unpacked, so that a small body cannot swell.
	if r.body, err = io.ReadAll(io.LimitReader(resp.Body, maxKeySetBytes+1)); err != nil {
		return r, err
	}
	if len(r.body) > maxKeySetBytes {
		return r, fmt.Errorf("body of more than %d bytes", maxKeySetBytes)
	}
	return r, nil
}

// judged returns err, of a parser of the body. Its Content-Type decides nothing, as many
// hosts of static files give any or none, but says what else was sent.
func (r *response) judged(err error) error {
	media, _, bad := mime.ParseMediaType(r.header.Get("Content-Type"))
	if bad == nil && strings.Contains(media, "json") || !errors.Is(err, strictjson.ErrSyntax) {
		return err
	}
	return fmt.Errorf("%w (Content-Type %.60q)", err, media)
}

// maxAgeOf returns how long a response may be kept from now on, by its max-age and
// Age (RFC 9111 sections 5.2.2.1 and 5.1): zero if it must not be, negative if it
// does not say.
func maxAgeOf(h http.Header) time.Duration {
	age := time.Duration(-1)
	for _, line := range h.Values("Cache-Control") {
		for d := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(d), "=")
			switch strings.ToLower(name) {
			case "no-store", "no-cache":
				return 0
			case "max-age":
				if n, ok := deltaSeconds(strings.Trim(value, `"`)); ok {
					age = n
				}
			}
		}
	}
	if spent, ok := deltaSeconds(h.Get("Age")); ok && age >= 0 {
		age = max(0, age-spent)
	}
	return age
}

func deltaSeconds(s string) (time.Duration, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return time.Duration(n) * time.Second, err == nil
}
