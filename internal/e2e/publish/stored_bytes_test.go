package publish_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// storedBytes returns what an event takes of the MaxBytes of a stream on a file, headers
// included, as the server counts it.
func storedBytes(t *testing.T, b *bus.Member, s func() uint64, e revoke.Event) int {
	t.Helper()
	before := s()
	rig.Publish(t, b, e)
	return int(s() - before)
}

// What the documentation says to count for a revocation, wherever it says it, is what the
// server counts, for every kind: no less, and no more than a quarter above the largest.
func TestStoredBytes(t *testing.T) {
	const (
		uuid     = "01936f5e-8b7a-7c3d-9e4f-5a6b7c8d9e0f"
		count    = 500 // to be counted for each
		plainest = 490 // with a reason and an actor
		signed   = 620 // and a signature
		sessions = 430 // docs/scale.md: 32 digits, a reason
		batched  = 52  // and by how much more if it came in a batch
	)
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	_, js := rig.Client(t, br.URL())
	bytes := func() uint64 { return rig.TheStream(t, js).CachedInfo().State.Bytes }
	key, _ := rig.SigningKey(1)
	largest := map[bool]int{}
	for _, c := range []struct {
		b      *bus.Member
		signed bool
	}{{rig.Join(t, conn, bus.Config{}, nil), false}, {rig.Join(t, conn, bus.Config{Signer: key}, nil), true}} {
		for kind := revoke.KindToken; kind <= revoke.KindIssuer; kind++ {
			e := revoke.Event{Kind: kind, Value: uuid, Reason: "password_change", Actor: "admin-1"}
			switch kind {
			case revoke.KindIssuer:
				e.Value = ""
			case revoke.KindKey:
				e.Value = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
			}
			n := storedBytes(t, c.b, bytes, e)
			t.Logf("%s, signed %t: %d bytes", kind, c.signed, n)
			largest[c.signed] = max(largest[c.signed], n)
			if e.Reason, e.Actor = "", ""; kind == revoke.KindSubject {
				few := storedBytes(t, c.b, bytes, e)
				e.Keep = []string{uuid, "2" + uuid[1:], "3" + uuid[1:]}
				many := storedBytes(t, c.b, bytes, e)
				if per := (many - few) / 3; per < len(uuid)+3 || per > len(uuid)+7 { // the member's name
					t.Errorf("%d bytes for each session in Keep", per)
				}
			}
		}
	}
	if n := largest[false]; n > plainest || n < plainest*9/10 || n > count || n < count*3/4 {
		t.Errorf("up to %d bytes are stored for an event", n)
	}
	if n := largest[true]; n > signed || n < signed*9/10 {
		t.Errorf("up to %d bytes are stored for a signed event", n)
	}
	n := storedBytes(t, rig.Join(t, conn, bus.Config{}, nil), bytes, revoke.Event{Kind: revoke.KindSession, Value: "01936f5e8b7a7c3d9e4f5a6b7c8d9e0f", Reason: "logout"})
	if n < sessions-10 || n > sessions+10 {
		t.Errorf("%d bytes for a session event, not about %d", n, sessions)
	}
	many := make([]revoke.Event, 100)
	for i := range many {
		many[i] = revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprintf("01936f5e8b7a7c3d9e4f5a6b7c8d9e%02d", i), Reason: "logout"}
	}
	before := bytes()
	if _, err := rig.Join(t, conn, bus.Config{}, nil).PublishAll(rig.Within(t), many); err != nil {
		t.Fatal(err)
	}
	more := int(bytes()-before)/len(many) - n
	if want := br.Behaviour().Batches; want && (more > batched || more < batched-5) || !want && (more > 5 || more < -5) {
		t.Errorf("%d bytes more are stored for an event in a batch", more)
	}
	for name, patterns := range map[string]map[string]int{
		"../../../docs/operations.md":       {`about (\d+) bytes each\. Messages`: count},
		"../../../bus/embedded/embedded.go": {`at (\d+) bytes a live revocation`: count},
		"../../../docs/scale.md":            {`a session event in the stream [^|]*\| (\d+) bytes`: sessions, `bytes; (\d+) more if it came in a batch`: batched},
		"../../../bus/stream.go": {
			`count (\d+) bytes for each live revocation`: count, `takes up to (\d+), a signed`: plainest, `a signed one (\d+),`: signed, `in batches takes (\d+)\n`: batched,
		},
	} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for pattern, want := range patterns {
			m := regexp.MustCompile(pattern).FindSubmatch(text)
			if m == nil {
				t.Errorf("%s says nothing like %q", name, pattern)
			} else if n, err := strconv.Atoi(string(m[1])); err != nil || n != want {
				t.Errorf("%s says %q", name, m[0])
			}
		}
	}
}
