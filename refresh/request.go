package refresh

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/hybridtoken/hybridtoken/token"
)

// A Request is what a client asks of [Manager.Refresh]. It never shows its token to fmt,
// slog or encoding/json.
type Request struct {
	// Token is the refresh token as the client sent it. What is none of ours, empty text
	// too, is [ErrLoginAgain].
	Token string

	// Client is the client_id that presents the token, as it authenticated itself or, if
	// it is a public client, as it says (RFC 6749 section 6). Required; another than the
	// session's is [ErrClient].
	Client string

	// Binding is the key whose possession the client has proven: [token.DPoP.Thumbprint]
	// or [token.CertificateThumbprint]. A session bound to a key is refreshed only with it
	// (RFC 9449 section 5), and one that is not only with none: all else is [ErrPossession].
	// Zero: none was proven.
	Binding token.Binding

	// Prove, if it is set, is asked for Binding, at most once: when Token is known to be of a
	// session of Client's that goes on. Strangers can make keys and proofs, but no such token,
	// so they cannot fill the memory of used proofs, as they could if [token.DPoP.Thumbprint]
	// were called beforehand. Its error becomes [ErrTryAgain] if it matches
	// [token.ErrUnavailable], and [ErrPossession] otherwise. Nil: Binding counts.
	Prove func() (token.Binding, error)

	// InsecureUnbound refreshes a session that is bound to its device by [Manager.BindDevice]
	// without a proof: for a browser that cannot make one any more. Who has copied its cookies
	// refreshes then as if nothing were bound, and the user is not told; [Config].OnUnbound is.
	// Otherwise the error is ErrPossession.
	InsecureUnbound bool

	// Scope narrows the access token to these scopes (RFC 6749 section 6); the refresh
	// token keeps what was granted. One that was not granted is [ErrScope]. Nil: all that
	// was granted. Empty and not nil: none.
	Scope []string

	// Device is where the session lives now, see [Login].Device. Zero leaves it as it was.
	Device Device
}

// check refuses what no session could answer, and cuts what is too long to be kept.
func (r *Request) check() error {
	if r.Client == "" {
		return errors.New("field Client is empty: the token could be another client's")
	}
	if r.Prove != nil && !r.Binding.IsZero() {
		return errors.New("fields Binding and Prove are both set")
	}
	r.Device = r.Device.cut()
	return nil
}

// prove finds the Binding of a request whose token is one of s, if it is yet to be proven.
func (r *Request) prove(s *session) error {
	if r.Prove == nil || r.Client != s.Client {
		return nil
	}
	prove := r.Prove
	r.Prove = nil // who looks at the session again needs no second proof
	var err error
	switch r.Binding, err = prove(); {
	case errors.Is(err, token.ErrUnavailable):
		return fmt.Errorf("%w: %w", ErrTryAgain, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrPossession, err)
	}
	return nil
}

// allows returns the scope of the access token to be issued.
func (s *session) allows(r *Request) ([]string, error) {
	if r.Client != s.Client {
		return nil, ErrClient
	}
	if r.Binding != s.binding() {
		return nil, ErrPossession
	}
	if r.Scope == nil {
		return s.Scope, nil
	}
	for _, x := range r.Scope {
		if !slices.Contains(s.Scope, x) {
			return nil, ErrScope
		}
	}
	return slices.Clone(r.Scope), nil
}

// String names the client and no secret.
func (r Request) String() string { return fmt.Sprintf("refresh request of client %s", r.Client) }

// Format implements [fmt.Formatter]: every verb prints [Request.String].
func (r Request) Format(f fmt.State, _ rune) { fmt.Fprint(f, r.String()) }

// LogValue logs the client.
func (r Request) LogValue() slog.Value {
	return slog.GroupValue(slog.String("client_id", r.Client))
}

// MarshalJSON implements [json.Marshaler]: it encodes [Request.String].
func (r Request) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }
