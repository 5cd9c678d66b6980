package refresh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// maxSessions bounds a subject's list of sessions.
const maxSessions = 1000

// A Publisher tells every service what is revoked. A [github.com/hybridtoken/hybridtoken/bus.Bus]
// is one. It returns nil only when the event will reach them all.
type Publisher interface {
	Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error)
}

// Config configures a [Manager].
type Config struct {
	// Issuer issues the access tokens. Required.
	Issuer *token.Issuer

	// Store keeps the sessions. Required; all instances of the service share it.
	Store Store

	// Revocations is this process's replica of the denylist. Required: a refresh asks it
	// whether the session was revoked by anyone, and dates its token by how much it has
	// seen. Where it is stale, refreshes are told to try again.
	Revocations *revoke.List

	// Publisher tells the services. Required, unless Revocations is Local: then the
	// events are applied to it, and it must be the only replica there is.
	Publisher Publisher

	// Lifetimes of sessions and tokens. Zero means [HighSecurity].
	Lifetimes Lifetimes

	// MaxSessions is how many sessions a subject may have at once; the login after that
	// ends the one that was begun first (OWASP ASVS 5.0, 7.1.2). Zero means 100; at most
	// 1,000.
	MaxSessions int

	// Ask is asked at each refresh whether the session may go on, and what it may claim
	// now: the user may have been disabled, or have other roles. An error means that the
	// application cannot tell, and the client is told to try again. It is called without
	// any lock held, perhaps more than once for a refresh, with the context of the call.
	// Nil: whoever has a session keeps it.
	Ask func(ctx context.Context, s Session) (Answer, error)

	// OnReplay is called when a refresh token was used again after its window: it was
	// stolen, or the client has lost an answer for longer than that. The session is
	// dead when it is called. OnGrace is called when one was used again within its
	// window and answered with its successor. They are called in the goroutine of the
	// refresh and get no secret. Nil: nothing is called.
	OnReplay, OnGrace func(ctx context.Context, s Session)

	// Logger receives replays, sessions that others left half ended, and failures.
	// Nil means silent.
	Logger *slog.Logger
}

// An Answer is the application's word about a session. The zero Answer lets it go on
// as it is.
type Answer struct {
	// End ends the session, here and at every service. Reason is for people; one that no
	// event may have, see [revoke.Event], is logged as such and not told.
	End    bool
	Reason string

	// Claims replace the custom claims of the session's tokens, see
	// [token.IssueRequest].Claims. Nil leaves them as they are.
	Claims map[string]any
}

// A Manager keeps sessions. Its methods may be called concurrently, and any number of
// Managers may share a [Store].
type Manager struct {
	cfg    Config
	issuer token.IssuerConfig
	skew   int64 // milliseconds
	log    *slog.Logger

	// Tests exchange these.
	now  func() revoke.Instant
	mint func(context.Context, token.IssueRequest) (minted, error)

	parallel int // sessions looked at at once

	eraser eraser
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
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
	case issuer.TokenLifetime > list.TokenLifetime:
		return refuse("Issuer has a TokenLifetime of %s, more than the %s of Revocations: tokens would outlive their revocation", issuer.TokenLifetime, list.TokenLifetime)
	case cfg.Lifetimes.Absolute > list.SessionLifetime:
		return refuse("Lifetimes.Absolute is %s, more than the SessionLifetime %s of Revocations: sessions would outlive a ban", cfg.Lifetimes.Absolute, list.SessionLifetime)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Revocations.ExpectIssuer(issuer.Issuer)
	m := &Manager{
		cfg: cfg, issuer: issuer, skew: list.MaxSkew.Milliseconds(), log: cfg.Logger,
		now: revoke.Now, parallel: 16,
	}
	m.mint = m.issue
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.eraser.init()
	return m, nil
}

// Close ends the Manager's background work and waits for it. It may be called more
// than once. Calls that are under way go on; sessions live on in the Store.
func (m *Manager) Close() error {
	m.cancel()
	m.wg.Wait()
	return nil
}

func (m *Manager) issue(ctx context.Context, r token.IssueRequest) (minted, error) {
	t, err := m.cfg.Issuer.Issue(ctx, r)
	if err != nil {
		return minted{}, err
	}
	return minted{t.Token(), t.Claims().ExpiresAt()}, nil
}

// begin refuses calls that cannot go on.
func (m *Manager) begin(ctx context.Context) error {
	if ctx == nil {
		return errors.New("nil context")
	}
	if m.ctx.Err() != nil {
		return ErrClosed
	}
	return nil
}

// after returns a context for what has to be done once the store has decided, whoever
// hangs up meanwhile: a thief could by it keep a theft from being told.
func (m *Manager) after(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
}

const finishTimeout = 15 * time.Second

// maxTries bounds how often a call reads anew what others have changed meanwhile.
const maxTries = 16

// What was read, and where. Revision zero: there is no record yet.
type (
	storedSession struct {
		*session
		key      string
		revision uint64
	}
	storedSubject struct {
		*subject
		key      string
		revision uint64
	}
)

// loadSession returns ErrNotFound if there is none.
func (m *Manager) loadSession(ctx context.Context, sid string) (storedSession, error) {
	key := recordKey("s", m.issuer.Issuer, sid)
	r, err := m.load(ctx, key)
	if err != nil {
		return storedSession{}, err
	}
	s, err := decodeSession(r.Value, sid)
	if err != nil {
		return storedSession{}, fmt.Errorf("%w: session %s: %w", ErrStore, sid, err)
	}
	return storedSession{s, key, r.Revision}, nil
}

// loadSubject returns an empty record if there is none.
func (m *Manager) loadSubject(ctx context.Context, sub string) (storedSubject, error) {
	key := recordKey("u", m.issuer.Issuer, sub)
	r, err := m.load(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return storedSubject{&subject{V: recordVersion}, key, 0}, nil
	}
	if err != nil {
		return storedSubject{}, err
	}
	s, err := decodeSubject(r.Value)
	if err != nil {
		return storedSubject{}, fmt.Errorf("%w: a subject: %w", ErrStore, err)
	}
	return storedSubject{s, key, r.Revision}, nil
}

func (m *Manager) load(ctx context.Context, key string) (Record, error) {
	r, err := m.cfg.Store.Load(ctx, key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return r, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return r, err
}

// saveSession writes s where the store still has that revision. The error matches
// ErrConflict if it has not, and ErrStore if nobody knows.
func (m *Manager) saveSession(ctx context.Context, key string, revision uint64, s *session) (uint64, error) {
	at, _ := s.deadline(&m.cfg.Lifetimes)
	if s.Ended != 0 {
		at = max(at, s.Ended+m.issuer.TokenLifetime.Milliseconds())
	}
	return m.save(ctx, key, revision, s, at)
}

func (m *Manager) saveSubject(ctx context.Context, r storedSubject, s *subject) (uint64, error) {
	// A cutoff is remembered for as long as an authentication counts.
	at := s.Cutoff + m.skew + max(m.cfg.Lifetimes.Absolute, m.issuer.TokenLifetime).Milliseconds()
	for _, l := range s.Live {
		at = max(at, l.Until)
	}
	if s.Op != "" {
		at = max(at, s.At+m.cfg.Revocations.Config().SessionLifetime.Milliseconds())
	}
	return m.save(ctx, r.key, r.revision, s, at)
}

func (m *Manager) save(ctx context.Context, key string, revision uint64, r any, until int64) (uint64, error) {
	b, err := encodeRecord(r)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrStore, err)
	}
	next, err := m.cfg.Store.Save(ctx, key, b, revision, time.UnixMilli(until).Add(keepRecord))
	if err != nil && !errors.Is(err, ErrConflict) {
		err = fmt.Errorf("%w: %w", ErrStore, err)
	}
	return next, err
}
