package embedded

import (
	"fmt"
	"io"
	"log/slog"
)

// A Server is at work while it is printed: it prints as its String says, whatever the verb.

// String tells what it is.
func (s *Server) String() string {
	if s == nil {
		return "embedded.Server(nil)"
	}
	return fmt.Sprintf("embedded.Server{in memory: %t}", s.temp != "")
}

// Format implements [fmt.Formatter]: every verb prints [Server.String].
func (s *Server) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue implements [slog.LogValuer].
func (s *Server) LogValue() slog.Value { return slog.StringValue(s.String()) }
