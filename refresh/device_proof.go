package refresh

import (
	"fmt"
	"log/slog"
)

// A DeviceProof is what a browser sends of a device-bound session. It never shows the
// proof or the token to fmt, slog or encoding/json.
type DeviceProof struct {
	// Session is the id of the device-bound session, of [Grant.DeviceSession]: the header
	// Sec-Secure-Session-Id. [Manager.BindDevice] does not look at it.
	Session string

	// Proof is the JWT that the browser has signed: the header Secure-Session-Response, at
	// most 4 KiB. Empty: the browser has sent none.
	Proof string

	// URL is the one that it was sent to. A proof that names an audience must name this.
	URL string

	// Client is the client_id of the session. Required; another is [ErrClient].
	Client string

	// Token is the refresh token if it came along, and then it rotates. Empty, or none of
	// the session's: the session keeps the one that it has.
	Token string

	// Device is where the session lives now, see [Login].Device. Zero leaves it as it was.
	Device Device
}

// String names the client and no secret.
func (p DeviceProof) String() string { return "proof of a device for client " + p.Client }

// Format implements [fmt.Formatter]: every verb prints [DeviceProof.String].
func (p DeviceProof) Format(f fmt.State, _ rune) { fmt.Fprint(f, p.String()) }

// LogValue logs the client.
func (p DeviceProof) LogValue() slog.Value {
	return slog.GroupValue(slog.String("client_id", p.Client))
}

// MarshalJSON implements [json.Marshaler]: it encodes [DeviceProof.String].
func (p DeviceProof) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", p.String()), nil }

// A ChallengeError asks for a proof (HTTP 403, with the challenge): there was none, it was
// none by the session's key, or it was for a challenge that is used up or too old. Nothing was
// changed. That a proof comes again is no theft: a browser sends the same one until it is given
// another challenge. It is of the family [ErrTryAgain].
type ChallengeError struct {
	Session   string // [DeviceProof].Session
	Challenge string // for the next proof
	why       string
}

// Error says what was wrong with the proof and shows nothing of it.
func (e *ChallengeError) Error() string { return errChallenge.Error() + ": " + e.why }

// Unwrap makes it one of [ErrTryAgain].
func (e *ChallengeError) Unwrap() error { return errChallenge }

var errChallenge error = &member{ErrTryAgain, "a proof by the device's key is needed"}
