package mirrors_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A mirror whose origin is made anew, or restored from a backup, keeps what the origin
// has lost, takes nothing of the new log that stands at or below its own last sequence,
// and goes on behind that once the origin is longer. It reports neither lag nor error.
// A position proves nothing then: the replica behind the mirror is not fresh, reason
// `fork`, whether it lived through the fork or came later, until the mirror is made anew;
// it refuses everything then, what the origin lost included. Invariants 1 and 3.
func TestFork(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"made anew", "files restored", "stream restored"} {
		for _, who := range []string{"publisher lives on", "publisher is new"} {
			for _, mirror := range []string{"mirror is longer", "mirror is shorter"} {
				if how == "stream restored" && mirror == "mirror is shorter" {
					continue // which the others show
				}
				t.Run(strings.Join([]string{how, who, mirror}, ", "), func(t *testing.T) {
					t.Parallel() // it waits for the servers, mostly
					(&forked{Mirrored: rig.Mirrored{T: t}, files: how == "files restored", tool: how == "stream restored", alive: who == "publisher lives on", longer: mirror == "mirror is longer"}).run()
				})
			}
		}
	}
}

// forkConfig has heartbeats that are seldom enough for an origin made anew to stay
// shorter than its mirror for as long as the server takes to notice.
var forkConfig = revoke.Config{HeartbeatInterval: 250 * time.Millisecond, MaxSkew: rig.Quick.MaxSkew, MaxStaleness: 5 * time.Second}

// A forked is one way to a fork.
type forked struct {
	rig.Mirrored
	files  bool // its files are restored; else it is deleted
	tool   bool // and restored from a backup of the stream; else made anew
	alive  bool // who published before goes on, else somebody else does
	longer bool // the mirror, when the server takes it up again

	br     *rig.Broker
	auth   *bus.Member
	beside *revoke.List
	last   uint64 // sequence of the mirror shortly before the origin was lost
}

func (t *forked) run() {
	t.br = rig.ExampleBroker(t.T, "accounts.conf")
	rig.CreateStream(t.T, rig.Dial(t.T, t.br.URL(), rig.ExampleUser("operator")...), bus.StreamConfig{})
	nc, operator := rig.Client(t.T, t.br.URL(), rig.ExampleUser("operator")...)
	t.Operator = operator
	_, t.Mirror = rig.Client(t.T, t.br.URL(), rig.ExampleUser("mirror")...)
	if _, err := t.Mirror.CreateStream(rig.Within(t.T), rig.ExampleMirror(t.T, 1)); err != nil {
		t.Fatal(err)
	}
	l := rig.NewList(t.T, forkConfig)
	f := rig.Join(t.T, rig.Dial(t.T, t.br.URL(), rig.ExampleUser("verifier")...), rig.ExampleVerifier, l)
	t.join()
	rig.WaitFresh(t.T, f, t.auth)

	t.Publish(t.auth, "known", 20)
	var files string
	var taken *rig.Backup
	var err error
	switch {
	case t.files:
		t.br.Stop()
		files = t.TempDir()
		if err := os.CopyFS(files, os.DirFS(t.account())); err != nil {
			t.Fatal(err)
		}
		t.br.Start()
		rig.WaitFresh(t.T, f, t.auth)
	case t.tool:
		if taken, err = rig.BackUp(rig.Within(t.T), nc, bus.DefaultStream); err != nil {
			t.Fatal(err)
		}
	}
	// By somebody who is gone when they are lost, and makes up for none of it.
	gone := rig.Join(t.T, rig.Dial(t.T, t.br.URL(), rig.ExampleUser("auth")...), bus.Config{}, nil)
	t.Publish(gone, "lost", 400)
	gone.Close()
	rig.Barrier(t.T, f)
	for _, a := range t.Done {
		rig.MustRefuse(t.T, l, a.ID)
	}
	if !t.alive {
		t.leave()
	}
	t.last = t.Settled()

	if t.files {
		t.br.Stop()
		if err := errors.Join(os.RemoveAll(t.account()), os.CopyFS(t.account(), os.DirFS(files))); err != nil {
			t.Fatal(err)
		}
		t.br.Start()
	} else if err := t.Operator.DeleteStream(rig.Within(t.T), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	switch {
	case t.tool:
		if err := taken.Restore(rig.Within(t.T), nc, bus.DefaultStream); err != nil {
			t.Fatal(err)
		}
	case !t.files:
		rig.CreateStream(t.T, rig.Dial(t.T, t.br.URL(), rig.ExampleUser("operator")...), bus.StreamConfig{})
	}
	old := len(t.Done)
	if !t.alive {
		t.join()
	}
	below := t.Publish(t.auth, "hidden", 20)
	if below[len(below)-1].Sequence > t.last {
		t.Fatalf("nothing is published below the mirror's last sequence %d: %+v", t.last, below)
	}
	if t.longer {
		t.takenUp()
	}
	rig.Barrier(t.T, t.auth) // beside the stream, all of it is refused
	for _, a := range below {
		rig.MustRefuse(t.T, t.beside, a.ID)
	}
	var beyond uint64
	for n := 0; beyond <= t.last; n++ {
		beyond = t.Publish(t.auth, fmt.Sprint("beyond-", n), 50)[0].Sequence
	}

	// A replica that comes later knows nothing but the fork.
	other := rig.ExampleVerifier
	other.Name = "late"
	later := rig.NewList(t.T, forkConfig)
	late := rig.Join(t.T, rig.Dial(t.T, t.br.URL(), rig.ExampleUser("verifier")...), other, later)
	lists := map[*bus.Member]*revoke.List{f: l, late: later}
	rig.AskUntil(t.T, "reason fork, behind a mirror that has gone on", func(ctx context.Context) error {
		for f, l := range lists {
			t.mustNotAccept(f, l, t.Done[old:])
			if s := f.Status(); s.State == revoke.StateFresh || s.Reason != revoke.ReasonFork {
				return fmt.Errorf("%v (%v)", s.State, s.Reason)
			}
		}
		info, err := t.Info(ctx)
		if err == nil && info.State.LastSeq < beyond {
			err = fmt.Errorf("the mirror is at %d", info.State.LastSeq)
		}
		return err
	})
	for _, a := range t.Done[:old] {
		rig.MustRefuse(t.T, l, a.ID)
	}

	rig.RemakeMirror(t.T, t.Mirror)
	for f, l := range lists {
		rig.Eventually(t.T, "fresh behind the mirror that was made anew", func() bool {
			t.mustNotAccept(f, l, t.Done[old:])
			return f.Status().State == revoke.StateFresh
		})
		rig.Barrier(t.T, f)
		for _, a := range t.Done[old:] {
			rig.MustRefuse(t.T, l, a.ID)
		}
		rig.MustPass(t.T, l, rig.Session("other"))
	}
	for _, a := range t.Done[:old] {
		rig.MustRefuse(t.T, l, a.ID)
	}
}

// mustNotAccept fails if a token is accepted for longer than a replica may take.
func (t *forked) mustNotAccept(f *bus.Member, l *revoke.List, list []rig.Acknowledged) {
	t.Helper()
	for _, a := range list {
		late := time.Since(a.At) - forkConfig.MaxStaleness
		if err := rig.Check(l, a.ID); err == nil && late > 0 {
			s := f.Status()
			m, err := t.Info(rig.Within(t.T))
			if err != nil {
				t.Fatal(err)
			}
			t.Fatalf("session %s, acknowledged at sequence %d, is accepted %s later than it may be; %v (%v), hazards %q; the mirror is at %d, lag %d, error %v",
				a.ID.Session, a.Sequence, late, s.State, s.Reason, s.Hazards, m.State.LastSeq, m.Mirror.Lag, m.Mirror.Error)
		}
	}
}

// join begins a publisher with a replica beside the stream, which beats.
func (t *forked) join() {
	t.Helper()
	t.beside = rig.NewList(t.T, forkConfig)
	t.auth = rig.Join(t.T, rig.Dial(t.T, t.br.URL(), rig.ExampleUser("auth")...), bus.Config{Name: "auth"}, t.beside)
	rig.WaitFresh(t.T, t.auth)
}

func (t *forked) leave() {
	t.auth.Close()
}

// account is where the server keeps what belongs to the origin's account.
func (t *forked) account() string { return filepath.Join(t.br.Dir, "jetstream", "AUTH") }

// takenUp waits until the server asks the new origin for what comes after the mirror's
// last message, of which there is nothing yet. It notices that the origin was deleted
// after ten seconds or more.
func (t *forked) takenUp() {
	t.Helper()
	active := func(what string, ok func(time.Duration) bool) (info *jetstream.StreamInfo) {
		rig.AskUntil(t.T, what, func(ctx context.Context) (err error) {
			if info, err = t.Info(ctx); err == nil && !ok(info.Mirror.Active) {
				err = fmt.Errorf("active %s ago", info.Mirror.Active)
			}
			return err
		})
		return info
	}
	if !t.files {
		active("the mirror misses its origin", func(d time.Duration) bool { return d > 5*time.Second })
	}
	m := active("the mirror is taken up again", func(d time.Duration) bool { return d >= 0 && d < 2*time.Second })
	if m.Mirror.Error != nil {
		t.Fatalf("the server tells of a fork, which is new: %v", m.Mirror.Error)
	}
}
