package natskv

import (
	"fmt"
	"io"
	"log/slog"
)

// A Store changes while it is printed, and holds a connection whose options hold a
// password: it prints as its String says, whatever the verb.

// String names the bucket.
func (s *Store) String() string {
	if s == nil {
		return "natskv.Store(nil)"
	}
	return fmt.Sprintf("natskv.Store{bucket: %q}", s.bucket)
}

// Format implements [fmt.Formatter]: every verb prints [Store.String].
func (s *Store) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue implements [slog.LogValuer].
func (s *Store) LogValue() slog.Value { return slog.StringValue(s.String()) }
