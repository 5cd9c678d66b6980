package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// metadataLife is how long a jwks_uri is used before the issuer is asked again.
const metadataLife = 24 * time.Hour

const maxURLBytes = 2048

// A location is where an issuer says that its keys are.
type location struct {
	url    string
	at     revoke.Instant
	inside bool // the issuer was found on an address that is not public
	stale  bool // the keys could not be fetched there
}

// Discover returns the keys of the issuer that goes by that URL, wherever its
// metadata (OpenID Connect Discovery 1.0 section 4, or RFC 8414) says they are. issuer
// is iss as tokens have it, byte for byte: the metadata must name the same, which
// keeps an issuer from speaking for another. [VerifierConfig].Algorithms decides about
// algorithms; what the metadata says of them is not looked at.
//
// The metadata is read with the keys, again after a day, and at once when the keys
// cannot be had where they were; the last known address serves while the metadata
// cannot. Everything else is as [NewRemoteKeySet] has it: the set heals by itself, and an
// issuer that cannot be reached is no error here. Metadata that is refused shows in
// [RemoteKeySet.Status] and in the log. The keys may be on another host than the
// issuer, but not on an address that is not public, unless the issuer is on one.
func Discover(ctx context.Context, issuer string, cfg RemoteKeySetConfig) (*RemoteKeySet, error) {
	u, err := checkURL("Discover", issuer, cfg.InsecureAllowHTTP)
	switch {
	case err != nil:
		return nil, fmt.Errorf("token: %w", err)
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("token: Discover: an issuer has no query (OpenID Connect Discovery 1.0 section 3)")
	}
	return openRemote(ctx, &RemoteKeySet{issuer: issuer, home: hostPort(u), seams: theWorld}, cfg)
}

// locate returns where the keys are, and tells g what it knows.
func (s *RemoteKeySet) locate(ctx context.Context, client *http.Client, g *guard, now revoke.Instant) (*location, error) {
	known := s.where.Load()
	if known == nil || known.stale || now.Since(known.at) >= metadataLife {
		found, err := s.discover(ctx, client, g)
		if err == nil {
			found.at = now
			s.where.Store(found)
			return found, nil
		}
		err = fmt.Errorf("fetching the issuer's metadata: %w", err)
		if known == nil {
			return nil, err
		}
		s.cfg.Logger.Warn("token: using the last known address of keys", "issuer", s.issuer, "error", err)
	}
	g.mu.Lock()
	g.inside = known.inside
	g.mu.Unlock()
	return known, nil
}

// forget has the next fetch ask the issuer where its keys are.
func (s *RemoteKeySet) forget() {
	if known := s.where.Load(); known != nil {
		again := *known
		again.stale = true
		s.where.Store(&again)
	}
}

func (s *RemoteKeySet) discover(ctx context.Context, client *http.Client, g *guard) (*location, error) {
	issuer, err := url.Parse(s.issuer)
	if err != nil {
		return nil, errors.New("malformed issuer")
	}
	r, err := get(ctx, client, strings.TrimSuffix(s.issuer, "/")+"/.well-known/openid-configuration", "application/json", "")
	if err == nil && r.status == http.StatusNotFound {
		// RFC 8414 section 3.1 puts the path last.
		wellKnown := *issuer
		wellKnown.Path, wellKnown.RawPath = "/.well-known/oauth-authorization-server"+strings.TrimSuffix(issuer.Path, "/"), ""
		r, err = get(ctx, client, wellKnown.String(), "application/json", "")
	}
	if err != nil {
		return nil, err
	}
	if r.status != http.StatusOK {
		return nil, fmt.Errorf("status %d", r.status)
	}
	raw, err := parseMetadata(r.body, s.issuer)
	if err != nil {
		return nil, r.judged(err)
	}
	u, err := checkURL("jwks_uri", raw, issuer.Scheme == "http")
	if err != nil {
		return nil, err
	}
	if err := g.names(u); err != nil {
		return nil, fmt.Errorf("jwks_uri: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return &location{url: u.String(), inside: g.inside}, nil
}

// parseMetadata returns the jwks_uri of metadata that name issuer, exactly.
func parseMetadata(data []byte, issuer string) (jwksURI string, err error) {
	var named string
	err = strictjson.Object(data, func(name string, v strictjson.Value) error {
		switch name {
		case "issuer":
			named, _ = v.Text()
		case "jwks_uri":
			jwksURI, _ = v.Text()
		}
		return nil
	})
	switch {
	case err != nil:
		return "", err
	case named == "":
		return "", errors.New("no issuer")
	case named != issuer:
		return "", fmt.Errorf("the issuer calls itself %.200q", named) // RFC 8414 section 3.3
	case jwksURI == "":
		return "", errors.New("no jwks_uri")
	case len(jwksURI) > maxURLBytes:
		return "", errors.New("jwks_uri is too long")
	}
	return jwksURI, nil
}
