//go:build planted

package token_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPlantedFaults plants what could go wrong where a remembered token comes again, one fault at
// a time, and has the tests of that notice: a check that cannot fail proves nothing.
func TestPlantedFaults(t *testing.T) {
	const remembered = "^(TestCache|TestCached|TestRemembered|TestSeal|TestStanding|TestRemoteKeysAreFresh|TestMiddlewareLooks)"
	if out, err := exec.Command("go", "test", "-count=1", "-run", remembered, ".").CombinedOutput(); err != nil {
		t.Fatalf("with no fault planted: %v\n%s", err, out)
	}
	for _, fault := range []struct{ name, file, old, new string }{
		{"payload and header are not compared", "cache.go", " || known.signed != raw[:dot]", ""},
		{"the signature is not compared", "cache.go", " || !known.seal.is(&s)", ""},
		{"half of the seal is compared", "seal.go", "|(d[2]^other[2])|(d[3]^other[3])", ""},
		{"signatures of any length are one", "cache.go", " || int(known.signature) != len(raw)-dot-1", ""},
		{"the rest of a signature is left out", "seal.go", "	if len(b) > 0 {", "	if false {"},
		{"a pair under the key of the one before", "seal.go", "b, key = b[16:], key[2:]", "b = b[16:]"},
		{"exp is not judged", "cache.go", " || now.Wall >= known.until", ""},
		{"nbf is not judged", "cache.go", "now.Wall < known.since || ", ""},
		{"a proof is not looked at", "cache.go", ` || p.sender.Proof != ""`, ""},
		{"possession is not asked for", "cache.go", " || !c.binding.IsZero()", ""},
		{"nor RequireBinding", "cache.go", " || a.cfg.RequireBinding", ""},
		{"the audience is not", "cache.go", " || a.concerns(c) != nil", ""},
		{"the leeway is forgotten", "cache.go", "nanoseconds(c.expires.ms + a.leeway)", "nanoseconds(c.expires.ms + 2*a.leeway)"},
		{"options are not", "cache.go", "	if d.asks() && !known.satisfied.holds(d) {", "	if false {"},
		{"revocations are not", "cache.go", "	if err := a.revoked(known.claims, &known.identity, now, a.policy(d)); err != nil {", "	if err := error(nil); err != nil {"},
		{"the policy is that of everybody", "cache.go", "now, a.policy(d)); err", "now, a.cfg.WhenStale); err"},
		{"options share a number", "satisfied.go", "usedOnce + numbers.Add(1)", "usedOnce + max(numbers.Add(1), 1) - numbers.Load() + 1"},
		{"any option that was satisfied stands for all", "satisfied.go", "s[0].Load() == n || ", "s[0].Load() > usedOnce || "},
		{"an option that one token satisfied all satisfy", "cache.go", "!known.satisfied.holds(d)", "d.number.Load() <= usedOnce"},
		{"an option is remembered before it is judged", "cache.go", "		if err := a.sufficient(known", "		known.satisfied.add(d)\n		if err := a.sufficient(known"},
		{"an option without a number is found", "satisfied.go", "n > usedOnce && (s[0]", "(s[0]"},
		{"a number is given to options of one call", "satisfied.go", "		d.number.CompareAndSwap(0, usedOnce)\n		return 0\n	case usedOnce:", "		fallthrough\n	case usedOnce:\n		d.number.Store(usedOnce)"},
		{"numbers begin again", "satisfied.go", "if next > math.MaxUint32 {", "if next > math.MaxUint64-1 {"},
		{"options make room for others", "satisfied.go", "s[i].CompareAndSwap(0, n) ||", "s[i].Swap(n) != n ||"},
		{"an age is remembered", "satisfied.go", "return d.maxAge == 0", "return true"},
		{"a key is found for good", "verifier.go", "keys.is(known.keys.Load())", "known.keys.Load() != 0"},
		{"no set is one without keys", "keyset.go", " && number != 0", ""},
		{"the key may be another", "acceptor.go", "key.Thumbprint() != known.claims.key", "false"},
		{"a set has the number of the one before", "keyset.go", "number: sets.Add(1)", "number: 1"},
		{"keys are fresh for ever", "remote.go", "c != nil && now.Since(c.at) < c.fresh {\n		return c.keys", "c != nil {\n		return c.keys"},
		{"keys are fresh by the wall clock", "remote.go", "c != nil && now.Since(c.at) < c.fresh {\n		return c.keys", "c != nil && time.Duration(now.Wall-c.at.Wall) < c.fresh {\n		return c.keys"},
		{"a prepared check is for good", "../revoke/prepared.go", "seen.Load() == all && clamp", "all != 0 && seen.Load() != 0 && clamp"},
		{"a refusal is remembered as none", "../revoke/prepared.go", "	if k := p.lookup(r, now); k != 0 {", "	seen.Store(all)\n	if k := p.lookup(r, now); k != 0 {"},
		{"events are not counted", "../revoke/write.go", "	l.versions.all.Add(n)\n", ""},
		{"nor those of a key", "../revoke/prepared.go", "{ v.of[counterOf(n.kind, n.id)].Add(1) }", "{}"},
		{"each kind counts as a token", "../revoke/prepared.go", "v.of[counterOf(n.kind, n.id)]", "v.of[counterOf(KindToken, n.id)]"},
		{"freshness is not judged where nothing happens", "../revoke/prepared.go", "r.cfg.Local || proven.fresh(l, now)", "proven != nil"},
		{"freshness is not judged", "../revoke/prepared.go", "	return proven.judge(p.list, now, p.issuedAt, policy)\n", "	_ = proven\n	return nil\n"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			path, err := filepath.Abs(fault.file)
			if err != nil {
				t.Fatal(err)
			}
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(src), fault.old); n != 1 {
				t.Fatalf("%s holds %q %d times: the test must follow the code", fault.file, fault.old, n)
			}
			tmp := t.TempDir()
			broken := filepath.Join(tmp, filepath.Base(path))
			if err := os.WriteFile(broken, []byte(strings.Replace(string(src), fault.old, fault.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: broken}})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(tmp, "overlay.json")
			if err := os.WriteFile(file, overlay, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("go", "test", "-vet=off", "-failfast", "-overlay", file, "-count=1", "-run", remembered, ".").CombinedOutput()
			if err == nil {
				t.Fatalf("goes unnoticed:\n%s", out)
			}
			_, found, _ := strings.Cut(string(out), "_test.go:")
			if found == "" || strings.Contains(string(out), "panic: ") {
				t.Fatalf("failed, but not by an assertion:\n%s", out)
			}
			found, _, _ = strings.Cut(found, "\n")
			t.Log(found)
		})
	}
}
