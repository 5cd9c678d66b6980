package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// plantVariable asks processes of a test for a fault of the SDK's user.
const plantVariable = "CHAOS_PLANT"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		if os.Getenv(plantVariable) == "allow" {
			policy = revoke.InsecureAllow()
		}
		os.Exit(child())
	}
	os.Exit(m.Run())
}

// The program as a whole, with the least staleness that a List takes: the cluster
// starts, a fault is done and heals, nothing is violated, and nothing is left behind.
// Then the same with verifiers that accept tokens while they are stale: the account
// says so, and the run fails.
func TestRun(t *testing.T) {
	for _, c := range []struct {
		name, plant, faults, want string
	}{
		{"sound", "", "kill-verifier,kill-publisher", ""},
		{"accepts while stale", "allow", "isolate-verifier", "violations"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(plantVariable, c.plant)
			dir := t.TempDir()
			file := filepath.Join(dir, "account.md")
			var out bytes.Buffer
			err := run(t.Context(), []string{
				"-minutes", "0.1", "-rate", "100", "-verifiers", "2", "-mirrored", "0", "-seed", "3", "-max-staleness", "5s", "-dir", dir, "-out", file,
				"-faults", "restart-leader", "-member-faults", c.faults,
			}, &out)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("got %v, want %q\n%s", err, c.want, out.String())
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			zero := strings.Contains(string(text), "| violations | 0 |")
			if !strings.Contains(out.String(), string(text)) || zero != (c.want == "") || !strings.Contains(string(text), "| restart leader | ") {
				t.Errorf("the account is:\n%s", out.String())
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "chaos-*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// Flags that cannot be meant are refused before anything starts.
func TestFlags(t *testing.T) {
	for _, args := range []string{"-minutes 0", "-minutes 100", "-rate 0", "-verifiers 0", "-mirrored -1", "-mirrored 6", "-verifiers 2", "-faults no-such-fault", "-member-faults outage", "more", "-nonsense"} {
		if _, err := parse(strings.Fields(args), &bytes.Buffer{}); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	cfg, err := parse([]string{"-faults", "kill-leader, outage", "-seed", "5"}, &bytes.Buffer{})
	if err != nil || cfg.seed != 5 || len(named(serverInjuries, cfg.servers)) != 2 {
		t.Errorf("%+v, %v", cfg, err)
	}
}
