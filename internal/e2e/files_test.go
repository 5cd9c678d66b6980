//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Invariants 3 and 9: a state file that is, or gets in the way of, an outbox would take
// what waits there with it. Followers refuse that, however the two are spelt, in the same
// program and in another.
func TestStateFileIsNoOutbox(t *testing.T) {
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	dir := t.TempDir()
	outbox := filepath.Join(dir, "outbox")
	other := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, other); err != nil {
		t.Fatal(err)
	}
	b := join(t, dial(t, br.url()), bus.Config{OutboxFile: outbox}, nil)
	publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "kept"})
	soft, hard := filepath.Join(t.TempDir(), "soft"), filepath.Join(dir, "hard")
	if err := errors.Join(os.Symlink(outbox, soft), os.Link(outbox, hard)); err != nil {
		t.Fatal(err)
	}
	cfg := quick
	refuse := func(names ...string) {
		t.Helper()
		for _, name := range names {
			cfg.StateFile = name
			if f, err := bus.Join(within(t), joining(dial(t, br.url()), bus.Config{OutboxFile: outbox}, newList(t, cfg))); !errors.Is(err, revoke.ErrStateFile) || !strings.Contains(err.Error(), "outbox") {
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
		l := newList(t, cfg)
		f := join(t, dial(t, br.url()), bus.Config{}, l)
		waitFresh(t, f)
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
		waitFresh(t, join(t, dial(t, br.url()), bus.Config{OutboxFile: box}, newList(t, cfg)))
	}
	// And the other way about: no Member takes a followed List's file for its outbox.
	if b, err := bus.Join(within(t), joining(dial(t, br.url()), bus.Config{OutboxFile: cfg.StateFile}, nil)); !errors.Is(err, bus.ErrOutbox) {
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
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	cfg := quick
	cfg.StateFile = filepath.Join(t.TempDir(), "state")
	f := join(t, dial(t, br.url()), bus.Config{}, newList(t, cfg))
	next := newList(t, cfg)
	second := join(t, dial(t, br.url()), bus.Config{}, next)
	waitFresh(t, second)
	waitFresh(t, f)
	if s := next.StateFile(); !errors.Is(s.Err, revoke.ErrStateFile) || !s.Saved.IsZero() {
		t.Errorf("the second: %+v", s)
	}
	id := revokeSession(t, br.url(), "known")
	barrier(t, f)
	barrier(t, second)
	f.Close()
	mustRefuse(t, newList(t, cfg), id)
	later := revokeSession(t, br.url(), "later")
	barrier(t, second)
	second.Close()
	if s := next.StateFile(); s.Err != nil || s.Saved.IsZero() {
		t.Errorf("the second, alone: %+v", s)
	}
	mustRefuse(t, newList(t, cfg), id, later)
}
