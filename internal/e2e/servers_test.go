package e2e_test

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/internal/gate"
)

// servers are the versions of nats-server that the directory servers holds a module for,
// which go.work does not tie to the others: each pins a server of its own.
var servers = map[string]string{
	"v2.11": "2.11.17",
	"v2.12": "2.12.15",
	"v2.14": "2.14.10",
	"v2.15": "2.15.3",
}

// ofServers are the tests, by the directory of their package, that state what a server does
// beside what we make of it. Where versions differ the test asks rig.Behaviours.
var ofServers = map[string][]string{
	// The log itself, its mirror, what a server refuses and how it says so.
	".":       {"TestServerKeepsTheLog", "TestServerMirrorTakesPositionForContent", "TestServerSaysWhatIsNotPermitted", "TestServerRepliesIntoTheStream"},
	"mirrors": {"TestMirror"},
	"publish": {"TestFillIsReported", "TestFillAfterMaxBytesLowered", "TestStoredBytes", "TestPublishAllInBatches", "TestBatchHoldsASeenID", "TestAllowBatches"},
	// Streams that come back other than they were, and messages that nobody should have sent.
	"follow": {
		"TestHazardousStream", "TestRetentionTooShort", "TestMendedMetadataHeals", "TestHazardsAreReadAgain",
		"TestHeartbeatsExpire", "TestPullRequestsAreRenewed", "TestReplay", "TestHostileMessages", "TestHostileInbox", "TestStreamAppearsLater",
		"TestAnchorPlainRestart", "TestAnchorRolledBackAndWrittenPast", "TestAnchorRolledBack", "TestAnchorStreamRecreated", "TestAnchorStreamRecreatedUnseen",
		"TestAnchorEmptied", "TestTrust", "TestTrustRepublished", "TestLyingDigest", "TestUnsignedDigest",
	},
	// Rights, and what they do not bound.
	"accounts": {
		"TestExampleOneAccount", "TestExampleMirrorFollowed", "TestExampleMirrorAttacked", "TestExampleFollowersCanDeleteWhatTheyFollow",
		"TestFollowersCanWriteThroughReplies", "TestHeartbeatRightCanFillTheStream", "TestVerifierOnly", "TestNotPermitted",
	},
	"rollcall": {"TestMayListenAndNotAnswer", "TestMayAnswerAndNotAsk", "TestAskerMutesNobodyElse", "TestAnswersStayOutOfTheStream", "TestRollCallRecreated"},
	// Connections that end.
	"member": {"TestReadinessOfTheDead", "TestWhyNotConnected", "TestCreateStreamSoonOrNever"},
	// Buckets of sessions.
	"sessions": {"TestStoreConforms", "TestStoreRights", "TestStoreLivesAcrossRestart", "TestFullBucket", "TestUnsafeBucket"},
	// What the version before has written.
	"versions": {"TestStreamOfTheVersionBefore", "TestBucketOfTheVersionBefore"},
}

// The tests that state a server's behaviour pass with each of the servers, as processes.
func TestServers(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join("servers", "*", "go.mod"))
	if err != nil || len(dirs) != len(servers) {
		t.Fatalf("modules %q, want %d; %v", dirs, len(servers), err)
	}
	for _, version := range servers {
		if _, ok := rig.Behaviours[version]; !ok {
			t.Errorf("nats-server %s has no line in the table of behaviours", version)
		}
	}
	if os.Getenv(gate.Variable) != "1" {
		t.Skip("it takes minutes to build four servers: " + gate.Variable + "=1 has it done")
	}
	bin, tests := t.TempDir(), t.TempDir()
	for dir := range ofServers {
		if out, err := exec.Command("go", "test", "-c", "-o", testsOf(tests, dir), "./"+dir).CombinedOutput(); err != nil {
			t.Fatalf("the tests in %s cannot be built: %v: %s", dir, err, out)
		}
	}
	// One after the other: what they have in common is compiled once.
	for dir, version := range servers {
		mod := filepath.Join("servers", dir)
		build := exec.Command("go", "build", "-o", filepath.Join(bin, dir), "github.com/nats-io/nats-server/v2")
		build.Dir, build.Env = mod, append(os.Environ(), "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			gate.Skip(t, "nats-server "+version+" cannot be built: "+err.Error()+": "+string(out))
		}
		out, err := exec.Command(filepath.Join(bin, dir), "-v").CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != "nats-server: v"+version {
			t.Fatalf("%s: %q, %v; want version %s", mod, got, err, version)
		}
		t.Logf("%s: %s", mod, bytes.TrimSpace(out))
	}
	for dir, version := range servers {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			for _, where := range slices.Sorted(maps.Keys(ofServers)) {
				names := ofServers[where]
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, testsOf(tests, where), "-test.v", "-test.parallel=4", "-test.run=^("+strings.Join(names, "|")+")$")
				cmd.Dir = where
				cmd.Env = append(os.Environ(), rig.ServerVariable+"="+filepath.Join(bin, dir), rig.VersionVariable+"="+version)
				out, err := cmd.CombinedOutput()
				var passed []string
				for _, m := range regexp.MustCompile(`(?m)^--- PASS: (\S+)`).FindAllSubmatch(out, -1) {
					passed = append(passed, string(m[1]))
				}
				missing := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(passed, name) })
				if err != nil || len(missing) > 0 || len(passed) != len(names) {
					t.Errorf("nats-server %s: %d of %d tests in %s pass; %v; not %q\n%s", version, len(passed), len(names), where, err, missing, out)
				}
			}
		})
	}
}

// testsOf is the file of the built tests of a package.
func testsOf(bin, dir string) string { return filepath.Join(bin, "tests-"+filepath.Base(dir)) }
