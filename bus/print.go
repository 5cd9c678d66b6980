package bus

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// What holds a key, or changes while it is printed, prints as its String says, whatever
// the verb: fmt would otherwise walk the fields. A [Config].Signer that is an
// ed25519.PrivateKey is a slice of bytes, which any print would show.

// String shows no key and no server URL, which may hold a password, only whether there is one.
func (c Config) String() string {
	return fmt.Sprintf("bus.Config{Servers: %t, Conn: %t, Issuers: %q, Stream: %q, Name: %q, Signer: %t, Trust: %d, OutboxFile: %q, NoHeartbeats: %t, NoAnnouncements: %t}",
		c.Servers != "", c.Conn != nil, c.Issuers, c.Stream, c.Name, c.Signer != nil, len(c.Trust), c.OutboxFile, c.NoHeartbeats, c.NoAnnouncements)
}

// Format implements [fmt.Formatter]: every verb prints [Config.String], but for %p, at
// which fmt asks no method.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue implements [slog.LogValuer].
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON returns [Config.String] as a JSON string. A Config is never read from JSON.
func (c Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// String names the stream, the issuers and the state of the List.
func (m *Member) String() string {
	if m == nil || m.core == nil {
		return "bus.Member(nil)"
	}
	list := "none"
	if l := m.core.cfg.List; l != nil {
		list = l.String()
	}
	return fmt.Sprintf("bus.Member{stream: %q, issuers: %q, list: %s}", m.core.StreamName, m.core.cfg.Issuers, list)
}

// Format implements [fmt.Formatter]: every verb prints [Member.String].
func (m *Member) Format(s fmt.State, _ rune) { io.WriteString(s, m.String()) }

// LogValue implements [slog.LogValuer].
func (m *Member) LogValue() slog.Value { return slog.StringValue(m.String()) }
