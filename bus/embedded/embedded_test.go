package embedded

import (
	"path/filepath"
	"testing"
)

// Invariant 9: what is acknowledged is on disk.
func TestEverythingIsSynced(t *testing.T) {
	for dir, want := range map[string]bool{filepath.Join(t.TempDir(), "bus"): true, "": false} {
		s, err := Start(t.Context(), Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.srv.JetStreamConfig().SyncAlways; got != want {
			t.Errorf("with directory %q: SyncAlways is %v", dir, got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
