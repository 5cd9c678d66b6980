package publish

import (
	"bytes"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What the stream has lost is published again, wherever damage in the file has taken the
// line that says so: also where it begins at the very end of the acknowledgement before,
// which then checks out.
func TestDamageThatTakesALoss(t *testing.T) {
	now := time.Now()
	file := outboxHead([]string{testIssuer})
	add := func(e outboxEntry) (begin, end int) {
		line := encodeOutboxEntry(&e)
		begin = len(file)
		file = append(file, line...)
		return begin, len(file) - 1
	}
	put := func(id string) outboxEntry {
		payload, err := wire.EncodeEvent(&revoke.Event{Issuer: testIssuer, Kind: revoke.KindToken, Value: id, Until: now.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return outboxEntry{op: "put", id: id, subject: wire.Subject(testIssuer, revoke.KindToken), payload: string(payload), gone: now.Add(2 * time.Hour)}
	}
	add(put("A"))
	add(outboxEntry{op: "ack", id: "A", seq: 7})
	begin, end := add(outboxEntry{op: "lost", id: "-"})
	add(put("B"))
	add(outboxEntry{op: "ack", id: "B", seq: 8})
	whole, damaged, why, err := readOutbox(bytes.NewReader(file), []string{testIssuer}, now)
	if err != nil || damaged != 0 || whole["A"].seq != 0 || whole["B"].seq != 8 {
		t.Fatalf("as it is: %v, %d, %v, %v", whole, damaged, why, err)
	}
	for _, fill := range []byte{0, 'x', 0xff} {
		for from := range end {
			for to := max(from+1, begin+1); to <= len(file); to += 1 + (to-begin)/4 {
				broken := bytes.Clone(file)
				for i := from; i < to; i++ {
					broken[i] = fill
				}
				alive, _, _, err := readOutbox(bytes.NewReader(broken), []string{testIssuer}, now)
				if err != nil { // nothing of it is left, and what is can be another's
					continue
				}
				if a := alive["A"]; a != nil && a.seq != 0 {
					t.Fatalf("bytes %d to %d are %q, the loss stood from %d to %d: A counts as acknowledged", from, to, fill, begin, end)
				}
			}
		}
	}
}
