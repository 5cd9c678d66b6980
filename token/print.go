package token

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// What bears a secret prints as its String says, whatever the verb: fmt asks a Stringer
// only for some, and would walk the fields for the others (%d, %t, %c).

// Format implements [fmt.Formatter]: every verb prints [Sender.String].
func (s Sender) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// MarshalJSON says what is there. A Sender is never read from JSON.
func (s Sender) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// Format implements [fmt.Formatter]: every verb prints [Claims.String].
func (c Claims) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// Format implements [fmt.Formatter]: every verb prints [Key.String].
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// Format implements [fmt.Formatter]: every verb prints [DPoPConfig.String].
func (c DPoPConfig) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// Format implements [fmt.Formatter]: every verb prints [DPoP.String].
func (d DPoP) Format(f fmt.State, _ rune) {
	if d.s == nil {
		io.WriteString(f, "token.DPoP{}")
		return
	}
	io.WriteString(f, d.String())
}

// Format implements [fmt.Formatter]: every verb prints [RemoteKeySet.String].
func (s *RemoteKeySet) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// String names the issuer whose tokens v accepts, or tells of how many.
func (v *Verifier) String() string {
	switch {
	case v == nil:
		return "token.Verifier(nil)"
	case v.sole != nil:
		return fmt.Sprintf("token.Verifier{issuer: %q}", v.sole.cfg.Issuer)
	}
	return fmt.Sprintf("token.Verifier{%d issuers}", len(v.issuers))
}

// Format implements [fmt.Formatter]: every verb prints [Verifier.String].
func (v *Verifier) Format(f fmt.State, _ rune) { io.WriteString(f, v.String()) }

// LogValue implements [slog.LogValuer].
func (v *Verifier) LogValue() slog.Value { return slog.StringValue(v.String()) }
