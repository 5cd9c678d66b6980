package publish

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Who edits the stream to forget has 2 s in which acknowledgements still count, however
// often is published. What was acknowledged meanwhile is published again after the mend.
func TestEditedToForgetIsNoticed(t *testing.T) {
	for _, every := range []time.Duration{10 * time.Millisecond, 700 * time.Millisecond, 5 * time.Second} {
		t.Run(fmt.Sprintf("an event every %s", every), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := scripted.New(t)
				s.Delay = 50 * time.Millisecond
				c := dialScripted(t, s)
				defer c.Close()
				b, err := openCore(t, c, config{Issuers: []string{testIssuer}})
				if err != nil {
					t.Fatal(err)
				}
				defer b.close()
				n := 0
				publish := func() error {
					n++
					_, err := b.publisher.Publish(t.Context(), revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprintf("sid-%d.", n)})
					return err
				}
				for range 20 {
					if err := publish(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(every)
				}
				asked := func() (n int) {
					s.Do(func() { n = s.Asked })
					return n
				}
				readings := asked()
				if publish() != nil || every < settingsAge/2 && asked() > readings+1 {
					t.Errorf("%d readings for one event", asked()-readings)
				}
				edited := time.Now()
				s.Do(func() { s.Info.Config.MaxAge = time.Minute })
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
				s.Do(func() {
					s.Info.Config.MaxAge = 0
					if every < time.Second { // a limit for each subject drops from the middle, which no position tells
						s.Log = s.Log[len(s.Log)-1:]
					} else {
						s.Log, s.Info.State.FirstSeq = nil, s.Info.State.LastSeq+1
					}
				})
				time.Sleep(2 * time.Minute)
				for i := 1; i <= counted; i++ {
					if !s.Has(fmt.Sprintf("sid-%d.", i)) {
						t.Errorf("event %d of %d was not published again", i, counted)
					}
				}
				if err := publish(); err != nil {
					t.Error(err)
				}
				if st := b.publisher.Status(); st.Losses != 1 || st.Pending != 0 || len(st.Unsafe) != 0 {
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
		s := scripted.New(t)
		s.Delay = 50 * time.Millisecond
		c := dialScripted(t, s)
		defer c.Close()
		b, err := openCore(t, c, config{Issuers: []string{testIssuer}})
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		for i := range 10 {
			if _, err := b.publisher.Publish(t.Context(), revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprintf("sid-%d.", i)}); err != nil {
				t.Fatal(err)
			}
		}
		s.Do(func() { s.Log, s.Info.State.FirstSeq = s.Log[5:], 6 })
		time.Sleep(2 * fillInterval)
		for i := range 10 {
			if !s.Has(fmt.Sprintf("sid-%d.", i)) {
				t.Errorf("event %d was not published again", i)
			}
		}
		time.Sleep(time.Hour)
		if st := b.publisher.Status(); st.Losses != 1 {
			t.Errorf("%d losses", st.Losses)
		}
	})
}

// That there was no stream before an event was acknowledged says nothing about that event: the
// stream has been made since, and is read again.
func TestVouchHeedsNoOldNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := newScripted(t, config{})
		defer b.end()
		if _, err := b.publisher.ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		g := &b.publisher.gauge
		g.mu.Lock()
		g.err, g.failedAt, g.began = transport.ErrNoStream, time.Now(), time.Time{}
		g.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
		if err := b.publisher.vouch(t.Context(), time.Now()); err != nil {
			t.Errorf("a stream that is there: %v", err)
		}
	})
}
