package refresh

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A session that begins in the future, by the clock of another instance, is waited for until its
// tokens may be dated so: for as long as clocks and cutoffs allow, and no longer.
func TestSessionThatBeginsInTheFuture(t *testing.T) {
	const ms = time.Millisecond
	skew, slack := 2*time.Second, 4*time.Second
	for ahead, want := range map[time.Duration]struct {
		waits time.Duration
		err   error
	}{
		-time.Hour:        {0, nil},
		0:                 {0, nil},
		skew:              {0, nil},
		skew + ms:         {ms, nil},
		skew + slack:      {slack, nil},
		skew + slack + ms: {0, ErrClock},
		time.Hour:         {0, ErrClock},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := instances(t, Web, 0)[0]
			if m.skew != skew.Milliseconds() || m.slack != slack.Milliseconds() {
				t.Fatal(m.skew, m.slack)
			}
			began := time.Now()
			s := &session{Start: m.millis() + ahead.Milliseconds()}
			at, err := m.issuedAt(t.Context(), s)
			if !errors.Is(err, want.err) || time.Since(began) != want.waits {
				t.Errorf("%s ahead: after %s: %v", ahead, time.Since(began), err)
			}
			if err == nil && at != max(s.Start, m.millis()) {
				t.Errorf("%s ahead: dated %d ms from now", ahead, at-m.millis())
			}
			if want.waits == 0 {
				return
			}
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			s.Start = m.millis() + ahead.Milliseconds()
			if _, err := m.issuedAt(gone, s); !errors.Is(err, ErrTryAgain) {
				t.Errorf("%s ahead, hung up: %v", ahead, err)
			}
		})
	}
}

// A call that tries again after conflicts waits, and if its caller hangs up fails by its kind of error; the
// first try comes at once.
func TestBackingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := instances(t, Web, 0)[0]
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for _, kind := range []error{ErrBusy, ErrStore} {
			if err := m.backingOff(gone, kind)(0); err != nil {
				t.Errorf("the first try: %v", err)
			}
			if err := m.backingOff(gone, kind)(5); !errors.Is(err, kind) || !errors.Is(err, context.Canceled) {
				t.Errorf("hung up: %v, want %v", err, kind)
			}
			if err := m.backingOff(t.Context(), kind)(5); err != nil {
				t.Error(err)
			}
		}
		for try := range 40 {
			began := time.Now()
			if err := backOff(t.Context(), try); err != nil || time.Since(began) > 128*time.Millisecond {
				t.Errorf("try %d: after %s: %v", try, time.Since(began), err)
			}
		}
	})
}

// A retry, too, is given no token of before its session begins: it is told to try again, which
// ends nothing, and has the same successor once the moment has come.
func TestRetryOfASessionThatBeginsInTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := instances(t, Web, 20*time.Second, 0)
		ahead, right := two[0], two[1]
		call := Request{Token: ahead.mustLogin(t).RefreshToken(), Client: "web"}
		next, err := ahead.Refresh(t.Context(), call)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := right.Refresh(t.Context(), call); !errors.Is(err, ErrClock) || !errors.Is(err, ErrTryAgain) || errors.Is(err, ErrLoginAgain) {
			t.Errorf("before it begins: %v", err)
		}
		time.Sleep(20 * time.Second)
		if again, err := right.Refresh(t.Context(), call); err != nil || again.RefreshToken() != next.RefreshToken() {
			t.Errorf("once it has begun: %v, or another successor", err)
		}
	})
}
