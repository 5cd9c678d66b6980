package browser

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// markVariable is in the environment of every process of a browser, with the mark of the
// browser that it belongs to.
const markVariable = "HYBRIDTOKEN_BROWSER"

// allGone waits until no process carries the mark, and none of this process's children is dead
// and not waited for. Where there is no /proc it looks at nothing.
func allGone(t testing.TB, mark string) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if left = append(marked(mark), unwaited()...); len(left) == 0 {
			return
		}
	}
	t.Errorf("%v after its end, processes of the browser are left: %s", Patience, strings.Join(left, ", "))
}

// marked names the processes that carry the mark.
func marked(mark string) (all []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(append(env, 0), append([]byte(mark), 0)) {
			continue // ended meanwhile, or somebody else's
		}
		dir := filepath.Dir(file)
		name, _ := os.ReadFile(filepath.Join(dir, "comm"))
		all = append(all, fmt.Sprintf("%s (%s)", strings.TrimSpace(string(name)), filepath.Base(dir)))
	}
	return all
}

// unwaited names the children of this process that are dead and not waited for, and are
// of a browser by their name.
func unwaited() (all []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		// pid (name) state parent …, and a name may hold anything
		name, rest, _ := strings.Cut(string(text), "(")
		end := strings.LastIndex(rest, ") ")
		if end < 0 {
			continue
		}
		fields := strings.Fields(rest[end+2:])
		if len(fields) > 1 && fields[0] == "Z" && fields[1] == strconv.Itoa(os.Getpid()) && strings.Contains(rest[:end], "chrom") {
			all = append(all, "dead "+rest[:end]+" ("+strings.TrimSpace(name)+")")
		}
	}
	return all
}
