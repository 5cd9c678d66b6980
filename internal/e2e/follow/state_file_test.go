//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package follow_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Invariants 3 and 9: a state file that is, or gets in the way of, an outbox would take
// what waits there with it. Followers refuse that, however the two are spelt, in the same
// program and in another.
func TestStateFileIsNoOutbox(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	dir := t.TempDir()
	outbox := filepath.Join(dir, "outbox")
	other := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, other); err != nil {
		t.Fatal(err)
	}
	b := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{OutboxFile: outbox}, nil)
	rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "kept"})
	soft, hard := filepath.Join(t.TempDir(), "soft"), filepath.Join(dir, "hard")
	if err := errors.Join(os.Symlink(outbox, soft), os.Link(outbox, hard)); err != nil {
		t.Fatal(err)
	}
	cfg := rig.Quick
	refuse := func(names ...string) {
		t.Helper()
		for _, name := range names {
			cfg.StateFile = name
			if f, err := bus.Join(rig.Within(t), rig.Joining(rig.Dial(t, br.URL()), bus.Config{OutboxFile: outbox}, rig.NewList(t, cfg))); !errors.Is(err, revoke.ErrStateFile) || !strings.Contains(err.Error(), "outbox") {
				t.Errorf("%s: %v", name, err)
				if err == nil {
					f.Close()
				}
			}
		}
	}
	refuse(outbox, dir+"/./outbox", filepath.Join(other, "outbox"), soft, hard, outbox+".tmp", outbox+".lock")
	// A Member that knows nothing of that outbox follows, and leaves it alone.
	for _, name := range []string{outbox, filepath.Join(other, "outbox")} {
		cfg.StateFile = name
		l := rig.NewList(t, cfg)
		f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
		rig.WaitFresh(t, f)
		f.Close()
		if err := l.StateFile().Err; !errors.Is(err, revoke.ErrStateFile) || !strings.Contains(err.Error(), "outbox") {
			t.Errorf("%s: %v", name, err)
		}
	}
	after, err := os.ReadFile(outbox)
	if err != nil || !strings.Contains(string(after), "kept") {
		t.Errorf("the outbox: %q, %v", after, err)
	}
	// Good twins: beside it, and two Lists with a file each.
	b.Close()
	for name, box := range map[string]string{"state": outbox, "outbox.state": filepath.Join(dir, "another")} {
		cfg.StateFile = filepath.Join(dir, name)
		rig.WaitFresh(t, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{OutboxFile: box}, rig.NewList(t, cfg)))
	}
	// And the other way about: no Member takes a followed List's file for its outbox.
	if b, err := bus.Join(rig.Within(t), rig.Joining(rig.Dial(t, br.URL()), bus.Config{OutboxFile: cfg.StateFile}, nil)); !errors.Is(err, bus.ErrOutbox) {
		t.Errorf("an outbox where a List keeps its state: %v", err)
		if err == nil {
			b.Close()
		}
	}
}

// Two Lists with one state file, as while one version of a service makes way for the
// next: the second is fresh all the same, writes nothing while the first follows, and
// takes the file over then.
func TestTwoFollowersOneStateFile(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	cfg := rig.Quick
	cfg.StateFile = filepath.Join(t.TempDir(), "state")
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, cfg))
	next := rig.NewList(t, cfg)
	second := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, next)
	rig.WaitFresh(t, second)
	rig.WaitFresh(t, f)
	if s := next.StateFile(); !errors.Is(s.Err, revoke.ErrStateFile) || !s.Saved.IsZero() {
		t.Errorf("the second: %+v", s)
	}
	id := rig.RevokeSession(t, br.URL(), "known")
	rig.Barrier(t, f)
	rig.Barrier(t, second)
	f.Close()
	rig.MustRefuse(t, rig.NewList(t, cfg), id)
	later := rig.RevokeSession(t, br.URL(), "later")
	rig.Barrier(t, second)
	second.Close()
	if s := next.StateFile(); s.Err != nil || s.Saved.IsZero() {
		t.Errorf("the second, alone: %+v", s)
	}
	rig.MustRefuse(t, rig.NewList(t, cfg), id, later)
}
