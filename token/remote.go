package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// RemoteKeysConfig configures [RemoteKeys].
type RemoteKeysConfig struct {
	// Algorithms are those that the keys may be used for, as in [ParseKeySet]. Nil
	// means every public-key algorithm. Name one if the issuer publishes RSA keys
	// without alg.
	Algorithms []Algorithm

	// RefreshInterval is after how long the keys are fetched again at the latest,
	// when they are used; a shorter max-age of the response is followed. A set in use
	// is fetched again ahead of that, after 80 to 90 % of the time, while the keys at
	// hand go on verifying: nobody waits. A key that the issuer has withdrawn stops
	// verifying within twice this time, while its server answers with an acceptable set,
	// see [RemoteKeys]. Zero means 5 min; at least MinInterval.
	RefreshInterval time.Duration

	// MinInterval is the shortest time between two fetches for tokens with an unknown
	// kid, and the shortest max-age that is followed: strangers cannot make us flood
	// the issuer. A kid that a fetch did not bring is fetched for again after that time,
	// then after twice that, up to RefreshInterval, and is unknown in between. A kid that
	// is new meanwhile, when no fetch may be made for it, is not called unknown but
	// [ErrKeysUnavailable], whether a key of that name was just published or a stranger
	// invented it: nobody can tell yet. So strangers can earn themselves a 503 instead
	// of a 401, and a token signed by a new key is accepted within MinInterval, when it
	// is tried again. Zero means 10 s; at least 1 s.
	MinInterval time.Duration

	// MaxAge is how long the last keys are good while their server does not answer with
	// an acceptable set.
	// Zero means an hour, by when every token from before the outage has expired; at
	// least RefreshInterval.
	MaxAge time.Duration

	// Timeout bounds one fetch, no matter how many wait for it. Zero means 10 s.
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
	cfg    RemoteKeysConfig
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

	mu        sync.Mutex // guards the rest, which says when to fetch
	flight    *flight    // the fetch under way, or nil
	attempt   revoke.Instant
	unknown   revoke.Instant // the last fetch for an unknown kid
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
}

var (
	errClosed = errors.New("key set closed")
	// errNotYet: the kid was first seen after the last fetch began.
	errNotYet = errors.New("not in the key set, which cannot be fetched again so soon")
)

// RemoteKeys returns the keys published at rawURL, which must be an https URL. It
// waits for the first fetch as long as ctx and cfg.Timeout allow. A server that
// cannot be reached is no error: the set answers [ErrKeysUnavailable] and goes on
// trying whenever it is asked. Close it at the end.
//
// A set is judged by its body, whatever its Content-Type, and each key of it alone. A
// key that is malformed, weak, secret or ambiguous is not used; the others are. See
// [ParseKeySet], which refuses the whole set, for what that is. The error of a look-up
// of such a key says why, and so do [RemoteKeySet.Status] and the log.
// Redirects are followed to https alone, and no cookies are kept.
func RemoteKeys(ctx context.Context, rawURL string, cfg RemoteKeysConfig) (*RemoteKeySet, error) {
	u, err := checkURL("RemoteKeys", rawURL, cfg.InsecureAllowHTTP)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return openRemote(ctx, &RemoteKeySet{url: new(u.String()), home: hostPort(u), seams: theWorld}, cfg)
}

// openRemote completes s and waits for the first fetch.
func openRemote(ctx context.Context, s *RemoteKeySet, cfg RemoteKeysConfig) (*RemoteKeySet, error) {
	if ctx == nil {
		return nil, errors.New("token: remote keys: nil context")
	}
	var err error
	if s.cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	s.missing = newMisses()
	s.ctx, s.cancel = context.WithCancel(context.Background())
	f, _ := s.start(revoke.Now(), nil)
	_ = s.wait(ctx, f, false) // the set heals by itself
	return s, nil
}

func (c RemoteKeysConfig) withDefaults() (RemoteKeysConfig, error) {
	var err error
	set := func(name string, field *time.Duration, zero, least time.Duration) {
		if *field == 0 {
			*field = max(zero, least)
		}
		if *field < least && err == nil {
			err = fmt.Errorf("token: RemoteKeysConfig.%s %s is below %s", name, *field, least)
		}
	}
	set("MinInterval", &c.MinInterval, 10*time.Second, time.Second)
	set("RefreshInterval", &c.RefreshInterval, 5*time.Minute, c.MinInterval)
	set("MaxAge", &c.MaxAge, time.Hour, c.RefreshInterval)
	set("Timeout", &c.Timeout, 10*time.Second, time.Millisecond)
	if err != nil {
		return c, err
	}
	for _, alg := range c.Algorithms {
		if alg = alg.one(); !alg.known() || alg.symmetric() {
			return c, fmt.Errorf("token: RemoteKeysConfig.Algorithms holds %q, which is no algorithm of public keys", alg)
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
// is at hand while the set is in use.
func (s *RemoteKeySet) Lookup(ctx context.Context, kid string, alg Algorithm) (*Key, error) {
	alg, now := alg.one(), revoke.Now()
	if c := s.current.Load(); c != nil && now.Since(c.at) < c.fresh {
		if key := c.find(kid, alg); key != nil {
			return key, nil
		}
	}
	return s.refreshed(ctx, kid, alg, now)
}

// refreshed answers when the keys at hand do not settle it.
func (s *RemoteKeySet) refreshed(ctx context.Context, kid string, alg Algorithm, now revoke.Instant) (*Key, error) {
	for {
		key, age, fresh := s.known(kid, alg, now)
		var want *wanted
		if key == nil {
			w := s.missing.hash(kid, alg)
			want = &w
		}
		failing := s.failing(now, fresh)
		f, joined := s.start(now, want)
		switch {
		case key != nil && (f == nil || failing || age < 2*fresh):
			return key, nil // the fetch goes on by itself
		case f == nil:
			return s.verdict(kid, alg, s.confirmed(*want))
		}
		if err := s.wait(ctx, f, key != nil); err != nil {
			if key != nil && ctx.Err() == nil {
				return key, nil // the server hangs; the key is good until MaxAge
			}
			return nil, fmt.Errorf("token: %w: waiting for the key set: %w", ErrKeysUnavailable, err)
		}
		// A fetch that was under way may have been answered before the key was published.
		key, err := s.verdict(kid, alg, !joined)
		if !errors.Is(err, errNotYet) {
			return key, err
		}
		now = revoke.Now()
	}
}

// failing reports whether the last fetch failed, and lately. A failure of long ago
// says nothing of the server now, and must not keep what it has withdrawn alive.
func (s *RemoteKeySet) failing(now revoke.Instant, lately time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastErr != nil && now.Since(s.attempt) < lately
}

// verdict answers without fetching anything. absent: a fetch that began after the
// key was first wanted has ended, so that what it did not bring does not exist.
func (s *RemoteKeySet) verdict(kid string, alg Algorithm, absent bool) (*Key, error) {
	key, age, _ := s.known(kid, alg, revoke.Now())
	err := s.failure()
	switch {
	case key != nil:
		return key, nil
	case err != nil: // the key may have been published since
		return nil, fmt.Errorf("token: %w: %w", ErrKeysUnavailable, err)
	case age >= s.cfg.MaxAge:
		return nil, fmt.Errorf("token: %w: the key set is too old", ErrKeysUnavailable)
	case !absent:
		return nil, fmt.Errorf("token: %w: %w", ErrKeysUnavailable, errNotYet)
	}
	s.refused.Add(1)
	if c := s.current.Load(); c != nil {
		return nil, c.keys.unknown(kid)
	}
	return nil, ErrUnknownKey
}

// known returns what the keys at hand hold, if they are not too old, and their age.
func (s *RemoteKeySet) known(kid string, alg Algorithm, now revoke.Instant) (key *Key, age, fresh time.Duration) {
	c := s.current.Load()
	if c == nil {
		return nil, s.cfg.MaxAge, 0
	}
	if age = now.Since(c.at); age < s.cfg.MaxAge {
		key = c.find(kid, alg)
	}
	return key, age, c.fresh
}

func (c *remoteKeys) find(kid string, alg Algorithm) *Key {
	return c.keys.find(kid, alg)
}

func (s *RemoteKeySet) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastErr
}

// start joins the fetch under way, or starts one if it is time, or returns nil. want
// is the key that the caller has not found, or nil.
func (s *RemoteKeySet) start(now revoke.Instant, want *wanted) (f *flight, joined bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.flight, true
	}
	c := s.current.Load()
	if want != nil && c.usable() && now.Since(c.at) < 2*c.fresh && s.missing.rests(*want, now) {
		return nil, false // it was asked for just now
	}
	if s.flight != nil {
		return s.flight, true
	}
	due := !c.usable() || now.Since(c.at) >= c.fresh
	switch {
	case s.failures > 0 && now.Since(s.attempt) < backoff(s.failures):
		return nil, false
	case due:
	case want != nil && (s.unknown.IsZero() || now.Since(s.unknown) >= s.cfg.MinInterval):
		s.unknown = now
	default:
		return nil, false
	}
	s.attempt = now
	f = &flight{make(chan struct{}), want}
	s.flight = f
	s.done.Go(func() { s.fly(f, now) })
	return f, false
}

// backoff is how long after its n-th failure in a row a fetch may be tried again.
func backoff(n int) time.Duration {
	d := time.Second << min(n-1, 5)
	return d - rand.N(d/4)
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
		s.remember(f.want, old, next)
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
	return d - d/10 - rand.N(d/10)
}

// maxPatience is how long a look-up waits for newer keys when it has one at hand.
const maxPatience = 2 * time.Second

// wait waits for f, at most until ctx ends, and briefly if the caller can do without.
func (s *RemoteKeySet) wait(ctx context.Context, f *flight, briefly bool) error {
	var enough <-chan time.Time
	if briefly {
		t := time.NewTimer(maxPatience)
		defer t.Stop()
		enough = t.C
	}
	select {
	case <-f.done:
		return nil
	case <-enough:
		return context.DeadlineExceeded
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
