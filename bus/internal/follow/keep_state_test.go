package follow

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// The state file of a List is written every ten to eleven seconds, and at the end.
func TestStateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, f := followScripted(t, config{}, revoke.Config{StateFile: filepath.Join(t.TempDir(), "state")})
		defer f.b.end()
		var last time.Time
		n, least, most := 0, time.Hour, time.Duration(0)
		began := time.Now()
		for i := 0; time.Since(began) < 20*time.Minute; i++ {
			time.Sleep(50 * time.Millisecond)
			if i%80 == 0 { // what has not changed is not written
				if _, err := f.b.publisher.Publish(t.Context(), sessionEvent(i)); err != nil {
					t.Fatal(err)
				}
			}
			st := f.list.StateFile()
			if st.Saved.Equal(last) {
				continue
			}
			if gap := st.Saved.Sub(last); !last.IsZero() {
				n++
				least, most = min(least, gap), max(most, gap)
			}
			last = st.Saved
		}
		if n < 105 || n > 121 || least < savePause || most > savePause+savePause/10 || most < savePause+savePause/20 {
			t.Errorf("%d writings in 20 minutes, %s to %s apart", n, least, most)
		}
		if _, err := f.b.publisher.Publish(t.Context(), sessionEvent(-1)); err != nil {
			t.Fatal(err)
		}
		if err := f.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.Close() // sooner than the next writing would come
		if st := f.list.StateFile(); time.Since(st.Saved) > time.Second || st.Failures != 0 {
			t.Errorf("%+v", st)
		}
	})
}
