package versions_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/internal/gate"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// versionBefore is the commit that upgrades come from.
const versionBefore = "601627d"

// buildBefore builds testdata/before with the version before, out of the repository's
// history, and returns the program.
func buildBefore(t *testing.T) string {
	t.Helper()
	var archive, complaint bytes.Buffer
	git := exec.Command("git", "-c", "safe.directory=*", "archive", "--format=tar", versionBefore, "go.mod", "go.sum", "revoke", "bus", "token", "internal/strictjson")
	git.Dir, git.Stdout, git.Stderr = filepath.Join("..", "..", ".."), &archive, &complaint
	if err := git.Run(); err != nil {
		if os.Getenv("HYBRIDTOKEN_NO_HISTORY") == "1" { // of .ci/run, which says so in its summary
			t.Skipf("a shallow clone: no history that reaches %s", versionBefore)
		}
		gate.Skip(t, fmt.Sprintf("this checkout has no history that reaches %s: %v: %s", versionBefore, err, complaint.String()))
	}
	dir := t.TempDir()
	for r := tar.NewReader(&archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		// The modules within are no part of what is built.
		if h.Typeflag != tar.TypeReg || !fs.ValidPath(h.Name) || strings.HasPrefix(h.Name, "bus/embedded/") || strings.HasPrefix(h.Name, "token/grpctoken/") {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, data, dir, h.Name)
	}
	program, err := os.ReadFile(filepath.Join("testdata", "before", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, program, dir, "internal/before/main.go")
	out := filepath.Join(dir, "before.exe")
	build := exec.Command("go", "build", "-o", out, "./internal/before")
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	if text, err := build.CombinedOutput(); err != nil {
		gate.Skip(t, fmt.Sprintf("version %s cannot be built: %v: %s", versionBefore, err, text))
	}
	return out
}

func writeFile(t *testing.T, data []byte, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// A memberBefore is a process of the version before.
type memberBefore struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
	cmd *exec.Cmd
	log bytes.Buffer // of it, to be read when it has ended
}

// startBefore returns when it is fresh.
func startBefore(t *testing.T, program string, args ...string) *memberBefore {
	t.Helper()
	m := &memberBefore{t: t, cmd: exec.Command(program, args...)}
	m.cmd.Stderr = &m.log
	in, err := m.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	m.in, m.out = in, bufio.NewReader(out)
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.end)
	if line := m.read(); line != "fresh" {
		t.Fatalf("it says %q", line)
	}
	return m
}

func (m *memberBefore) end() {
	if m.cmd == nil {
		return
	}
	m.in.Close()
	if err := m.cmd.Wait(); err != nil || m.t.Failed() {
		m.t.Errorf("a member of version %s: %v\n%s", versionBefore, err, m.log.String())
	}
	m.cmd = nil
}

// read returns its next line. One that says nothing is killed.
func (m *memberBefore) read() string {
	m.t.Helper()
	process := m.cmd.Process
	kill := time.AfterFunc(2*rig.Deadline, func() { process.Kill() })
	defer kill.Stop()
	line, err := m.out.ReadString('\n')
	if err != nil {
		m.t.Fatalf("a member of version %s says no more: %v", versionBefore, err)
	}
	return strings.TrimSpace(line)
}

func (m *memberBefore) say(format string, args ...any) string {
	m.t.Helper()
	if _, err := fmt.Fprintf(m.in, format+"\n", args...); err != nil {
		m.t.Fatal(err)
	}
	return m.read()
}

// status returns how many heartbeats it has sent. It must be fresh, and always have been.
func (m *memberBefore) status(what string) (sent uint64) {
	m.t.Helper()
	var state, reason, degraded string
	var left, faults int
	line := m.say("status")
	if _, err := fmt.Sscan(line, &state, &reason, &sent, &left, &degraded, &faults); err != nil {
		m.t.Fatalf("%q: %v", line, err)
	}
	if state != "fresh" || left != 0 || degraded != "false" || faults != 0 {
		m.t.Errorf("%s: a member of version %s is %s", what, versionBefore, line)
	}
	return sent
}

// Members of the version before and of this one on one stream, and behind one mirror: in
// the order that UPGRADING.md gives, those that beat first and then verifiers, nobody
// goes stale, each refuses what anybody publishes, and who is of this version and behind
// the mirror is protected against a fork although one of the version before beats.
func TestTwoVersionsSideBySide(t *testing.T) {
	t.Parallel()
	program := buildBefore(t)
	t.Run("files", func(t *testing.T) { readByVersionBefore(t, program) })
	br := rig.ExampleBroker(t, "accounts.conf")
	rig.CreateStream(t, rig.Dial(t, br.URL(), rig.ExampleUser("operator")...), bus.StreamConfig{})
	_, operator := rig.Client(t, br.URL(), rig.ExampleUser("operator")...)
	_, js := rig.Client(t, br.URL(), rig.ExampleUser("mirror")...)
	if _, err := js.CreateStream(rig.Within(t), rig.ExampleMirror(t, 1)); err != nil {
		t.Fatal(err)
	}
	as := func(name string, more ...string) []string {
		// Its heartbeats come more often than those of this version: nobody silences it.
		return append([]string{"-url", strings.Replace(br.URL(), "//", "//"+name+":"+name+"@", 1), "-inbox", "_INBOX_" + name, "-interval", "100ms", "-staleness", "15s"}, more...)
	}
	cfg := revoke.Config{HeartbeatInterval: 250 * time.Millisecond, MaxStaleness: 15 * time.Second}

	// All of it is of the version before.
	oldMember := startBefore(t, program, as("auth", "-publishes")...)
	oldVerifier := startBefore(t, program, as("verifier", "-stream", rig.MirrorStream, "-silent")...)
	var lists []*revoke.List
	var followers []*bus.Member
	published := 0
	each := func(what string, publishers map[string]func(sid string)) {
		t.Helper()
		var sids []string
		for name, publish := range publishers {
			published++
			sid := fmt.Sprintf("%s-%d", name, published)
			publish(sid)
			sids = append(sids, sid)
		}
		for _, m := range []*memberBefore{oldMember, oldVerifier} {
			if m.cmd == nil {
				continue
			}
			if answer := m.say("barrier"); answer != "ok" {
				t.Errorf("%s: barrier of the version before: %s", what, answer)
			}
			for _, sid := range sids {
				if answer := m.say("check %s", sid); answer != "revoked" {
					t.Errorf("%s: session %s by the version before: %s", what, sid, answer)
				}
			}
			if answer := m.say("check other"); answer != "ok" {
				t.Errorf("%s: another session by the version before: %s", what, answer)
			}
			m.status(what)
		}
		for i, f := range followers {
			rig.Barrier(t, f)
			for _, sid := range sids {
				rig.MustRefuse(t, lists[i], rig.Session(sid))
			}
			rig.MustPass(t, lists[i], rig.Session("other"))
			if s := f.Status(); s.State != revoke.StateFresh || s.Degraded || s.Subscriptions != 1 {
				t.Errorf("%s: %+v", what, s)
			}
		}
	}
	byOld := func(sid string) {
		t.Helper()
		if answer := oldMember.say("publish %s", sid); answer != "ok" {
			t.Errorf("the version before publishes: %s", answer)
		}
	}
	each("before the upgrade", map[string]func(string){"old": byOld})

	// First those that beat …
	comes := func(name string, c bus.Config) *bus.Member {
		l := rig.NewList(t, cfg)
		f := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser(name)...), c, l)
		rig.WaitFresh(t, f)
		lists, followers = append(lists, l), append(followers, f)
		return f
	}
	auth := comes("auth", bus.Config{Name: "this version"})
	byNew := func(sid string) { t.Helper(); rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: sid}) }
	both := map[string]func(string){"old": byOld, "new": byNew}
	each("one that beats is new", both)

	// … then verifiers. What was published before they came, they know too.
	verifier := comes("verifier", rig.ExampleVerifier)
	rig.MustRefuse(t, lists[1], rig.Session("old-1"))
	each("a verifier is new", both)
	was, sent := oldMember.status("both beat"), auth.Status().Sent
	rig.Eventually(t, "members of both versions beat beside each other", func() bool {
		return oldMember.status("both beat") > was+5 && auth.Status().Sent > sent+2
	})

	// A fork, while a member of the version before beats. Behind the mirror the version
	// before has no protection, and it is no more asked.
	oldVerifier.end()
	f := &rig.Mirrored{T: t, Operator: operator, Mirror: js}
	last := f.Settled()
	if err := operator.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	rig.CreateStream(t, rig.Dial(t, br.URL(), rig.ExampleUser("operator")...), bus.StreamConfig{})
	hidden := f.Publish(auth, "hidden", 5)
	if hidden[0].Sequence > last {
		t.Fatalf("nothing is published below the mirror's last sequence %d: %+v", last, hidden)
	}
	for n := 0; f.Publish(auth, fmt.Sprint("beyond-", n), 50)[0].Sequence <= last; n++ {
	}
	before := oldMember.sent()
	rig.Eventually(t, "the verifier tells of the fork", func() bool { return verifier.Status().Reason == revoke.ReasonFork })
	rig.Eventually(t, "the version before beats meanwhile", func() bool { return oldMember.sent() > before+10 })
	if s := verifier.Status(); s.State == revoke.StateFresh {
		t.Errorf("behind the fork: %+v", s)
	}
	rig.RemakeMirror(t, js)
	rig.WaitFresh(t, verifier)
	rig.Barrier(t, verifier)
	for _, a := range hidden {
		rig.MustRefuse(t, lists[1], a.ID)
	}

	// The last of the version before goes.
	oldMember.end()
	for i, x := range followers {
		rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: "at last"})
		rig.Barrier(t, x)
		rig.MustRefuse(t, lists[i], rig.Session("at last"))
	}
}

// sent is how many heartbeats it has sent, whatever its state.
func (m *memberBefore) sent() (n uint64) {
	m.t.Helper()
	line := m.say("status")
	if fields := strings.Fields(line); len(fields) > 2 {
		fmt.Sscan(fields[2], &n)
	}
	return n
}
