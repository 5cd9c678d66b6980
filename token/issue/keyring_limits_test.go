package issue

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// Each limit of a KeyringConfig: what lies exactly at it is taken, and what lies one beyond it
// is refused with the name of the field.
func TestKeyringConfigAtItsLimits(t *testing.T) {
	const day = 24 * time.Hour
	shortest := func(lifetime time.Duration) time.Duration { // for which as many keys as may be are published
		c := KeyringConfig{TokenLifetime: lifetime, RotateEvery: day, AnnounceFor: time.Hour}
		c, err := c.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		return c.retireFor()/(shape.MaxKeys-2) + 1 // the smallest by which it is divided to no more than MaxKeys-3
	}(60 * day)
	for _, c := range []struct {
		field     string
		at, above KeyringConfig
	}{
		{"MaxAge", KeyringConfig{MaxAge: time.Second}, KeyringConfig{MaxAge: time.Second - 1}},
		{"MaxAge", KeyringConfig{MaxAge: day}, KeyringConfig{MaxAge: day + 1}},
		{"RotateEvery", KeyringConfig{RotateEvery: revoke.MaxLifetime}, KeyringConfig{RotateEvery: revoke.MaxLifetime + 1}},
		{"RotateEvery", KeyringConfig{RotateEvery: shortest, AnnounceFor: time.Hour, TokenLifetime: 60 * day}, KeyringConfig{RotateEvery: shortest - 1, AnnounceFor: time.Hour, TokenLifetime: 60 * day}},
		{"RotateEvery", KeyringConfig{RotateEvery: time.Hour + time.Minute, AnnounceFor: time.Hour}, KeyringConfig{RotateEvery: time.Hour + time.Minute - 1, AnnounceFor: time.Hour}},
		{"AnnounceFor", KeyringConfig{AnnounceFor: 3 * time.Minute, MaxAge: time.Minute}, KeyringConfig{AnnounceFor: 3*time.Minute - 1, MaxAge: time.Minute}},
		{"MaxSkew", KeyringConfig{MaxSkew: time.Hour}, KeyringConfig{MaxSkew: time.Hour + 1}},
		{"MaxSkew", KeyringConfig{MaxSkew: 1}, KeyringConfig{MaxSkew: -1}},
		{"TokenLifetime", KeyringConfig{TokenLifetime: time.Second}, KeyringConfig{TokenLifetime: time.Second - 1}},
		{"TokenLifetime", KeyringConfig{TokenLifetime: 90 * day}, KeyringConfig{TokenLifetime: 90*day + 1}},
		{"RefreshInterval", KeyringConfig{RefreshInterval: 1}, KeyringConfig{RefreshInterval: -1}},
		{"RefreshInterval", KeyringConfig{RefreshInterval: 55 * time.Minute, AnnounceFor: 2 * time.Hour}, KeyringConfig{RefreshInterval: 55*time.Minute + 1, AnnounceFor: 2 * time.Hour}},
	} {
		if _, err := c.at.withDefaults(); err != nil {
			t.Errorf("%s, at the limit: %v", c.field, err)
		}
		if _, err := c.above.withDefaults(); err == nil || !strings.Contains(err.Error(), "KeyringConfig."+c.field+" ") {
			t.Errorf("%s, beyond it: error %v", c.field, err)
		}
	}
}

// What an empty field stands for, in numbers: instances of two versions must agree.
func TestKeyringConfigDefaults(t *testing.T) {
	for _, c := range []struct{ given, want KeyringConfig }{
		{KeyringConfig{}, KeyringConfig{MaxAge: 5 * time.Minute, RotateEvery: 720 * time.Hour, AnnounceFor: 24 * time.Hour, TokenLifetime: time.Hour, MaxSkew: time.Minute, RefreshInterval: 30 * time.Second}},
		{KeyringConfig{RotateEvery: 10 * time.Hour}, KeyringConfig{MaxAge: 5 * time.Minute, RotateEvery: 10 * time.Hour, AnnounceFor: 5 * time.Hour, TokenLifetime: time.Hour, MaxSkew: time.Minute, RefreshInterval: 30 * time.Second}},
		{KeyringConfig{RotateEvery: 40 * time.Minute, MaxAge: 10 * time.Second, AnnounceFor: 50 * time.Second},
			KeyringConfig{MaxAge: 10 * time.Second, RotateEvery: 40 * time.Minute, AnnounceFor: 50 * time.Second, TokenLifetime: time.Hour, MaxSkew: time.Minute, RefreshInterval: 10 * time.Second}},
	} {
		got, err := c.given.withDefaults()
		show := func(c KeyringConfig) string {
			return fmt.Sprint(c.MaxAge, c.RotateEvery, c.AnnounceFor, c.TokenLifetime, c.MaxSkew, c.RefreshInterval)
		}
		if err != nil || show(got) != show(c.want) || got.Algorithm != token.EdDSA {
			t.Errorf("%s: %s, want %s, error %v", show(c.given), show(got), show(c.want), err)
		}
	}
}

// The names of the records are a format: by another name a ring that is stored is not found,
// and the service begins a new one.
func TestRingKeyIsAFormat(t *testing.T) {
	for issuer, want := range map[string]string{"": "ring", "https://auth.example.com": "ring.HOGEh-C5v-_IJZ13m_6YdC08ubyxmvltDNY-EnSxaKI"} {
		if got := ringKey(issuer); got != want {
			t.Errorf("the ring of %q is stored as %s, not as %s", issuer, got, want)
		}
	}
}

// A record that has members of both kinds of ring, one a row, is refused, sealed or not: which
// of them counts nobody could say.
func TestRingOfBothKinds(t *testing.T) {
	codec := ringCodec{issuer: "i", record: "r", seals: fuzzSeal()}
	set, err := (&KeyringConfig{Algorithm: token.EdDSA}).plan().first(nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := codec.encode(set)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := encodePlain(set)
	if err != nil {
		t.Fatal(err)
	}
	codec.openPlain = true
	for _, c := range []struct{ blob, members, why string }{
		{string(sealed), ``, ""}, {string(plain), ``, ""},
		{string(sealed), `"gen":1,`, "both kinds"}, {string(sealed), `"keys":[],`, "both kinds"},
		{string(plain), `"seal":"fuzz",`, "both kinds"}, {string(plain), `"box":"AAAA",`, "both kinds"},
		{string(sealed), `"more":1,`, "do not know"}, {string(plain), `"more":1,`, "do not know"},
	} {
		_, err := codec.decode([]byte("{" + c.members + c.blob[1:]))
		if (err == nil) != (c.why == "") || err != nil && (!errors.Is(err, ErrStoreCorrupt) || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s in %.40s: error %v, want %q", c.members, c.blob, err, c.why)
		}
	}
	_, err = codec.decode([]byte(strings.Replace(string(plain), `"state"`, `"more":1,"state"`, 1)))
	if !errors.Is(err, ErrStoreCorrupt) || !strings.Contains(err.Error(), "do not know") {
		t.Errorf("a member of a key: error %v", err)
	}
}

// Whole seconds are those before, also before 1970.
func TestFloorSecond(t *testing.T) {
	for ms, want := range map[int64]int64{0: 0, 1: 0, 999: 0, 1000: 1000, 1001: 1000, -1: -1000, -999: -1000, -1000: -1000, -1001: -2000, -2000: -2000} {
		if got := floorSecond(ms); got != want {
			t.Errorf("%d ms begin in the second %d, want %d", ms, got, want)
		}
	}
}

// No key is made for an algorithm that is none; each other makes one that shows its id and
// nothing else.
func TestGeneratedSigningKeys(t *testing.T) {
	for _, alg := range []token.Algorithm{"", "none", "HS256", "es256"} {
		if k, err := generateSigningKey(alg); k != nil || !errors.Is(err, token.ErrKey) {
			t.Errorf("%q: %v, error %v", alg, k, err)
		}
	}
	k, err := generateSigningKey(token.ES256)
	if err != nil {
		t.Fatal(err)
	}
	for verb, text := range map[string]string{"value": fmt.Sprintf("%v %s %#v", *k, *k, *k), "pointer": fmt.Sprintf("%v %s %#v", k, k, k), "slog": k.LogValue().String()} {
		if !strings.Contains(text, k.key.ID()) || strings.Contains(text, "PANIC") {
			t.Errorf("%s: printed as %s", verb, text)
		}
	}
	var none SigningKey
	if text := fmt.Sprintf("%v %s %#v %v", none, none, none, none.LogValue()); strings.Count(text, "issue.SigningKey{}") != 3 || strings.Contains(text, "PANIC") {
		t.Errorf("none is printed as %s", text)
	}
}
