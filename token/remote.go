package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// RemoteKeySetConfig configures [NewRemoteKeySet].
type RemoteKeySetConfig struct {
	// Algorithms are those that the keys may be used for, as in [ParseKeySet]. Nil
	// means every public-key algorithm. Name one if the issuer publishes RSA keys
	// without alg.
	Algorithms []Algorithm

	// RefreshInterval is after how long the keys are fetched again at the latest,
	// when they are used; a shorter max-age of the response is followed. A set in use
	// is fetched again ahead of that, after 80 to 90 % of the time, while the keys at
	// hand go on verifying: nobody waits. A key that the issuer has withdrawn stops
	// verifying within this time and Timeout in a service that is in use, and within
	// twice this time in any, while its server answers with an acceptable set; while it
	// does not, within MaxAge. To end a leaked key in milliseconds publish its
	// [Key.Revocation]. Zero means 5 min; at least MinInterval.
	RefreshInterval time.Duration

	// MinInterval is the shortest time from the end of a fetch that strangers caused to
	// the next, and the shortest max-age that is followed: they cannot make us flood
	// the issuer. They cause one by a token with an unknown kid, or with a bad signature
	// under a known one, since its key may have been replaced. In between, a kid that the
	// set at hand does not hold is unknown ([ErrUnknownKey]): a token signed by a key
	// that was published a moment ago is accepted within MinInterval, when it is tried
	// again. A kid that fetches have not brought rests for twice as long each time, up to
	// eight times MinInterval, but is found by any fetch that does bring it. Only while
	// there is no usable set at all is a kid that it might hold [ErrKeysUnavailable].
	// Zero means 10 s; at least 1 s.
	MinInterval time.Duration

	// MaxAge is how long the last keys are good while their server does not answer with
	// an acceptable set.
	// Zero means an hour, by when every token from before the outage has expired; at
	// least RefreshInterval.
	MaxAge time.Duration

	// Timeout bounds one fetch, no matter how many wait for it: at most 256 for a key
	// that is not at hand, and 1,024 for one that is but is older than twice
	// RefreshInterval, in a service that nobody has used meanwhile. Others are answered
	// at once, as if the kid were unknown. Zero means 10 s.
	Timeout time.Duration

	// Transport makes the requests, with the issuer's private CA for example. Nil
	// means one of our own, which takes a proxy from the environment, reads at most 64
	// KiB of header and never connects to an address that is not public, unless the
	// host that the configuration names is on one itself. Another Transport's
	// connections are its own affair, as a proxy's are: with either, redirects are
	// followed within their origin only.
	Transport http.RoundTripper

	// InsecureAllowHTTP allows an http URL. Anybody on the path between here and
	// there then chooses the keys, and with them issues tokens for every user. It is
	// meant for a server on the same machine.
	InsecureAllowHTTP bool

	// Logger hears of fetches that failed and of keys that are not used. Nil means
	// silent.
	Logger *slog.Logger
}

// A RemoteKeySet is the [KeySet] of an issuer that publishes a JWK Set. It is
// fetched when it is needed, never on a schedule, by at most one request at a
// time. Its methods may be called concurrently.
type RemoteKeySet struct {
	cfg    RemoteKeySetConfig
	url    *string // nil if issuer says where; a pointer, which no fmt verb follows: its query may hold a key
	issuer string  // empty if url was given
	home   string  // host:port that the configuration names
	seams  seams
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	done   sync.WaitGroup // the fetch under way

	current atomic.Pointer[remoteKeys] // nil until a fetch succeeded, and after Close
	where   atomic.Pointer[location]   // what discovery found; stored by the fetch under way alone
	refused atomic.Uint64
	waiting [2]atomic.Int64 // look-ups of keys that are not at hand, and of those that are

	mu        sync.Mutex     // guards the rest, which says when to fetch
	flight    *flight        // the fetch under way, or nil
	ended     revoke.Instant // the last fetch
	asked     revoke.Instant // the last fetch for somebody whose key was not at hand
	missing   misses
	failures  int   // since the last success
	lastErr   error // of the last fetch
	fetches   uint64
	unchanged uint64
	closed    bool
}

// A remoteKeys is immutable: what one fetch found.
type remoteKeys struct {
	keys  *StaticKeySet // of none, perhaps, which then says why
	url   string        // they came from
	etag  string        // empty if there is none
	at    revoke.Instant
	fresh time.Duration // until the next fetch is due
}

// usable reports whether there is a key to verify with.
func (c *remoteKeys) usable() bool { return c != nil && c.keys.Len() > 0 }

// A flight is one fetch. The goroutine that owns it closes done, once.
type flight struct {
	done chan struct{}
	want *wanted // what it is to bring, or nil if that is at hand
	idle bool    // nobody has used the set for long: what it holds may be withdrawn since
}

var (
	errClosed  = errors.New("key set closed")
	errCrowded = errors.New("too many are waiting already")
)

// maxWaiting bounds how many wait for one fetch, each with a request in memory: for a key
// that is not at hand, which strangers can ask for, and for one that is at hand but old.
var maxWaiting = [2]int64{256, 1024}

// NewRemoteKeySet returns the keys published at rawURL, which must be an https URL. It
// waits for the first fetch as long as ctx and cfg.Timeout allow. A server that
// cannot be reached is no error: the set answers [ErrKeysUnavailable] and goes on
// trying whenever it is asked. Close it at the end.
//
// A [Verifier] whose Keys is this very type takes new material under an old kid: after a
// bad signature the set is fetched once per MinInterval, and the signature is checked
// again if the key of that name is another.
//
// A set is judged by its body, whatever its Content-Type, and each key of it alone. A
// key that is malformed, weak, secret or ambiguous is not used; the others are. See
// [ParseKeySet], which refuses the whole set, for what that is. The error of a look-up
// of such a key says why, and so do [RemoteKeySet.Status] and the log.
// Redirects are followed to https alone, and no cookies are kept.
func NewRemoteKeySet(ctx context.Context, rawURL string, cfg RemoteKeySetConfig) (*RemoteKeySet, error) {
	u, err := checkURL("NewRemoteKeySet", rawURL, cfg.InsecureAllowHTTP)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return openRemote(ctx, &RemoteKeySet{url: new(u.String()), home: hostPort(u), seams: theWorld}, cfg)
}

// openRemote completes s and waits for the first fetch.
func openRemote(ctx context.Context, s *RemoteKeySet, cfg RemoteKeySetConfig) (*RemoteKeySet, error) {
	if ctx == nil {
		panic("token: nil context") // before a fetch begins
	}
	var err error
	if s.cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	if s.cfg.InsecureAllowHTTP {
		s.cfg.Logger.Warn("token: keys may be fetched over http: anyone on the network path can replace them, and issue tokens", "url", shown(cmp.Or(s.address(), s.issuer)))
	}
	s.missing = newMisses()
	s.ctx, s.cancel = context.WithCancel(context.Background())
	f, _ := s.start(revoke.Now(), nil)
	_ = f.wait(ctx) // the set heals by itself
	return s, nil
}

func (c RemoteKeySetConfig) withDefaults() (RemoteKeySetConfig, error) {
	var err error
	set := func(name string, field *time.Duration, zero, least, most time.Duration) {
		if *field == 0 {
			*field = max(zero, least)
		}
		switch {
		case err != nil:
		case *field < least:
			err = &ConfigError{Config: "token.RemoteKeySetConfig", Field: name, Reason: fmt.Sprintf("%s is below %s", *field, least)}
		case *field > most:
			err = &ConfigError{Config: "token.RemoteKeySetConfig", Field: name, Reason: fmt.Sprintf("%s is above %s", *field, most)}
		}
	}
	set("MinInterval", &c.MinInterval, 10*time.Second, time.Second, time.Hour)
	set("RefreshInterval", &c.RefreshInterval, 5*time.Minute, c.MinInterval, 24*time.Hour)
	set("MaxAge", &c.MaxAge, time.Hour, c.RefreshInterval, 7*24*time.Hour)
	set("Timeout", &c.Timeout, 10*time.Second, time.Millisecond, time.Hour)
	if err != nil {
		return c, err
	}
	for _, alg := range c.Algorithms {
		if alg = alg.one(); !alg.known() || alg.symmetric() {
			return c, &ConfigError{Config: "token.RemoteKeySetConfig", Field: "Algorithms", Reason: fmt.Sprintf("holds %q, which is no algorithm of public keys", alg)}
		}
	}
	c.Algorithms = ones(c.Algorithms)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Lookup implements [KeySet]. It waits for a fetch, as long as ctx allows, if there
// are no keys yet, if they are older than MaxAge, if kid is unknown and
// MinInterval has passed, and after a long time without use: never for a kid that
// is at hand while the set is in use, whether its server answers or not.
func (s *RemoteKeySet) Lookup(ctx context.Context, kid string, alg Algorithm) (*Key, error) {
	alg, now := alg.one(), revoke.Now()
	if keys := s.fresh(now); keys != nil {
		if key := keys.find(kid, alg); key != nil {
			return key, nil
		}
	}
	return s.refreshed(ctx, kid, alg, now)
}

// fresh returns the keys at hand, or nil if it is time to fetch them again.
func (s *RemoteKeySet) fresh(now revoke.Instant) *StaticKeySet {
	if c := s.current.Load(); c != nil && now.Since(c.at) < c.fresh {
		return c.keys
	}
	return nil
}

// refreshed answers when the keys at hand do not settle it.
func (s *RemoteKeySet) refreshed(ctx context.Context, kid string, alg Algorithm, now revoke.Instant) (*Key, error) {
	for again := false; ; again = true {
		key := s.known(kid, alg, now)
		var want *wanted
		if key == nil {
			want = new(s.missing.hash(kid, alg))
		}
		f, joined := s.start(now, want)
		switch {
		case f == nil, key != nil && !f.idle: // a fetch that is under way goes on by itself
			return s.verdict(kid, alg) // one that has ended since may have withdrawn the key
		}
		switch err := s.wait(ctx, f, key != nil); {
		case err == errCrowded, err != nil && key == nil && s.usable():
			return nil, fmt.Errorf("%w: %w", s.unknown(kid), err)
		case err != nil:
			return nil, fmt.Errorf("token: %w: waiting for the key set: %w", ErrKeysUnavailable, err)
		}
		key, err := s.verdict(kid, alg)
		if key != nil || again || !joined || !errors.Is(err, ErrUnknownKey) {
			return key, err
		}
		now = revoke.Now() // that fetch may have been answered before the key was published
	}
}

// renewed returns the key that has taken the place of old under the name of a token,
// whose signature is not old's, or nil. It fetches if no stranger has caused a fetch
// within MinInterval.
func (s *RemoteKeySet) renewed(ctx context.Context, kid string, old *Key) *Key {
	for again := false; ; again = true {
		now := revoke.Now()
		if key := s.known(kid, old.alg, now); key != nil && key.thumbprint != old.thumbprint {
			return key
		}
		f, joined := s.start(now, &wanted{kid: kid, alg: old.alg, instead: true})
		if f == nil || s.wait(ctx, f, false) != nil {
			return nil
		}
		if again = again || !joined; again {
			if key := s.known(kid, old.alg, revoke.Now()); key != nil && key.thumbprint != old.thumbprint {
				return key
			}
			return nil
		}
	}
}

// failing reports whether the last fetch failed, and lately. A failure of long ago
// says nothing of the server now, and must not keep what it has withdrawn alive.
// s.mu is held.
func (s *RemoteKeySet) failing(now revoke.Instant) bool {
	return s.lastErr != nil && now.Since(s.ended) < max(s.cfg.RefreshInterval, maxBackoff+s.cfg.Timeout)
}

// verdict answers without fetching anything. What a usable set does not hold is
// unknown, so that nobody chooses another answer by inventing names.
func (s *RemoteKeySet) verdict(kid string, alg Algorithm) (*Key, error) {
	if key := s.known(kid, alg, revoke.Now()); key != nil {
		return key, nil
	}
	return nil, s.unknown(kid)
}

// unknown returns the error for a key that is not at hand.
func (s *RemoteKeySet) unknown(kid string) error {
	if c := s.current.Load(); s.usable() && c != nil {
		s.refused.Add(1)
		return c.keys.unknown(kid)
	}
	if err := s.failure(); err != nil {
		return fmt.Errorf("token: %w: %w", ErrKeysUnavailable, err)
	}
	return fmt.Errorf("token: %w: no key set that is recent enough", ErrKeysUnavailable)
}

// usable reports whether there are keys, and not too old ones.
func (s *RemoteKeySet) usable() bool {
	c := s.current.Load()
	return c.usable() && revoke.Now().Since(c.at) < s.cfg.MaxAge
}

// known returns what the keys at hand hold, if they are not too old.
func (s *RemoteKeySet) known(kid string, alg Algorithm, now revoke.Instant) *Key {
	if c := s.current.Load(); c != nil && now.Since(c.at) < s.cfg.MaxAge {
		return c.find(kid, alg)
	}
	return nil
}

func (c *remoteKeys) find(kid string, alg Algorithm) *Key {
	return c.keys.find(kid, alg)
}

func (s *RemoteKeySet) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastErr
}

// start joins the fetch under way, or starts one if it is time. want is the key that
// the caller has not found, or nil. It returns nil if there is nothing to wait for.
func (s *RemoteKeySet) start(now revoke.Instant, want *wanted) (f *flight, joined bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.flight, true
	}
	c := s.current.Load()
	usable := c.usable() && now.Since(c.at) < s.cfg.MaxAge
	soon := want != nil && usable && (!s.asked.IsZero() && now.Since(s.asked) < s.cfg.MinInterval || !want.instead && s.missing.rests(*want, now))
	if s.flight != nil {
		joined = true
	} else {
		due := !usable || now.Since(c.at) >= c.fresh
		switch {
		case s.failures > 0 && now.Since(s.ended) < backoff(s.failures):
			return nil, false
		case due, want != nil && !soon:
		default:
			return nil, false
		}
		s.flight = &flight{make(chan struct{}), want, usable && now.Since(c.at) >= 2*c.fresh && !s.failing(now)}
		f := s.flight
		s.done.Go(func() { s.fly(f, now) })
	}
	if soon {
		return nil, false // for others
	}
	return s.flight, joined
}

// maxBackoff is the longest time until a failing server is asked again.
const maxBackoff = 32 * time.Second

// backoff is how long after its n-th failure in a row a fetch may be tried again.
func backoff(n int) time.Duration {
	d := pause.Growing(time.Second, maxBackoff, n-1)
	return pause.Between(d-d/4, d)
}

// fetchSafely turns a panic, of a caller's Transport for one, into an error: this
// goroutine is ours, and would end the process.
func (s *RemoteKeySet) fetchSafely(ctx context.Context, old *remoteKeys, now revoke.Instant) (got fetched, err error) {
	defer func() {
		if p := recover(); p != nil {
			got, err = fetched{url: s.address(), maxAge: -1}, errPanicked
		}
	}()
	return s.fetch(ctx, old, now)
}

var errPanicked = errors.New("fetching keys: the transport panicked")

// fly fetches once and ends.
func (s *RemoteKeySet) fly(f *flight, now revoke.Instant) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
	defer cancel()
	old := s.current.Load()
	got, err := s.fetchSafely(ctx, old, now)
	next := &remoteKeys{keys: got.keys, url: got.url, etag: got.etag, at: now, fresh: s.freshFor(got.maxAge)}
	if errors.Is(err, errNoUsableKey) && old.usable() {
		if left := old.keys.mistaken(got.keys); left != got.keys { // until they are too old, as when there was no answer
			next = &remoteKeys{keys: left, url: old.url, at: old.at, fresh: old.fresh}
		}
	}

	s.mu.Lock()
	switch {
	case s.closed:
	case err == nil, errors.Is(err, errNoUsableKey): // what the server withdrew is gone
		s.current.Store(next)
		s.remember(f.want, next)
	}
	s.ended = revoke.Now()
	if f.want != nil {
		s.asked = s.ended
	}
	s.fetches++
	if err == nil && got.unchanged {
		s.unchanged++
	}
	s.lastErr = err
	if err == nil {
		s.failures = 0
	} else {
		s.failures++
	}
	s.flight = nil
	failures, closed := s.failures, s.closed
	s.mu.Unlock()
	close(f.done)

	switch {
	case closed:
	case err != nil:
		s.cfg.Logger.Warn("token: fetching keys failed", "url", shown(cmp.Or(got.url, s.address(), s.issuer)), "error", err, "failures", failures)
	case len(got.keys.skipped) > 0 && (old == nil || !slices.Equal(old.keys.skipped, got.keys.skipped)):
		s.cfg.Logger.Warn("token: keys not used", "url", shown(got.url), "used", got.keys.Len(), "skipped", got.keys.reasons())
	}
}

// freshFor returns how long keys with that max-age, negative if there is none, are
// used before they are fetched again: ahead of time, so that the fetch is over when
// they are due, and by a varying tenth, so that services that started together do
// not fetch together for ever.
func (s *RemoteKeySet) freshFor(maxAge time.Duration) time.Duration {
	d := s.cfg.RefreshInterval
	if maxAge >= 0 {
		d = min(d, max(maxAge, s.cfg.MinInterval))
	}
	return pause.Between(d-d/5, d-d/10)
}

// wait waits for f, at most until ctx ends, if there is room. held says that the caller
// has a key at hand.
func (s *RemoteKeySet) wait(ctx context.Context, f *flight, held bool) error {
	room := 0
	if held {
		room = 1
	}
	defer s.waiting[room].Add(-1)
	if s.waiting[room].Add(1) > maxWaiting[room] {
		return errCrowded
	}
	return f.wait(ctx)
}

func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the fetch under way and waits for it. The set then answers
// [ErrKeysUnavailable]. Further calls do nothing. The error is always nil.
func (s *RemoteKeySet) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.done.Wait()
	s.current.Store(nil)
	s.mu.Lock()
	s.lastErr = errClosed
	s.mu.Unlock()
	return nil
}
