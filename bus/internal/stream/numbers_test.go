package stream

import (
	"testing"
)

// The numbers that WIRE.md and the operators' documents rely on.
func TestNumbers(t *testing.T) {
	for name, c := range map[string]struct{ got, want any }{
		"schemaVersion": {schemaVersion, "1"},
		"metaSchema":    {metaSchema, "hybridtoken.schema"}, "metaTokenLifetime": {metaTokenLifetime, "hybridtoken.token_lifetime_ms"}, "metaSessionLifetime": {metaSessionLifetime, "hybridtoken.session_lifetime_ms"}, "metaMaxSkew": {metaMaxSkew, "hybridtoken.max_skew_ms"},
		"defaultMaxBytes": {defaultMaxBytes, 1 << 30},
		"minMaxBytes":     {minMaxBytes, 16 << 20},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, and %v is told", name, c.got, c.want)
		}
	}
}
