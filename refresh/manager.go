package refresh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A Manager keeps sessions. Its methods may be called concurrently, and any number of
// Managers may share a [Store].
type Manager struct {
	cfg    Config
	issuer issue.Config
	skew   int64 // milliseconds
	slack  int64 // of cutoffs, milliseconds
	log    *slog.Logger

	// Tests exchange these.
	now  func() revoke.Instant
	mint func(context.Context, issue.Request) (minted, error)
	wait func(context.Context, time.Duration) error
	take func(ctx context.Context, key string) (release func(), waited bool, err error)
	// backOff is what a call does before it tries again after a conflict.
	backOff func(ctx context.Context, try int) error

	parallel  int          // sessions looked at at once
	clockTold atomic.Int64 // when the log was told last, by the monotonic clock in nanoseconds

	pending  atomic.Pointer[pendingWork] // nil before the first look
	onWord   pace                        // what is published on the word of a caller
	guard    guard
	turns    turns
	eraser   eraser
	confirms pace // of records that strangers may ask for
	retries  pace // that are answered within the window
	outages  outages
	counts   counts
	unname   func()          // takes back what named the issuer to the denylist, once
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

// A minted is an access token.
type minted struct {
	token   string
	expires time.Time
}

// NewManager returns a Manager. The error names the field of cfg that is missing or
// would make sessions that cannot be ended.
func NewManager(cfg Config) (*Manager, error) {
	m, err := newManager(cfg)
	if err != nil {
		return nil, err
	}
	m.wg.Go(m.erase)
	m.wg.Go(m.lookForWork)
	m.wg.Go(m.watchStore)
	return m, nil
}

// newManager returns a Manager whose background does not run yet.
func newManager(cfg Config) (*Manager, error) {
	refuse := func(format string, args ...any) (*Manager, error) {
		return nil, fmt.Errorf("refresh: Config."+format, args...)
	}
	switch {
	case cfg.Issuer == nil:
		return refuse("Issuer is nil")
	case cfg.Store == nil:
		return refuse("Store is nil")
	case cfg.Revocations == nil:
		return refuse("Revocations is nil: a session that was revoked could go on")
	case cfg.Publisher == nil && !cfg.Revocations.Config().Local:
		return refuse("Publisher is nil, and Revocations is not Local: no service would hear of a logout")
	case cfg.MaxSessions < 0 || cfg.MaxSessions > maxSessions:
		return refuse("MaxSessions is %d, not between 0 and %d", cfg.MaxSessions, maxSessions)
	}
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = 100
	}
	var err error
	if cfg.Lifetimes, err = cfg.Lifetimes.withDefaults(); err != nil {
		return nil, err
	}
	issuer, list := cfg.Issuer.Config(), cfg.Revocations.Config()
	switch {
	case cfg.Lifetimes.Access > issuer.Lifetime:
		return refuse("Lifetimes.Access is %s, more than the Issuer's Lifetime %s", cfg.Lifetimes.Access, issuer.Lifetime)
	case issuer.MaxSkew != list.MaxSkew:
		return refuse("Issuer has a MaxSkew of %s, and Revocations one of %s: tokens would outrun cutoffs, or not pass them", issuer.MaxSkew, list.MaxSkew)
	case issuer.TokenLifetime > list.TokenLifetime:
		return refuse("Issuer has a TokenLifetime of %s, more than the %s of Revocations: tokens would outlive their revocation", issuer.TokenLifetime, list.TokenLifetime)
	case cfg.Lifetimes.Absolute > list.SessionLifetime:
		return refuse("Lifetimes.Absolute is %s, more than the SessionLifetime %s of Revocations: sessions would outlive a ban", cfg.Lifetimes.Absolute, list.SessionLifetime)
	}
	if p, ok := cfg.Publisher.(interface{ Issuers() []string }); ok && !slices.Contains(p.Issuers(), issuer.Issuer) {
		return refuse("Publisher publishes for issuers %q, and Issuer issues as %q: no logout would be told", p.Issuers(), issuer.Issuer)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Revocations.ExpectIssuer(issuer.Issuer)
	m := &Manager{
		cfg: cfg, issuer: issuer, skew: list.MaxSkew.Milliseconds(), slack: revoke.Retention{MaxSkew: list.MaxSkew}.Slack().Milliseconds(), log: cfg.Logger,
		now: revoke.Now, wait: pause.Wait, backOff: backOff, parallel: 16,
	}
	m.mint = m.issue
	m.unname = sync.OnceFunc(func() { cfg.Revocations.ForgetIssuer(issuer.Issuer) })
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.take = m.turns.take
	m.eraser.init()
	m.onWord = pace{every: time.Second / wordsPerSecond, burst: maxWords}
	m.confirms = pace{every: time.Second, burst: 1}
	m.retries = pace{every: 50 * time.Millisecond, burst: 200}
	m.outages.failed = make(chan struct{}, 1)
	return m, nil
}

// Close ends the Manager's background work and waits for it. It may be called more
// than once. Calls that are under way go on; sessions live on in the Store.
func (m *Manager) Close() error {
	m.cancel()
	m.wg.Wait()
	m.unname()
	return nil
}

// issue signs a token and looks whether it may be given out: which key has signed is not
// known before, and what was published meanwhile counts.
func (m *Manager) issue(ctx context.Context, r issue.Request) (minted, error) {
	t, err := m.cfg.Issuer.Issue(ctx, r)
	if err != nil {
		return minted{}, err
	}
	id := t.Claims().Identity()
	if err := m.cfg.Revocations.Check(m.now(), &id, revoke.InsecureAllow()); err != nil {
		if by := (*revoke.RevokedError)(nil); errors.As(err, &by) && by.Kind == revoke.KindKey {
			return minted{}, fmt.Errorf("with the key that signs it would be refused: %w", err)
		}
		return minted{}, fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return minted{t.Raw(), t.Claims().ExpiresAt()}, nil
}

// begin refuses calls that cannot go on.
func (m *Manager) begin(ctx context.Context) error {
	if ctx == nil {
		panic("refresh: nil context") // before anything is decided
	}
	if m.ctx.Err() != nil {
		return ErrClosed
	}
	return nil
}

// after returns a context for what has to be done once the store has decided, no matter who
// hangs up meanwhile: a thief could by it keep a theft from being told.
func (m *Manager) after(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(detach(ctx), finishTimeout)
}

const finishTimeout = 15 * time.Second
