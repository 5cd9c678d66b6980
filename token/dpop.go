package token

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/token/internal/placeholder"
)

// A DPoP checks proofs of possession (RFC 9449): that a request was made by the
// holder of the private key, for this very method and URL, just now, and only once. It
// remembers what it accepted and makes its nonces, so all verifiers of one service
// share one DPoP. Its methods may be called concurrently. It has no background and
// needs no Close.
//
// The memory of used proofs is that of one process. Behind a load balancer a proof
// stolen on its way can be used once more at each other instance, within Window, and
// at this one after a restart; nonces do not change that. When this machine's clock was
// set back, whether a proof was used before cannot be known until it has passed where it
// was: the error matches [ErrUnavailable].
type DPoP struct {
	// s is a pointer, which the fmt verbs that ignore String do not follow.
	s *dpopState
}

type dpopState struct {
	cfg    DPoPConfig
	base   string // BaseURL without a slash at its end
	algs   string // as in a challenge
	replay *replayCache
}

// DPoPConfig configures a [DPoP].
type DPoPConfig struct {
	// BaseURL is the scheme and the host by which clients know this service, with the
	// path that a proxy strips, if it does: "https://api.example.com". A proof's htu
	// must be BaseURL and the path of the request, compared after the normalisation of
	// RFC 3986 section 6.2 and without query and fragment. The Host header and
	// X-Forwarded-* are never believed: a thief of a proof for another
	// service could write them. Either BaseURL or URL is required.
	BaseURL string

	// URL returns the URL of a request as its client sees it, for services that go by
	// several names or behind a proxy that rewrites paths. It must not take a part
	// from what a client can write without checking it against what is allowed.
	URL func(*http.Request) string

	// Algorithms are those that a proof may be signed with. Nil means [ES256], [EdDSA]
	// and [PS256], those of FAPI 2.0. Symmetric ones are refused. RSA keys of proofs have
	// 2,048 to 4,096 bits: strangers choose them, and longer ones cost milliseconds.
	Algorithms []Algorithm

	// Window is how far a proof's iat may differ from our clock, either way. Zero means
	// 60 s; between 1 s and 5 min. With RequireNonce it is how far the clocks of the
	// instances that share NonceKeys may differ.
	Window time.Duration

	// RequireNonce asks for a nonce of ours in each proof (RFC 9449 section 9), so that
	// nobody can make proofs for later. The time in the nonce then stands in for iat,
	// which may be off by any amount: clients need no clock (section 11.1). A client
	// without a nonce is sent one, by 401 and the DPoP-Nonce header.
	RequireNonce bool

	// NonceLifetime is how long a nonce is good at most. A new one is handed out after
	// each quarter of it. Zero means 5 min; between 4 s and an hour.
	NonceLifetime time.Duration

	// NonceKeys are secrets of 32 random bytes: the first makes nonces, all verify
	// them, so a key is replaced by putting the new one first. Nil means a random one;
	// instances that share a name need the same, or clients are sent back and forth.
	NonceKeys []*[32]byte

	// MaxProofs bounds how many used proofs are remembered, each for at least
	// 2 × Window, or NonceLifetime + Window with RequireNonce, and at most twice that.
	// One takes about 40 bytes. Zero means 1,048,576; between 1,024 and 16,777,216.
	//
	// When there is no room, proofs are refused with [ErrUnavailable]: a cache that
	// forgot one to make room would let it be used again. Room is divided into
	// sixteenths by the sender's key. Of the second half of one nobody gets who has an
	// eighth of it, so that one sender takes the room of none; with the defaults one may
	// send some 130 requests a second for as long as he likes.
	MaxProofs int
}

// NewDPoP returns a DPoP. The error names the field of cfg that is to blame.
func NewDPoP(cfg DPoPConfig) (*DPoP, error) {
	if cfg.Algorithms == nil {
		cfg.Algorithms = []Algorithm{ES256, EdDSA, PS256}
	}
	if cfg.Window == 0 {
		cfg.Window = time.Minute
	}
	if !cfg.RequireNonce && (cfg.NonceKeys != nil || cfg.NonceLifetime != 0) {
		field := "NonceKeys"
		if cfg.NonceKeys == nil {
			field = "NonceLifetime"
		}
		return nil, &ConfigError{Config: "token.DPoPConfig", Field: field, Reason: "is set, and RequireNonce is not: no proof would need a nonce"}
	}
	if cfg.NonceLifetime == 0 {
		cfg.NonceLifetime = 5 * time.Minute
	}
	if cfg.MaxProofs == 0 {
		cfg.MaxProofs = 1 << 20
	}
	if cfg.NonceKeys == nil {
		key := new([32]byte)
		rand.Read(key[:])
		cfg.NonceKeys = []*[32]byte{key}
	}
	cfg.Algorithms = ones(cfg.Algorithms)
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	keys := make([]*[32]byte, len(cfg.NonceKeys))
	for i, k := range cfg.NonceKeys {
		keys[i] = new(*k)
	}
	cfg.NonceKeys = keys
	s := &dpopState{cfg: cfg, base: strings.TrimRight(cfg.BaseURL, "/")}
	var algs []string
	for _, alg := range cfg.Algorithms {
		algs = append(algs, alg.names()...)
	}
	s.algs = strings.Join(algs, " ")
	s.replay = newReplayCache(s.retention(), cfg.MaxProofs)
	return &DPoP{s}, nil
}

func (c *DPoPConfig) validate() error {
	refuse := func(field, why string) error {
		return &ConfigError{Config: "token.DPoPConfig", Field: field, Reason: why}
	}
	switch {
	case c.BaseURL == "" && c.URL == nil:
		return refuse("BaseURL", "is empty: a proof for any other service would do")
	case c.BaseURL != "" && c.URL != nil:
		return refuse("BaseURL", "and URL are both set")
	case len(c.Algorithms) == 0:
		return refuse("Algorithms", "is empty: no proof would be accepted")
	case c.Window < time.Second || c.Window > 5*time.Minute:
		return refuse("Window", "is not between 1 s and 5 min")
	case c.NonceLifetime < 4*time.Second || c.NonceLifetime > time.Hour:
		return refuse("NonceLifetime", "is not between 4 s and 1 h")
	case len(c.NonceKeys) == 0:
		return refuse("NonceKeys", "is empty")
	case c.MaxProofs < 1<<10 || c.MaxProofs > 1<<24:
		return refuse("MaxProofs", "is not between 1,024 and 16,777,216")
	}
	if c.BaseURL != "" {
		if _, err := normalURI(c.BaseURL); err != nil || strings.ContainsAny(c.BaseURL, "?#") {
			return refuse("BaseURL", "is not an absolute http or https URL without query and fragment")
		}
	}
	for _, alg := range c.Algorithms {
		if !slices.Contains(publicAlgorithms, alg) {
			return refuse("Algorithms", fmt.Sprintf("holds %q: a proof needs a public key", alg))
		}
	}
	for _, k := range c.NonceKeys {
		if k == nil || *k == [32]byte{} {
			return refuse("NonceKeys", "holds an empty key: anybody could make nonces")
		}
		if what := placeholder.StandsFor(k[:]); what != "" {
			return refuse("NonceKeys", "holds a key that is "+what)
		}
	}
	return nil
}

// String shows no key.
func (c DPoPConfig) String() string {
	return fmt.Sprintf("token.DPoPConfig{BaseURL: %q, Algorithms: %s, NonceKeys: %d}", c.BaseURL, c.Algorithms, len(c.NonceKeys))
}

// GoString returns [DPoPConfig.String].
func (c DPoPConfig) GoString() string { return c.String() }

// LogValue logs what [DPoPConfig.String] returns.
func (c DPoPConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

// retention is for how long a proof that was accepted could be accepted again.
func (s *dpopState) retention() time.Duration {
	if s.cfg.RequireNonce {
		return s.cfg.NonceLifetime + s.cfg.Window + time.Second
	}
	return 2*s.cfg.Window + time.Second
}

// Thumbprint checks the proof of a request that carries no access token, such as
// one for a token, and returns the thumbprint of the key that it proves possession
// of, for [Binding]. The error matches [ErrProof], [ErrNonce] (answer 400
// use_dpop_nonce, with [DPoP.Nonce] in the DPoP-Nonce header) or [ErrUnavailable]
// (answer 503). It uses the proof up. [Cause] tells of one that was used before.
//
// Anybody can make keys and proofs: call it after the grant was checked, or
// strangers could fill the memory of used proofs. The refresh of a session calls it in time
// where refresh.Request has it as Prove.
func (d *DPoP) Thumbprint(r *http.Request) (string, error) {
	now := time.Now()
	proof, err := oneProof(r)
	if err != nil {
		return "", err
	}
	use, err := d.s.check(&Sender{Proof: proof, Method: r.Method, URL: d.s.url(r)}, "", "", now)
	if err != nil {
		return "", err
	}
	return use.jkt, use.record(now)
}

// Nonce returns the nonce for a DPoP-Nonce header (RFC 9449 section 8.2), or "" if
// RequireNonce is not set. Nothing is kept for it.
func (d *DPoP) Nonce() string {
	if !d.s.cfg.RequireNonce {
		return ""
	}
	return d.s.nonce(time.Now())
}

// Algorithms returns the names by which a proof may call the algorithm that it is signed
// with: dpop_signing_alg_values_supported of a server's metadata (RFC 9449 section 5.1).
// [EdDSA] has two.
func (d *DPoP) Algorithms() []string { return strings.Fields(d.s.algs) }

// String returns the algorithms.
func (d *DPoP) String() string { return "token.DPoP{algs: " + d.s.algs + "}" }

// GoString returns [DPoP.String].
func (d *DPoP) GoString() string { return d.String() }

// LogValue logs the algorithms.
func (d *DPoP) LogValue() slog.Value { return slog.GroupValue(slog.String("algs", d.s.algs)) }

// oneProof returns the one DPoP header of r.
func oneProof(r *http.Request) (string, error) {
	switch proofs := r.Header.Values("DPoP"); len(proofs) {
	case 0:
		return "", badProof("no DPoP header")
	case 1:
		if proofs[0] != "" {
			return proofs[0], nil
		}
		return "", badProof("an empty DPoP header")
	}
	return "", badProof("more than one DPoP header")
}

func badProof(why string) error { return fmt.Errorf("token: %w: %s", ErrProof, why) }
