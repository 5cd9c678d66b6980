package refresh_test

import (
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A proof that names its device updates what the user's page of devices shows; one that names
// none leaves it as it was, at a refresh and at a registration.
func TestDeviceOfABoundSession(t *testing.T) {
	s := newSystem(t)
	first := refresh.Device{Label: "Chromium 156", Address: "192.0.2.7"}
	g := s.login(t, offering, func(l *refresh.Login) { l.Device = first })
	shows := func(when string, want refresh.Device) {
		t.Helper()
		if list, err := s.Sessions(t.Context(), "user-1"); err != nil || len(list) != 1 || list[0].Device != want {
			t.Errorf("%s: %+v, %v, want %+v", when, list, err, want)
		}
	}
	b, _ := s.register(t, g)
	shows("registered without", first)
	moved := refresh.Device{Label: "Chromium 157", Address: "198.51.100.3"}
	s.use(t, b, func(p *refresh.DeviceProof) { p.Device = moved })
	shows("refreshed with another", moved)
	s.use(t, b)
	shows("refreshed without", moved)
	again := s.login(t, offering, func(l *refresh.Login) { l.Subject = "user-2" })
	k := &bound{deviceKey: newDeviceKey(t)}
	p := k.registering(again)
	p.Device = moved
	if _, err := s.BindDevice(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Sessions(t.Context(), "user-2"); err != nil || len(list) != 1 || list[0].Device != moved {
		t.Errorf("registered with another: %+v, %v", list, err)
	}
}
