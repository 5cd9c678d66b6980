package publish

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
)

// A stream that was full when it was last read is not called so while nobody can say whether it
// still is, as in an election: the event goes out once somebody says that it is not.
func TestFullIsNotGuessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newScripted(t, config{})
		defer b.end()
		s.Do(func() { s.Info.State.Bytes = uint64(s.Info.Config.MaxBytes) / 100 * 95 })
		if _, err := b.publisher.facts(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * refusalInterval)
		s.Do(func() {
			s.Info.State.Bytes = 0
			s.API = func(m *nats.Msg) (string, bool) {
				return scripted.Refusal(jsadmin.CodeNotAvailable, "no leader"), strings.HasPrefix(m.Subject, "$JS.API.STREAM.INFO.")
			}
		})
		published := make(chan error, 1)
		go func() {
			_, err := b.publisher.Publish(t.Context(), sessionEvent(1))
			published <- err
		}()
		time.Sleep(5 * time.Second)
		s.Do(func() { s.API = nil })
		if err := <-published; err != nil {
			t.Error(err)
		}
	})
}
