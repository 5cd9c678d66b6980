package refresh

import "errors"

// Errors of a [Manager] are of two families, which a client acts on: [ErrLoginAgain],
// the session is over, and [ErrTryAgain], nobody can tell now and the session may be
// good. Match with errors.Is. An error of neither is the caller's mistake.
var (
	// ErrLoginAgain is the family of refusals (OAuth: invalid_grant, HTTP 400; a
	// browser's: 401). Trying again with the same refresh token is useless.
	ErrLoginAgain = errors.New("log in again")

	// ErrTryAgain is the family of "cannot tell" (HTTP 503 with Retry-After). The
	// client keeps its refresh token and tries again in a second or two.
	ErrTryAgain = errors.New("try again")
)

// The members of [ErrLoginAgain] that callers tell apart.
var (
	// ErrSessionExpired: the session was idle for too long, or has reached its end.
	ErrSessionExpired error = &member{ErrLoginAgain, "session expired"}
	// ErrEnded: the session was ended by a logout, an operator, a password change, the
	// denylist or the application's word at a refresh.
	ErrEnded error = &member{ErrLoginAgain, "session ended"}
	// ErrReused: the refresh token had been used before and was used again. No
	// matter by whom, the session is dead now. It is of the family [ErrEnded].
	ErrReused error = &member{ErrEnded, "refresh token used again"}
	// ErrClient: the session is another client's. Nothing was changed.
	ErrClient error = &member{ErrLoginAgain, "refresh token of another client"}
	// ErrPossession: the session is bound to a key whose possession was not proven
	// ([Request].Binding), or to none where one was. Nothing was changed.
	ErrPossession error = &member{ErrLoginAgain, "refresh token bound to another key"}
	// ErrSuperseded: the subject was logged out everywhere after, or about when, it was
	// authenticated. Authenticate it again, with what is its password now.
	ErrSuperseded error = &member{ErrLoginAgain, "logged out everywhere since the authentication"}
)

// The members of [ErrLoginAgain] that people read, in the error and in [Outcomes].
var (
	// errUnknown: no refresh token of ours, or one of a session that is forgotten.
	errUnknown error = &member{ErrLoginAgain, "unknown refresh token"}
	// errTooLate: the refresh token had been used before, and nobody can tell this retry
	// from a theft, since for a time none could be answered. Nothing was changed; anyone who
	// holds the successor goes on.
	errTooLate error = &member{ErrLoginAgain, "refresh token retried too late"}
)

// The members of [ErrTryAgain] that callers tell apart.
var (
	// ErrStore: the [Store] could not do its work, or holds what this version of the
	// package does not understand.
	ErrStore error = &member{ErrTryAgain, "session store failed"}
	// ErrPending: only half is done. Either what is over is over in the store, and the event
	// that tells the services could not be published: that is recorded, and finished by the
	// next call that comes upon it, or by a Manager that runs, about once a minute. Or the
	// services know it, and the store could not end the sessions: then they get no token
	// while the event lives. Call again to have all done.
	ErrPending error = &member{ErrTryAgain, "revocation pending"}
)

// The members of [ErrTryAgain] that people read, in the error and in [Outcomes].
var (
	// errBusy: others use the session, or its subject, at the same time, more often than is
	// answered at once.
	errBusy error = &member{ErrTryAgain, "session busy"}
	// errClock: a clock is off, so that nothing is minted, and nobody's session taken for
	// expired or stolen. It is this process's, by the bus's ([revoke.List.ClockOff]), or that
	// of another instance or publisher, which has dated a cutoff or a session ahead.
	errClock error = &member{ErrTryAgain, "a clock is off"}
	// errMint: no access token could be issued, or the one that was issued would be refused:
	// the key that signs is revoked, or something that concerns the session meanwhile.
	errMint error = &member{ErrTryAgain, "access token not issued"}
	// errAsk: the application, asked whether the session may go on, could not tell.
	errAsk error = &member{ErrTryAgain, "application did not answer"}
)

// What is the caller's to mend.
var (
	// ErrScope: a wider scope was asked for than was granted (OAuth: invalid_scope).
	ErrScope = errors.New("scope exceeds what was granted")
	// ErrRequest: the [Request] of a refresh, or the subject or session id of a logout, that
	// is missing or cannot be.
	ErrRequest = errors.New("request refused")
	// ErrLogin: a [Login] that lacks something or says what cannot be.
	ErrLogin = errors.New("login refused")
	// ErrClosed: the Manager is closed.
	ErrClosed = errors.New("closed")
)

// A member is an error of a family.
type member struct {
	family error
	text   string
}

func (m *member) Error() string { return m.text }

func (m *member) Unwrap() error { return m.family }
