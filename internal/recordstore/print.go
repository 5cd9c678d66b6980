package recordstore

import (
	"fmt"
	"io"
	"log/slog"
)

// Records hold what is worth stealing, and a store changes while it is printed: both print
// as their String says, whatever the verb.

// String tells how many records there are.
func (s *MemoryStore) String() string {
	if s == nil {
		return "MemoryStore(nil)"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("MemoryStore{%d records}", len(s.records))
}

// Format implements [fmt.Formatter]: every verb prints [MemoryStore.String].
func (s *MemoryStore) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue implements [slog.LogValuer].
func (s *MemoryStore) LogValue() slog.Value { return slog.StringValue(s.String()) }

// String shows how long the record is and none of it.
func (r Record) String() string {
	return fmt.Sprintf("Record{%d bytes, revision %d}", len(r.Value), r.Revision)
}

// Format implements [fmt.Formatter]: every verb prints [Record.String].
func (r Record) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// LogValue implements [slog.LogValuer].
func (r Record) LogValue() slog.Value { return slog.StringValue(r.String()) }
