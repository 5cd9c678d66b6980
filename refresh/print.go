package refresh

import (
	"fmt"
	"io"
	"log/slog"
)

// What holds secrets, or changes while it is printed, prints as its String says, whatever
// the verb: fmt would otherwise walk the fields.

// Format implements [fmt.Formatter]: every verb prints [Grant.String].
func (g Grant) Format(f fmt.State, _ rune) { io.WriteString(f, g.String()) }

// String names the issuer.
func (m *Manager) String() string {
	if m == nil {
		return "refresh.Manager(nil)"
	}
	return fmt.Sprintf("refresh.Manager{issuer: %q}", m.issuer.Issuer)
}

// Format implements [fmt.Formatter]: every verb prints [Manager.String].
func (m *Manager) Format(f fmt.State, _ rune) { io.WriteString(f, m.String()) }

// LogValue implements [slog.LogValuer].
func (m *Manager) LogValue() slog.Value { return slog.StringValue(m.String()) }
