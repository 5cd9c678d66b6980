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

// String tells how many records there are.
func (s *MemoryStore) String() string {
	if s == nil {
		return "refresh.MemoryStore(nil)"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("refresh.MemoryStore{%d records}", len(s.records))
}

// Format implements [fmt.Formatter]: every verb prints [MemoryStore.String].
func (s *MemoryStore) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue implements [slog.LogValuer].
func (s *MemoryStore) LogValue() slog.Value { return slog.StringValue(s.String()) }

// String shows how long the record is and none of it.
func (r Record) String() string {
	return fmt.Sprintf("refresh.Record{%d bytes, revision %d}", len(r.Value), r.Revision)
}

// Format implements [fmt.Formatter]: every verb prints [Record.String].
func (r Record) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// LogValue implements [slog.LogValuer].
func (r Record) LogValue() slog.Value { return slog.StringValue(r.String()) }
