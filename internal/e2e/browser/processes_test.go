package browser

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/gate"
)

// What looks for processes that are left sees one that runs, and one that has ended and was not
// waited for.
func TestProcessesLeft(t *testing.T) {
	if runtime.GOOS != "linux" {
		gate.Skip(t, "there is no /proc")
	}
	const mark = markVariable + "=test"
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		gate.Skip(t, "no sleep is installed")
	}
	name := t.TempDir() + "/chromium-left"
	if err := os.Symlink(sleep, name); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, "600")
	cmd.Env = append(os.Environ(), mark)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := func(names []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "chromium-left") })
	}
	Eventually(t, "the process that runs is seen", func() bool { return seen(marked(mark)) })
	if seen(marked(markVariable + "=tes")) {
		t.Error("it is seen by the beginning of its mark")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the dead process is seen", func() bool { return seen(unwaited()) })
	_ = cmd.Wait() // which was killed
	if len(marked(mark)) > 0 || seen(unwaited()) {
		t.Error("it is seen after its end")
	}
}
