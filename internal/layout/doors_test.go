package layout_test

import (
	"os/exec"
	"strings"
	"testing"
)

// A door shows its users what they use: as many declarations as `go doc -short` lists.
func TestDoorsAreNarrow(t *testing.T) {
	for pkg, most := range map[string]int{"./revoke": 32, "./refresh": 32, "./token": 48, "./bus": 16, "./bus/rollcall": 6} {
		cmd := exec.Command("go", "doc", "-short", pkg)
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(out), "\n"); n > most || n < most/2 {
			t.Errorf("%s shows %d declarations, more than %d or suspiciously few:\n%s", pkg, n, most, out)
		}
	}
}
