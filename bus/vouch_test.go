package bus

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Who edits the stream to forget has 2 s in which acknowledgements still count, however
// often is published. What was acknowledged meanwhile is published again after the mend.
func TestEditedToForgetIsNoticed(t *testing.T) {
	for _, every := range []time.Duration{10 * time.Millisecond, 700 * time.Millisecond, 5 * time.Second} {
		t.Run(fmt.Sprintf("an event every %s", every), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &fakeServer{}
				c := dialFake(t, s)
				defer c.Close()
				b, err := Open(t.Context(), c, Config{Issuer: testIssuer})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				n := 0
				publish := func() error {
					n++
					_, err := b.Publish(t.Context(), revoke.Event{Kind: revoke.Session, Value: fmt.Sprintf("sid-%d.", n)})
					return err
				}
				for range 20 {
					if err := publish(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(every)
				}
				readings := s.asked()
				if publish() != nil || every < settingsAge/2 && s.asked() > readings+1 {
					t.Errorf("%d readings for one event", s.asked()-readings)
				}
				edited := time.Now()
				s.set(func() { s.maxAge = time.Minute })
				counted := n
				for {
					begun := time.Now()
					err := publish()
					if err != nil {
						if !errors.Is(err, ErrStreamUnsafe) {
							t.Fatalf("refused with %v", err)
						}
						break
					}
					counted = n
					if late := begun.Sub(edited); late > settingsAge {
						t.Fatalf("acknowledged %s after the edit", late)
					}
					time.Sleep(every)
				}
				// Whatever it has forgotten by then, it is given again.
				s.set(func() {
					s.maxAge = 0
					if every < time.Second { // a limit for each subject drops from the middle, which no position tells
						clear(s.stored[:len(s.stored)-1])
					} else {
						s.stored, s.subjects, s.base = nil, nil, s.base+len(s.stored)
					}
				})
				time.Sleep(2 * time.Minute)
				for i := 1; i <= counted; i++ {
					if !s.has(fmt.Sprintf("sid-%d.", i)) {
						t.Errorf("event %d of %d was not published again", i, counted)
					}
				}
				if err := publish(); err != nil {
					t.Error(err)
				}
				if st := b.Stats(); st.Losses != 1 || st.Pending != 0 || len(st.Unsafe) != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// A limit that was set and taken back between two readings has dropped the oldest: the
// stream's first sequence tells.
func TestForgottenBetweenTwoReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeServer{}
		c := dialFake(t, s)
		defer c.Close()
		b, err := Open(t.Context(), c, Config{Issuer: testIssuer})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for i := range 10 {
			if _, err := b.Publish(t.Context(), revoke.Event{Kind: revoke.Session, Value: fmt.Sprintf("sid-%d.", i)}); err != nil {
				t.Fatal(err)
			}
		}
		s.set(func() { s.stored, s.subjects, s.base = s.stored[5:], s.subjects[5:], s.base+5 })
		time.Sleep(2 * fillInterval)
		for i := range 10 {
			if !s.has(fmt.Sprintf("sid-%d.", i)) {
				t.Errorf("event %d was not published again", i)
			}
		}
		time.Sleep(time.Hour)
		if st := b.Stats(); st.Losses != 1 {
			t.Errorf("%d losses", st.Losses)
		}
	})
}
