package e2e_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

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

// ofServers are the tests that state what a server does, beside what we make of it. Where
// versions differ the test asks behaviours.
var ofServers = []string{
	// The log itself, its mirror, what a server refuses and how it says so.
	"TestServerKeepsTheLog", "TestServerMirrorTakesPositionForContent", "TestServerSaysWhatIsNotPermitted", "TestServerRepliesIntoTheStream",
	"TestMirror", "TestFillIsReported", "TestFillAfterMaxBytesLowered", "TestHazardousStream", "TestRetentionTooShort", "TestMendedMetadataHeals", "TestHazardsAreReadAgain",
	"TestStoredBytes", "TestHeartbeatsExpire", "TestPullRequestsAreRenewed", "TestReplay", "TestHostileMessages", "TestHostileInbox", "TestStreamAppearsLater",
	// Rights, and what they do not bound.
	"TestExampleOneAccount", "TestExampleMirrorFollowed", "TestExampleMirrorAttacked", "TestExampleFollowersCanDeleteWhatTheyFollow",
	"TestFollowersCanWriteThroughReplies", "TestHeartbeatRightCanFillTheStream", "TestVerifierOnly", "TestNotPermitted",
	"TestMayListenAndNotAnswer", "TestMayAnswerAndNotAsk", "TestAskerMutesNobodyElse", "TestAnswersStayOutOfTheStream",
	// Connections that end, and streams that come back other than they were.
	"TestReadinessOfTheDead", "TestWhyNotConnected", "TestCreateStreamSoonOrNever", "TestAnchorPlainRestart", "TestAnchorRolledBackAndWrittenPast", "TestAnchorRolledBack",
	"TestAnchorStreamRecreated", "TestAnchorStreamRecreatedUnseen", "TestAnchorEmptied", "TestRollCallRecreated", "TestTrust", "TestTrustRepublished",
	"TestLyingDigest", "TestUnsignedDigest",
	// Buckets of sessions.
	"TestStoreConforms", "TestStoreRights", "TestStoreLivesAcrossRestart", "TestFullBucket", "TestUnsafeBucket",
	// What the version before has written.
	"TestStreamOfTheVersionBefore", "TestBucketOfTheVersionBefore",
}

// The tests that state a server's behaviour pass with each of the servers, as processes.
func TestServers(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join("servers", "*", "go.mod"))
	if err != nil || len(dirs) != len(servers) {
		t.Fatalf("modules %q, want %d; %v", dirs, len(servers), err)
	}
	for _, version := range servers {
		if _, ok := behaviours[version]; !ok {
			t.Errorf("nats-server %s has no line in the table of behaviours", version)
		}
	}
	if os.Getenv(gate.Variable) != "1" {
		t.Skip("it takes minutes to build four servers: " + gate.Variable + "=1 has it done")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
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
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, self, "-test.v", "-test.parallel=4", "-test.run=^("+strings.Join(ofServers, "|")+")$")
			cmd.Env = append(os.Environ(), outsideEnv+"="+filepath.Join(bin, dir), outsideVersionEnv+"="+version)
			out, err := cmd.CombinedOutput()
			var passed []string
			for _, m := range regexp.MustCompile(`(?m)^--- PASS: (\S+)`).FindAllSubmatch(out, -1) {
				passed = append(passed, string(m[1]))
			}
			missing := slices.DeleteFunc(slices.Clone(ofServers), func(name string) bool { return slices.Contains(passed, name) })
			if err != nil || len(missing) > 0 || len(passed) != len(ofServers) {
				t.Errorf("nats-server %s: %d of %d tests pass; %v; not %q\n%s", version, len(passed), len(ofServers), err, missing, out)
			}
		})
	}
}
