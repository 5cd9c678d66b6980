package revoke

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrRevoked is matched by the error for a token that a live event revokes.
	ErrRevoked = errors.New("revoked")

	// ErrUnavailable is the family of errors that mean "cannot know": the token may
	// be good. A server answers 503, never 401.
	ErrUnavailable = errors.New("revocation state unavailable")

	// ErrStale is matched by the error for a check that the replica cannot answer
	// within the policy. It is of the family [ErrUnavailable].
	ErrStale = fmt.Errorf("replica not fresh: %w", ErrUnavailable)

	// ErrFollowed is the error of following with a List that is followed already, or is
	// Local.
	ErrFollowed = errors.New("the list takes no feed")

	// ErrInvalidEvent is the family of errors for events that are refused before
	// they are published or applied.
	ErrInvalidEvent = errors.New("invalid revocation event")

	// ErrCredential is matched by the error for a credential where an identifier or a text
	// for people belongs: a whole token as a jti, a refresh token as a sid, a cookie in a
	// reason. Published it would revoke nothing, and everybody who reads the stream would have
	// it. The error names the field and the form, never the text. What was about to be
	// published in that way has perhaps been logged elsewhere as well: revoke it. It is of the
	// family [ErrInvalidEvent].
	ErrCredential = fmt.Errorf("%w: a credential", ErrInvalidEvent)

	// ErrStateFile is the family of errors for a state file that is not used: corrupt,
	// cut short, too large, another program's or of a version to come, another List's, or open
	// to others.
	ErrStateFile = errors.New("state file not used")
)

// A RevokedError tells which kind of event refused a token. It matches [ErrRevoked].
// [errors.As] finds it in the error of a check, and gives each caller its own.
type RevokedError struct {
	Kind Kind
}

func (e *RevokedError) Error() string { return "revoke: token revoked by " + e.Kind.String() }

// Is reports whether target is [ErrRevoked].
func (e *RevokedError) Is(target error) bool { return target == ErrRevoked }

// A StaleError tells why a replica could not vouch for a token. It matches
// [ErrStale] and [ErrUnavailable].
type StaleError struct {
	State  State
	Reason Reason
	Age    time.Duration // since the proven instant; negative if nothing is proven yet
}

func (e *StaleError) Error() string {
	if e.Age < 0 {
		return fmt.Sprintf("revoke: replica %s (%s)", e.State, e.Reason)
	}
	return fmt.Sprintf("revoke: replica %s (%s), proven %s ago", e.State, e.Reason, e.Age.Round(time.Millisecond))
}

// Is reports whether target is [ErrStale] or [ErrUnavailable].
func (e *StaleError) Is(target error) bool { return target == ErrStale || target == ErrUnavailable }

// invalid names the field of an event and what is wrong with it.
func invalid(format string, args ...any) error {
	return fmt.Errorf("revoke: %w: %s", ErrInvalidEvent, fmt.Sprintf(format, args...))
}

// A refusal is the error of a check that refuses: a value that nobody can change, and
// that costs no allocation. [errors.As] makes a [*RevokedError] of it for each caller.
type refusal Kind

func (r refusal) Error() string { return (&RevokedError{Kind(r)}).Error() }

// Is reports whether target is [ErrRevoked].
func (r refusal) Is(target error) bool { return target == ErrRevoked }

// As fills a [*RevokedError], a new one each time.
func (r refusal) As(target any) bool {
	e, ok := target.(**RevokedError)
	if ok {
		*e = &RevokedError{Kind(r)}
	}
	return ok
}

// refusals are made once, so that a check makes none.
var refusals = func() (errs [kinds]error) {
	for k := KindToken; k <= KindIssuer; k++ {
		errs[k] = refusal(k)
	}
	return errs
}()
