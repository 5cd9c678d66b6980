package issue_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A store that shows an older ring than an instance knows is given the newer one back, and that is
// told, once; on a normal day it is not.
func TestLostKeysAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		store := new(issue.MemoryStore)
		ring := openRing(t, store, issue.KeyringConfig{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		time.Sleep(36 * time.Hour)
		old := stored(t, store)
		next, err := ring.Rotate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if strings.Contains(logged.String(), "had lost the newest keys") {
			t.Errorf("nothing was lost: %s", &logged)
		}
		r, err := store.Load(t.Context(), issue.RingKey(forge.Issuer))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Save(t.Context(), issue.RingKey(forge.Issuer), old, r.Revision, time.Now().AddDate(100, 0, 0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := strings.Count(logged.String(), "had lost the newest keys"); n != 1 {
			t.Errorf("told %d times: %s", n, &logged)
		}
		if bytes.Equal(stored(t, store), old) || !slices.Contains(kids(ring), next.ID()) {
			t.Error("the newer ring was not put back")
		}
	})
}
