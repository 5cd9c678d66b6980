package versions_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// readByVersionBefore tests what the version before makes of files that this one has
// written, as UPGRADING.md says under "What reads what" and "The way back". It is a part of
// TestTwoVersionsSideBySide, since to build that version takes half a minute.
func readByVersionBefore(t *testing.T, program string) {
	dir := t.TempDir()
	reads := func(what, path string) string {
		t.Helper()
		out, err := exec.Command(program, what, path).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}

	t.Run("state file", func(t *testing.T) {
		path := filepath.Join(dir, "state")
		list, err := revoke.NewList(revoke.Config{Local: true, StateFile: path})
		if err != nil {
			t.Fatal(err)
		}
		for _, sid := range []string{"s1", "s3"} {
			if err := list.Apply(revoke.Now(), revoke.Event{Issuer: rig.Issuer, Kind: revoke.KindSession, Value: sid}); err != nil {
				t.Fatal(err)
			}
		}
		if err := list.SaveState(revoke.Now()); err != nil {
			t.Fatal(err)
		}
		got := reads("state", path)
		t.Logf("state file: %s", got)
		if want := "s1 true s2 false s3 true"; got != want {
			t.Errorf("read: %s, want %s", got, want)
		}
	})

	t.Run("keyring", func(t *testing.T) {
		path := filepath.Join(dir, "ring.json")
		former := reads("ring", path) // makes it
		written, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		store, err := issue.NewFileStore(path)
		if err != nil {
			t.Fatal(err)
		}
		ring, err := issue.OpenKeyring(rig.Within(t), store, issue.KeyringConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer ring.Close()
		if ring.Active().ID() != former {
			t.Errorf("%s signs, in the version before %s", ring.Active().ID(), former)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, written) {
			t.Errorf("opening it has changed the file: error %v", err)
		}
		if got := reads("ring", path); got != former {
			t.Errorf("opened by this version, then by the one before: %s, want %s", got, former)
		}
		if _, err := ring.Rotate(rig.Within(t)); err != nil {
			t.Fatal(err)
		}
		changed, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := reads("ring", path); !strings.HasPrefix(got, "true error: ") { // issue.ErrStoreCorrupt
			t.Errorf("changed by this version, then opened by the one before: %s", got)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, changed) {
			t.Errorf("the version before has changed what it does not understand: error %v", err)
		}
	})

	t.Run("outbox", func(t *testing.T) {
		br := rig.NewBroker(t, nil)
		rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
		path := filepath.Join(dir, "outbox")
		p := rig.NewProxy(t, br.URL())
		b := rig.Join(t, rig.Dial(t, p.URL()), bus.Config{OutboxFile: path}, nil)
		if _, err := b.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSession, Value: "acknowledged"}); err != nil {
			t.Fatal(err)
		}
		p.Hang()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := b.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: "pending"}); !errors.Is(err, bus.ErrKept) {
			t.Fatalf("published over a connection that hangs: %v", err)
		}
		b.Close()
		m := startBefore(t, program, "-url", br.URL(), "-inbox", "_INBOX", "-publishes", "-outbox", path, "-interval", "1s", "-staleness", "15s")
		for _, sid := range []string{"acknowledged", "pending"} {
			rig.Eventually(t, "the version before has published what was pending: "+sid, func() bool {
				return m.say("barrier") == "ok" && m.say("check %s", sid) == "revoked"
			})
		}
	})
}
