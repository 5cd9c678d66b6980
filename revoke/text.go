package revoke

import "fmt"

// Numbers of this package may change between versions; their names, as text and so in
// JSON, do not.

// MarshalText returns [Kind.String]. It never fails.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText accepts the name on the wire, such as "session".
func (k *Kind) UnmarshalText(text []byte) error {
	parsed, ok := parseKind(string(text))
	if !ok {
		if len(text) > 16 { // longer than any: who knows what it is
			return fmt.Errorf("revoke: no kind of revocation: a text of %d bytes", len(text))
		}
		return fmt.Errorf("revoke: no kind of revocation: %q", text)
	}
	*k = parsed
	return nil
}

// MarshalText returns [State.String]. It never fails.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalText returns [Reason.String]. It never fails.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// MarshalText returns [Fault.String]. It never fails.
func (f Fault) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// MarshalText returns the wall clock's reading in UTC, as RFC 3339 has it with
// milliseconds; nothing for the zero Instant.
func (i Instant) MarshalText() ([]byte, error) {
	if i.IsZero() {
		return nil, nil
	}
	return i.Time().UTC().AppendFormat(nil, "2006-01-02T15:04:05.000Z07:00"), nil
}
