package publish

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
)

// What the process before had not had acknowledged is published by the next, without anybody
// asking for it.
func TestOutboxIsResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "outbox")
		o, _, _, err := openOutbox(path, testIssuer)
		if err != nil {
			t.Fatal(err)
		}
		waits := outboxRecord(t, "waits")
		waits.signature = ""
		if err := o.put(time.Now(), waits); err != nil {
			t.Fatal(err)
		}
		o.close()
		var log scripted.Pages
		s, b := newScripted(t, config{Logger: log.Everything(), OutboxFile: path})
		defer b.end()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if st := b.publisher.Status(); !s.Has("waits") || st.Acknowledged != 1 || st.Pending != 0 || st.Losses != 0 {
			t.Errorf("stored %t, %+v", s.Has("waits"), st)
		}
		if n := log.Count("publishing what was not acknowledged"); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}
