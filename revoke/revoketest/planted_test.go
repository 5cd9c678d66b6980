//go:build planted

package revoketest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestPlantedFaults plants one fault after the other in a copy of package revoke or replica
// and expects the model to notice, and its directed history, if it has one: a checker that
// cannot fail proves nothing.
func TestPlantedFaults(t *testing.T) {
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	const commit = "		in.Commit(f.list, f.taken)\n"
	for _, fault := range []struct {
		name, file, old, new string
		test                 string // of package revoke that must notice; empty: the model's
	}{
		{"no anchor", "../internal/replica/feed.go", "if c := f.cursor; !f.isCursor(r) {", "if c := f.cursor; false {", ""},
		{"no chain", "../internal/replica/feed.go", "if r.Delivery != f.next ||", "if", ""},
		{"a slow clock that silences", "../internal/replica/heartbeat.go", "if delay >= -f.cfg.MaxSkew-f.cfg.HeartbeatInterval && delay <= f.cfg.MaxSkew+f.cfg.HeartbeatInterval+f.congestion(now) && f.enough(now.Since(at)) {", "_ = delay\n		if true {", ""},
		{"resume after the cursor", "../internal/replica/feed.go", "sub.Start, sub.Anchored = f.cursor.Sequence, true", "sub.Start, f.anchoring = f.cursor.Sequence+1, false", ""},
		{"P from arrival time alone", "../internal/replica/heartbeat.go", "at = now.Add(-max(delay, 0) - f.cfg.MaxSkew)", "at = now", ""},
		{"an own heartbeat proves its arrival", "../internal/replica/heartbeat.go", "		f.round = now.Since(at)\n", "		f.round = now.Since(at)\n		at = now\n", ""},
		{"heartbeat not a fence", "../internal/replica/feed.go", commit, "		late := f.late\n		f.late = func() {\n	" + commit + "		}\n		if late != nil {\n			late()\n		}\n", ""},
		{"latest wins", "entry.go", "before: max(a.before, b.before)", "before: b.before", ""},
		{"forget on rebuild", "write.go", "	l.bulk = bulk\n", "	l.bulk = bulk\n	if bulk {\n		l.view.Store(&view{base: emptyBase, memtables: []*memtable{newMemtable(minMemtable)}})\n	}\n", ""},
		{"forget by one clock", "list.go", "t = min(t, now.Mono+off)", "t = now.Mono + off", ""},
		{"forget by the other clock", "list.go", "t = min(t, now.Mono+off)", "_ = off", ""},
		{"proven before the data is in view", "../internal/replica/feed.go", commit + "		f.heard(f.taken, f.stored)\n", "		f.heard(f.taken, f.stored)\n		if f.late != nil {\n			f.late()\n		}\n		f.late = func() {\n	" + commit + "		}\n", ""},
		{"future heartbeats accepted", "../internal/replica/heartbeat.go", "case delay < -f.cfg.MaxSkew:", "case false:", ""},
		{"exceptions unioned", "entry.go", "max(as[0].before, b.before)", "as[0].before", ""},
		{"an event that no version counts", "write.go", "	l.versions.raise(n) // after the data: see versions\n", "", ""},
		{"a version raised before the data", "write.go", "	active.put(*n)\n", "	l.versions.raise(n)\n	runtime.Gosched()\n	active.put(*n)\n", "TestPreparedSeesWhatWasApplied"},
		{"freshness remembered", "prepared.go", "	return proven.judge(p.list, now, p.issuedAt, policy)\n", "	_ = proven\n	return nil\n", ""},
		{"position taken for content", "../internal/replica/fork.go", "case m.digest != *d:", "case false:", ""},
		{"a mirror's heartbeats prove", "../internal/replica/fork.go", "return k.mirror && k.told", "return false", ""},
		{"a digest covers what comes after it", "../internal/replica/fork.go", "	k.differs = false\n	return agrees, m\n", "	k.differs = false\n	return agrees, k.marks[len(k.marks)-1]\n", ""},
		{"silenced without a digest", "../internal/replica/heartbeat.go", "		return content == agrees && now.Since(covered.at) <= f.cfg.MaxStaleness/2\n", "		_ = covered\n		return true\n", ""},
		{"half the slack", "limits.go", "return 2 * h.skew()", "return h.skew()", ""},
		{"iat in place of the instant", "identity.go", "	if !id.MintedAt.IsZero() {\n", "	if false {\n", ""},
		{"monotonic clock alone", "instant.go", "max(i.Wall-earlier.Wall, i.Mono-earlier.Mono)", "i.Mono-earlier.Mono", ""},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			real := filepath.Join(dir, fault.file)
			src, err := os.ReadFile(real)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(src), fault.old) != 1 {
				t.Fatalf("%s holds %q %d times: the test must follow the code", fault.file, fault.old, strings.Count(string(src), fault.old))
			}
			broken := strings.Replace(string(src), fault.old, fault.new, 1)
			if strings.Contains(fault.new, "f.late") {
				broken = strings.Replace(broken, "type Feed struct {", "type Feed struct {\n	late func()\n", 1)
			}
			pkg, tests, file := ".", "^(TestHistories|TestSlowClocksSilenceNobody)$", "model_test.go:"
			if fault.test != "" {
				pkg, tests, file = "..", "^"+fault.test+"$", "prepared_test.go:"
				broken = strings.Replace(broken, "	l.versions.raise(n) // after the data: see versions\n", "", 1)
				broken = strings.Replace(broken, "import (\n", "import (\n	\"runtime\"\n", 1)
			}
			tmp := t.TempDir()
			copied := filepath.Join(tmp, filepath.Base(fault.file))
			if err := os.WriteFile(copied, []byte(broken), 0o600); err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{real: copied}})
			if err != nil {
				t.Fatal(err)
			}
			list := filepath.Join(tmp, "overlay.json")
			if err := os.WriteFile(list, overlay, 0o600); err != nil {
				t.Fatal(err)
			}
			if directed[fault.name] != nil {
				only := "^TestDirectedHistories$/^" + strings.ReplaceAll(fault.name, " ", "_") + "$"
				out, err := exec.Command("go", "test", "-vet=off", "-overlay", list, "-count=1", "-run", only, ".").CombinedOutput()
				if err == nil || !strings.Contains(string(out), "directed_test.go:") {
					t.Errorf("the directed history does not notice: %v\n%s", err, out)
				}
			} else if fault.test == "" {
				t.Error("no directed history")
			}
			out, err := exec.Command("go", "test", "-vet=off", "-overlay", list, "-count=1", "-run", tests, pkg).CombinedOutput()
			if err == nil {
				t.Fatalf("goes unnoticed:\n%s", out)
			}
			_, found, _ := strings.Cut(string(out), file)
			if found == "" {
				t.Fatalf("failed, but not by an assertion:\n%s", out)
			}
			found, _, _ = strings.Cut(found, "\n")
			t.Log(found)
			if m := regexp.MustCompile(`of which (\d+) steps suffice`).FindStringSubmatch(found); m != nil {
				if n, _ := strconv.Atoi(m[1]); n > 15 && !strings.Contains(string(out), "the one whose clock is right") {
					t.Errorf("a failure of %d steps is not for people to read", n)
				}
			} else if !strings.Contains(found, "the one whose clock is right") && fault.test == "" {
				t.Errorf("no history went wrong: %s", found)
			}
		})
	}
}
