package e2e_test

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
					(&forked{T: t, files: how == "files restored", tool: how == "stream restored", alive: who == "publisher lives on", longer: mirror == "mirror is longer"}).run()
				})
			}
		}
	}
}

// forkConfig has heartbeats that are seldom enough for an origin made anew to stay
// shorter than its mirror for as long as the server takes to notice.
var forkConfig = revoke.Config{HeartbeatInterval: 250 * time.Millisecond, MaxSkew: quick.MaxSkew, MaxStaleness: 5 * time.Second}

// A forked is one way to a fork.
type forked struct {
	*testing.T
	files  bool // its files are restored; else it is deleted
	tool   bool // and restored from a backup of the stream; else made anew
	alive  bool // who published before goes on, else somebody else does
	longer bool // the mirror, when the server takes it up again

	br       *broker
	operator jetstream.JetStream // of the origin's account
	mirror   jetstream.JetStream // of the mirror's
	auth     *bus.Member
	beside   *revoke.List
	last     uint64 // sequence of the mirror shortly before the origin was lost
	done     []acknowledged
}

// An acknowledged is the token of an event, and when Publish had returned.
type acknowledged struct {
	id       revoke.Identity
	at       time.Time
	sequence uint64
}

func (t *forked) run() {
	t.br = withAccounts(t.T, "accounts.conf")
	createStream(t.T, dial(t.T, t.br.url(), user("operator")...), bus.StreamConfig{})
	nc, operator := plain(t.T, t.br.url(), user("operator")...)
	t.operator = operator
	_, t.mirror = plain(t.T, t.br.url(), user("mirror")...)
	if _, err := t.mirror.CreateStream(within(t.T), exampleMirror(t.T, 1)); err != nil {
		t.Fatal(err)
	}
	l := newList(t.T, forkConfig)
	f := join(t.T, dial(t.T, t.br.url(), user("verifier")...), verifierBus, l)
	t.join()
	waitFresh(t.T, f, t.auth)

	t.publish(t.auth, "known", 20)
	var files string
	var taken *backup
	var err error
	switch {
	case t.files:
		t.br.stop()
		files = t.TempDir()
		if err := os.CopyFS(files, os.DirFS(t.account())); err != nil {
			t.Fatal(err)
		}
		t.br.start()
		waitFresh(t.T, f, t.auth)
	case t.tool:
		if taken, err = backUp(within(t.T), nc, bus.DefaultStream); err != nil {
			t.Fatal(err)
		}
	}
	// By somebody who is gone when they are lost, and makes up for none of it.
	gone := join(t.T, dial(t.T, t.br.url(), user("auth")...), bus.Config{}, nil)
	t.publish(gone, "lost", 400)
	gone.Close()
	barrier(t.T, f)
	for _, a := range t.done {
		mustRefuse(t.T, l, a.id)
	}
	if !t.alive {
		t.leave()
	}
	t.last = t.settled()

	if t.files {
		t.br.stop()
		if err := errors.Join(os.RemoveAll(t.account()), os.CopyFS(t.account(), os.DirFS(files))); err != nil {
			t.Fatal(err)
		}
		t.br.start()
	} else if err := t.operator.DeleteStream(within(t.T), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	switch {
	case t.tool:
		if err := taken.restore(within(t.T), nc, bus.DefaultStream); err != nil {
			t.Fatal(err)
		}
	case !t.files:
		createStream(t.T, dial(t.T, t.br.url(), user("operator")...), bus.StreamConfig{})
	}
	old := len(t.done)
	if !t.alive {
		t.join()
	}
	below := t.publish(t.auth, "hidden", 20)
	if below[len(below)-1].sequence > t.last {
		t.Fatalf("nothing is published below the mirror's last sequence %d: %+v", t.last, below)
	}
	if t.longer {
		t.takenUp()
	}
	barrier(t.T, t.auth) // beside the stream, all of it is refused
	for _, a := range below {
		mustRefuse(t.T, t.beside, a.id)
	}
	var beyond uint64
	for n := 0; beyond <= t.last; n++ {
		beyond = t.publish(t.auth, fmt.Sprint("beyond-", n), 50)[0].sequence
	}

	// A replica that comes later knows nothing but the fork.
	other := verifierBus
	other.Name = "late"
	later := newList(t.T, forkConfig)
	late := join(t.T, dial(t.T, t.br.url(), user("verifier")...), other, later)
	lists := map[*bus.Member]*revoke.List{f: l, late: later}
	askUntil(t.T, "reason fork, behind a mirror that has gone on", func(ctx context.Context) error {
		for f, l := range lists {
			t.mustNotAccept(f, l, t.done[old:])
			if s := f.Status(); s.State == revoke.StateFresh || s.Reason != revoke.ReasonFork {
				return fmt.Errorf("%v (%v)", s.State, s.Reason)
			}
		}
		info, err := t.info(ctx)
		if err == nil && info.State.LastSeq < beyond {
			err = fmt.Errorf("the mirror is at %d", info.State.LastSeq)
		}
		return err
	})
	for _, a := range t.done[:old] {
		mustRefuse(t.T, l, a.id)
	}

	remakeMirror(t.T, t.mirror)
	for f, l := range lists {
		eventually(t.T, "fresh behind the mirror that was made anew", func() bool {
			t.mustNotAccept(f, l, t.done[old:])
			return f.Status().State == revoke.StateFresh
		})
		barrier(t.T, f)
		for _, a := range t.done[old:] {
			mustRefuse(t.T, l, a.id)
		}
		mustPass(t.T, l, session("other"))
	}
	for _, a := range t.done[:old] {
		mustRefuse(t.T, l, a.id)
	}
}

// mustNotAccept fails if a token is accepted for longer than a replica may take.
func (t *forked) mustNotAccept(f *bus.Member, l *revoke.List, list []acknowledged) {
	t.Helper()
	for _, a := range list {
		late := time.Since(a.at) - forkConfig.MaxStaleness
		if err := check(l, a.id); err == nil && late > 0 {
			s := f.Status()
			m, err := t.info(within(t.T))
			if err != nil {
				t.Fatal(err)
			}
			t.Fatalf("session %s, acknowledged at sequence %d, is accepted %s later than it may be; %v (%v), hazards %q; the mirror is at %d, lag %d, error %v",
				a.id.Session, a.sequence, late, s.State, s.Reason, s.Hazards, m.State.LastSeq, m.Mirror.Lag, m.Mirror.Error)
		}
	}
}

// join begins a publisher with a replica beside the stream, which beats.
func (t *forked) join() {
	t.Helper()
	t.beside = newList(t.T, forkConfig)
	t.auth = join(t.T, dial(t.T, t.br.url(), user("auth")...), bus.Config{Name: "auth"}, t.beside)
	waitFresh(t.T, t.auth)
}

func (t *forked) leave() {
	t.auth.Close()
}

func (t *forked) publish(b *bus.Member, name string, n int) []acknowledged {
	t.Helper()
	var list []revoke.Event
	for i := range n {
		list = append(list, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprintf("%s-%d", name, i)})
	}
	results, err := b.PublishAll(within(t.T), list)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		t.done = append(t.done, acknowledged{session(r.Receipt.Event.Value), time.Now(), r.Receipt.Sequence})
	}
	return t.done[len(t.done)-n:]
}

// account is where the server keeps what belongs to the origin's account.
func (t *forked) account() string { return filepath.Join(t.br.dir, "jetstream", "AUTH") }

// info is what the server says of the mirror.
func (t *forked) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	s, err := t.mirror.Stream(ctx, mirrorStream)
	if err != nil {
		return nil, err
	}
	info := s.CachedInfo()
	if info.Mirror == nil {
		return nil, errors.New("it is no mirror")
	}
	return info, nil
}

// settled waits until the mirror has everything, and returns its last sequence.
func (t *forked) settled() (last uint64) {
	t.Helper()
	askUntil(t.T, "the mirror has everything", func(ctx context.Context) error {
		info, err := t.info(ctx)
		if err != nil {
			return err
		}
		last = info.State.LastSeq
		s, err := t.operator.Stream(ctx, bus.DefaultStream)
		if err == nil && s.CachedInfo().State.LastSeq != last {
			err = errors.New("it lags behind")
		}
		return err
	})
	return last
}

// takenUp waits until the server asks the new origin for what comes after the mirror's
// last message, of which there is nothing yet. It notices that the origin was deleted
// after ten seconds or more.
func (t *forked) takenUp() {
	t.Helper()
	active := func(what string, ok func(time.Duration) bool) (info *jetstream.StreamInfo) {
		askUntil(t.T, what, func(ctx context.Context) (err error) {
			if info, err = t.info(ctx); err == nil && !ok(info.Mirror.Active) {
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

// remakeMirror carries out the commands that docs/oncall.md gives for a mirror whose stream
// was made anew or restored, as user mirror.
func remakeMirror(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "oncall.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## After the stream was made anew or restored\n")
	section, _, _ = strings.Cut(section, "\n## ")
	done := 0
	for line := range strings.Lines(section) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "nats ")
		if !ok {
			continue
		}
		done++
		words := strings.Fields(command)
		askUntil(t, line, func(ctx context.Context) error {
			switch {
			case len(words) == 4 && strings.HasPrefix(command, "stream rm ") && words[3] == "--force":
				if err := js.DeleteStream(ctx, words[2]); !errors.Is(err, jetstream.ErrStreamNotFound) {
					return err
				}
				return nil
			case command == "stream add --config mirror.json":
				_, err := js.CreateStream(ctx, exampleMirror(t, 1))
				return err
			}
			t.Fatalf("what does %q do?", line)
			return nil
		})
	}
	if done != 2 {
		t.Fatalf("docs/oncall.md has %d commands for this", done)
	}
}
