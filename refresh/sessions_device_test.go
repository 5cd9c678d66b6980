package refresh_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// The device carries over to the session that replaces another, unless the login names one.
func TestDeviceCarriesOver(t *testing.T) {
	first, other := refresh.Device{Label: "Firefox", Address: "192.0.2.7"}, refresh.Device{Label: "Safari"}
	for _, c := range []struct{ had, named, want refresh.Device }{
		{first, refresh.Device{}, first}, {first, other, other}, {refresh.Device{}, other, other}, {refresh.Device{}, refresh.Device{}, refresh.Device{}},
	} {
		s := newSystem(t)
		g := s.login(t, func(l *refresh.Login) { l.Device = c.had })
		if _, err := s.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now(), Device: c.named}); err != nil {
			t.Fatal(err)
		}
		list, err := s.Sessions(t.Context(), "user-1")
		if err != nil || len(list) != 1 || list[0].Device != c.want {
			t.Errorf("%+v, then %+v: %+v, %v", c.had, c.named, list, err)
		}
	}
}

// The page of a user's devices shows the newest login first, and of those of the same moment the
// same one first each time.
func TestNewestLoginComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		var want []string
		for range 4 {
			moment := []string{s.login(t).SessionID, s.login(t).SessionID}
			slices.Sort(moment)
			want = append(moment, want...)
			time.Sleep(time.Second)
		}
		for range 3 {
			list, err := s.Sessions(t.Context(), "user-1")
			var got []string
			for _, x := range list {
				got = append(got, x.ID)
			}
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("listed are %q, want %q; %v", got, want, err)
			}
		}
	})
}
