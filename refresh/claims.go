package refresh

import (
	"encoding/json"
	"fmt"
)

const maxClaimsBytes = 16 << 10

// encodeClaims returns custom claims as the record of a session keeps them.
func encodeClaims(claims map[string]any) (json.RawMessage, error) {
	if len(claims) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(claims)
	if err != nil {
		return nil, fmt.Errorf("field Claims: %w", err)
	}
	if len(b) > maxClaimsBytes {
		return nil, fmt.Errorf("field Claims have %d bytes, more than %d", len(b), maxClaimsBytes)
	}
	return b, nil
}

// decodeClaims returns what encodeClaims was given, each value as its JSON.
func decodeClaims(stored json.RawMessage) (map[string]any, error) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(stored, &values); err != nil {
		return nil, fmt.Errorf("%w: claims: %w", ErrStore, err)
	}
	claims := make(map[string]any, len(values))
	for name, value := range values {
		claims[name] = value
	}
	return claims, nil
}
