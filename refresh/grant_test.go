package refresh_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// What a device says of itself comes from strangers: it is cut, at the border of a
// character, and refuses no login and no refresh.
func TestLongDevicesAreCut(t *testing.T) {
	for name, text := range map[string]string{
		"ascii": strings.Repeat("x", 257), "at the limit": strings.Repeat("x", 256), "two bytes": strings.Repeat("é", 200), "three": strings.Repeat("€", 100), "four": "x" + strings.Repeat("😀", 64),
		"not UTF-8": strings.Repeat("\xff", 300), "cut in half": strings.Repeat("x", 255) + "\xe2\x82", "a megabyte": strings.Repeat("é", 1<<19), "mixed": strings.Repeat("a\xff", 200),
	} {
		s := newSystem(t)
		g := s.login(t, func(l *refresh.Login) { l.Device = refresh.Device{Label: text, Address: text} })
		check := func() {
			t.Helper()
			list, err := s.Sessions(t.Context(), "user-1")
			if err != nil || len(list) != 1 {
				t.Fatalf("%s: %v, %v", name, list, err)
			}
			for _, kept := range []string{list[0].Device.Label, list[0].Device.Address} {
				if !utf8.ValidString(kept) || len(kept) > 256 || kept == "" {
					t.Errorf("%s: kept %q", name, kept)
				}
				if utf8.ValidString(text) && (!strings.HasPrefix(text, kept) || len(kept) < min(len(text), 253)) {
					t.Errorf("%s: kept %q", name, kept)
				}
			}
		}
		check()
		s.refresh(t, g, func(r *refresh.Request) { r.Device = refresh.Device{Label: text + text, Address: text} })
		check()
	}
}
