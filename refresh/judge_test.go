package refresh

import (
	"testing"
	"testing/synctest"
	"time"
)

// A login is judged by the subject's cutoff to the millisecond: before it and at it refused, within
// MaxSkew after it in doubt, later passed; a cutoff further ahead than clocks may differ is nobody's
// reason to log in again.
func TestLoginsAreJudgedToTheMillisecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := instances(t, Web, 0)[0]
		now, skew := m.millis(), m.skew
		for _, c := range []struct {
			authenticated, cutoff int64 // from now
			want                  verdict
		}{
			{0, -skew - 1, passed},
			{0, -skew, unsure},
			{0, -1, unsure},
			{0, 0, refused},
			{0, skew, refused},
			{0, skew + 1, future},
			{-5000, -5001 - skew, passed},
			{-5000, -5000 - skew, unsure},
			{-5000, -5001, unsure},
			{-5000, -5000, refused},
			{skew, skew, refused},
			{skew + 1, skew + 1, future},
			{skew + 2, skew + 1, unsure}, // Login has refused it before
		} {
			l := &Login{Subject: "u", Client: "web", AuthTime: time.UnixMilli(now + c.authenticated)}
			if got := m.judge(now+c.cutoff, now, l); got != c.want {
				t.Errorf("authenticated %d, cutoff %d: %d, want %d", c.authenticated, c.cutoff, got, c.want)
			}
		}
		if got := m.judge(0, now, &Login{Subject: "u", Client: "web", AuthTime: time.UnixMilli(now)}); got != passed {
			t.Errorf("without a cutoff: %d", got)
		}
	})
}
