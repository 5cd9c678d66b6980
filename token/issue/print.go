package issue

import (
	"fmt"
	"io"
	"log/slog"
)

// Format implements [fmt.Formatter]: every verb prints [Token.String].
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// Format implements [fmt.Formatter]: every verb prints [SealKey.String].
func (k SealKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// Format implements [fmt.Formatter]: every verb prints [SigningKey.String].
func (k SigningKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// Format implements [fmt.Formatter]: every verb prints [Keyring.String].
func (r *Keyring) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// String names the issuer.
func (i Issuer) String() string {
	return fmt.Sprintf("issue.Issuer{issuer: %q}", i.cfg.Issuer)
}

// Format implements [fmt.Formatter]: every verb prints [Issuer.String].
func (i Issuer) Format(f fmt.State, _ rune) { io.WriteString(f, i.String()) }

// LogValue implements [slog.LogValuer].
func (i Issuer) LogValue() slog.Value { return slog.StringValue(i.String()) }
