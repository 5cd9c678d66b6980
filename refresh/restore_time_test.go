package refresh_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// The time of a backup is between 1970 and what another instance's clock may show now, each to the
// millisecond; what cannot be one ends no session.
func TestTimesOfBackups(t *testing.T) {
	for name, c := range map[string]struct {
		at   func(now time.Time) time.Time
		good bool
		ends bool // a session that began now
	}{
		"1970":                  {func(time.Time) time.Time { return time.UnixMilli(0) }, true, false},
		"before 1970":           {func(time.Time) time.Time { return time.UnixMilli(-1) }, false, false},
		"a minute ago":          {func(now time.Time) time.Time { return now.Add(-time.Minute) }, true, false},
		"now":                   {func(now time.Time) time.Time { return now }, true, true},
		"as clocks may differ":  {func(now time.Time) time.Time { return now.Add(2 * time.Second) }, true, true},
		"later than clocks are": {func(now time.Time) time.Time { return now.Add(2*time.Second + time.Millisecond) }, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t)
			time.Sleep(time.Hour)
			g := s.login(t)
			if err := s.DeclareRestore(t.Context(), c.at(time.Now())); (err == nil) != c.good {
				t.Errorf("%s: %v", name, err)
			}
			if c.ends {
				s.refused(t, g, refresh.ErrEnded)
				return
			}
			s.refresh(t, g)
		})
	}
}
