package refresh

import (
	"context"
	"log/slog"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// maxSessions bounds a subject's list of sessions.
const maxSessions = 1000

// A Publisher tells every service what is revoked. A [github.com/hybridtoken/hybridtoken/bus.Member]
// is one. It returns nil only when the event will reach them all. NewManager asks one that
// has a method Issuers() []string, as a Member has, for which issuers it publishes, and
// refuses it where its own is none of them: no logout would ever be told.
type Publisher interface {
	Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error)
}

// Config configures a [Manager].
type Config struct {
	// Issuer issues the access tokens. Required.
	Issuer *issue.Issuer

	// Store keeps the sessions. Required; all instances of the service share it.
	Store Store

	// Revocations is this process's replica of the denylist. Required: a refresh asks it
	// whether the session was revoked by anyone, and dates its token by how much it has
	// seen. Where it is stale, refreshes are told to try again.
	Revocations *revoke.List

	// Publisher tells the services. Required, unless Revocations is Local: then the
	// events are applied to it, and it must be the only replica there is.
	Publisher Publisher

	// Lifetimes of sessions and tokens. Zero means [HighSecurity]: 15 min without a refresh
	// end a session, and there is no Grace for a lost answer. Managers that share
	// Issuer and Store must have the same: each judges all sessions by its own, and ends
	// or does not list what has been idle for too long by them.
	Lifetimes Lifetimes

	// MaxSessions is how many sessions a subject may have at once; the login after that
	// ends the one that was not used for the longest time (OWASP ASVS 5.0, 7.1.2). Zero means 100; at most
	// 1,000.
	MaxSessions int

	// Ask is asked at each refresh whether the session may go on, and what it may claim
	// now: the user may have been disabled, or have other roles. An error means that the
	// application cannot tell, and the client is told to try again. It is called without
	// any lock held, perhaps more than once for a refresh, with the context of the call.
	// Nil: sessions go on.
	Ask func(ctx context.Context, s Session) (Answer, error)

	// OnReplay is called when a refresh token was used again after its window: it was
	// stolen, or the client has lost an answer for longer than that. The session is
	// dead when it is called. Where the store or the bus failed meanwhile, it is called
	// by the call that finishes the ending, perhaps a second time. OnGrace is called when one
	// was used again within its window and answered with its successor. They are called
	// before the call that found it returns, perhaps at once for several sessions, and
	// get no secret. OnLate is called in the same way when a late retry was answered, see
	// [Lifetimes].LateEvery; more than a few for one user are worth a look. Nil: nothing is
	// called.
	OnReplay, OnGrace, OnLate func(ctx context.Context, s Session)

	// OnUnbound is called when the refresh token of a session that is bound to its device
	// ([Manager.BindDevice]) came to [Manager.Refresh] without a proof of the key: somebody has copied
	// it, or the browser has lost the key. answered: [Request].InsecureUnbound was set, and
	// it was refreshed all the same. It is called in the same way, too. Nil: nothing is called.
	OnUnbound func(ctx context.Context, s Session, answered bool)

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
	// [issue.Request].Claims. Nil leaves them as they are.
	Claims map[string]any
}
