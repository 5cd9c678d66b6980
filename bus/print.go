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

// String shows no key, only whether there is one.
func (c Config) String() string {
	return fmt.Sprintf("bus.Config{Issuer: %q, Stream: %q, Name: %q, Signer: %t, Trust: %d, OutboxFile: %q, NoHeartbeats: %t, NoAnnouncements: %t}",
		c.Issuer, c.Stream, c.Name, c.Signer != nil, len(c.Trust), c.OutboxFile, c.NoHeartbeats, c.NoAnnouncements)
}

// Format implements [fmt.Formatter]: every verb prints [Config.String], but for %p, at
// which fmt asks no method.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue implements [slog.LogValuer].
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON returns [Config.String] as a JSON string. A Config is never read from JSON.
func (c Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// String names the stream and the issuer.
func (b *Bus) String() string {
	if b == nil {
		return "bus.Bus(nil)"
	}
	return fmt.Sprintf("bus.Bus{stream: %q, issuer: %q}", b.stream, b.cfg.Issuer)
}

// Format implements [fmt.Formatter]: every verb prints [Bus.String].
func (b *Bus) Format(f fmt.State, _ rune) { io.WriteString(f, b.String()) }

// LogValue implements [slog.LogValuer].
func (b *Bus) LogValue() slog.Value { return slog.StringValue(b.String()) }

// String tells where c is connected to, without a password.
func (c *Conn) String() string {
	if c == nil || c.link.Load() == nil {
		return "bus.Conn(nil)"
	}
	nc := c.nc()
	return fmt.Sprintf("bus.Conn{%s, %s}", nc.Status(), nc.ConnectedUrlRedacted())
}

// Format implements [fmt.Formatter]: every verb prints [Conn.String].
func (c *Conn) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue implements [slog.LogValuer].
func (c *Conn) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String names the stream and tells how the List that f feeds fares.
func (f *Follower) String() string {
	if f == nil || f.b == nil {
		return "bus.Follower(nil)"
	}
	return fmt.Sprintf("bus.Follower{stream: %q, list: %s}", f.b.stream, f.list)
}

// Format implements [fmt.Formatter]: every verb prints [Follower.String].
func (f *Follower) Format(s fmt.State, _ rune) { io.WriteString(s, f.String()) }

// LogValue implements [slog.LogValuer].
func (f *Follower) LogValue() slog.Value { return slog.StringValue(f.String()) }
